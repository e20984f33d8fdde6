"""Captures the layers of an ONNX model, float or quantized, with ONNX Runtime.

Shape letters: N images, O outputs and I inputs of a layer, h x w pixels of a kernel.
"""

import numpy as np
import onnx
from numpy.typing import NDArray

from resnet8.inspection.capture import Captured, Point, Watched
from resnet8.models import onnx_graph
from resnet8.models.onnx_model import open_session


def watch(model: onnx.ModelProto) -> Watched:
    """Captures the output of every node.

    If a node's output is quantized, its codes are captured, so that ONNX Runtime still fuses
    nodes to integer kernels. A node that is quantized together with the next one (a ReLU that
    clipping implies) is absent.

    Args:
        model: with one input and one output.
    """
    graph = onnx_graph.Graph(model)
    source, result = model.graph.input[0].name, model.graph.output[0].name
    steps = graph.quantize_steps()
    types = {name: x.elem_type for name, x in onnx_graph.infer_types(model).items()}
    points: dict[str, Point] = {}
    absent, tensors = {}, {}
    for node in graph.nodes:
        tensor = node.output[0]
        is_step = node.op_type in (onnx_graph.QUANTIZE, onnx_graph.DEQUANTIZE)
        if is_step or tensor.endswith(onnx_graph.KEPT_IN_FLOAT):
            continue
        if types.get(tensor, onnx.TensorProto.FLOAT) != onnx.TensorProto.FLOAT:
            absent[node.name] = "computes no activations"
            continue
        layer = node.name if tensor == result else tensor
        if layer != node.name and node.name:
            absent[node.name] = f"computed together with {layer}"
        step = steps.get(tensor)
        tensors[layer] = step.output[0] if step else tensor
        quantization = graph.quantization_of(step) if step else None
        points[layer] = Point(f"tensor {tensors[layer]}", quantization)

    session = open_session(onnx_graph.with_outputs(model, list(tensors.values())))

    def run(images: NDArray[np.float32]) -> Captured:
        names = [result, *tensors.values()]
        probabilities, *outputs = session.run(names, {source: images})
        return Captured(dict(zip(tensors, outputs, strict=True)), probabilities)

    return Watched(points, onnx_graph.read_parameters(model), absent, run)
