"""Watches the layers of an ONNX model, float or quantized, with ONNX Runtime.

Shape letters: N images, O outputs and I inputs of a layer, h x w pixels of a kernel.
"""

import json

import numpy as np
import onnx
from numpy.typing import NDArray

from resnet8.core.names import INPUT
from resnet8.inspection.capture import Captured, Point, Watched
from resnet8.models.onnx_graph import (
    DEQUANTIZE,
    KEPT_IN_FLOAT,
    QUANTIZE,
    Graph,
    attributes,
    infer_shapes,
    metadata,
    read_parameters,
    with_outputs,
)
from resnet8.models.onnx_model import OUTPUT, open_session
from resnet8.models.onnx_simplify import KERAS_LAYERS

_QUANTIZING = (QUANTIZE, DEQUANTIZE)
_TO_CHANNELS_FIRST, _TO_CHANNELS_LAST = [0, 3, 1, 2], [0, 2, 3, 1]


def watch(model: onnx.ModelProto) -> Watched:
    """Watches the output of every node.

    In a quantized model the codes that QuantizeLinear makes of an output are captured, so
    that ONNX Runtime still joins the nodes around to integer kernels. A node whose output
    is quantized only after a further one (a ReLU that the range cuts off anyway) has no
    output of its own and is absent.

    Args:
        model: input `input`, output `probabilities`.
    """
    graph = Graph(model)
    quantized = {
        tensor: (step.output[0], graph.quantization_of(step))
        for tensor, step in graph.quantize_steps().items()
    }
    points: dict[str, Point] = {}
    absent, tensors = {}, {}
    for node in graph.nodes:
        tensor = node.output[0]
        if node.op_type in _QUANTIZING or tensor.endswith(KEPT_IN_FLOAT):
            continue
        layer = node.name if tensor == OUTPUT else tensor
        if layer != node.name and node.name:
            absent[node.name] = f"computed together with {layer}"
        tensors[layer], quantization = quantized.get(tensor, (tensor, None))
        points[layer] = Point(f"tensor {tensors[layer]}", quantization)

    session = open_session(with_outputs(model, list(tensors.values())))

    def run(images: NDArray[np.float32]) -> Captured:
        names = [OUTPUT, *tensors.values()]
        probabilities, *outputs = session.run(names, {INPUT: images})
        return Captured(dict(zip(tensors, outputs, strict=True)), probabilities)

    return Watched(points, read_parameters(model), absent, run)


def keras_layers(model: onnx.ModelProto) -> dict[str, str]:
    """The Keras layer, or `input`, that each node's output belongs to; in order."""
    layers: dict[str, str] = json.loads(metadata(model).get(KERAS_LAYERS, "{}"))
    return layers


def channels_first(model: onnx.ModelProto) -> set[str]:
    """The nodes with outputs (N, C, H, W); the model's input is (N, H, W, C)."""
    shapes = infer_shapes(model)
    first: dict[str, bool] = {INPUT: False}
    for node in model.graph.node:
        layout = first.get(node.input[0], False)
        if node.op_type == "Transpose":
            permutation = list(attributes(node).get("perm", []))
            layout = permutation == _TO_CHANNELS_FIRST or (
                layout and permutation != _TO_CHANNELS_LAST
            )
        first[node.output[0]] = layout and len(shapes.get(node.output[0], [])) == 4
    return {node.name for node in model.graph.node if first[node.output[0]]}
