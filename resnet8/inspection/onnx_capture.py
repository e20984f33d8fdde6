"""Captures the layers of an ONNX model, float or quantized, with ONNX Runtime.

Shape letters: N images, O outputs and I inputs of a layer, h x w pixels of a kernel.
"""

import numpy as np
import onnx
from numpy.typing import NDArray

from resnet8.inspection.capture import Captured, Point, Watched
from resnet8.models.onnx_graph import (
    DEQUANTIZE,
    KEPT_IN_FLOAT,
    QUANTIZE,
    Graph,
    infer_types,
    read_parameters,
    with_outputs,
)
from resnet8.models.onnx_model import open_session

_QUANTIZING = (QUANTIZE, DEQUANTIZE)


def watch(model: onnx.ModelProto) -> Watched:
    """Captures the output of every node.

    If a node's output is quantized, its codes are captured, so that ONNX Runtime still fuses
    nodes to integer kernels. A node that is quantized together with the next one (a ReLU that
    clipping implies) is absent.

    Args:
        model: with one input and one output.
    """
    graph = Graph(model)
    source, result = model.graph.input[0].name, model.graph.output[0].name
    quantized = {
        tensor: (step.output[0], graph.quantization_of(step))
        for tensor, step in graph.quantize_steps().items()
    }
    points: dict[str, Point] = {}
    absent, tensors = {}, {}
    types = {name: x.elem_type for name, x in infer_types(model).items()}
    for node in graph.nodes:
        tensor = node.output[0]
        if node.op_type in _QUANTIZING or tensor.endswith(KEPT_IN_FLOAT):
            continue
        if types.get(tensor, onnx.TensorProto.FLOAT) != onnx.TensorProto.FLOAT:
            absent[node.name] = "computes no activations"
            continue
        layer = node.name if tensor == result else tensor
        if layer != node.name and node.name:
            absent[node.name] = f"computed together with {layer}"
        tensors[layer], quantization = quantized.get(tensor, (tensor, None))
        points[layer] = Point(f"tensor {tensors[layer]}", quantization)

    session = open_session(with_outputs(model, list(tensors.values())))

    def run(images: NDArray[np.float32]) -> Captured:
        names = [result, *tensors.values()]
        probabilities, *outputs = session.run(names, {source: images})
        return Captured(dict(zip(tensors, outputs, strict=True)), probabilities)

    return Watched(points, read_parameters(model), absent, run)
