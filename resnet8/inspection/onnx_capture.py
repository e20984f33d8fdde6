"""Watches the layers of an ONNX model, float or quantized, with ONNX Runtime.

Shape letters: N images, O outputs and I inputs of a layer, h x w pixels of a kernel.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from resnet8.core.names import INPUT
from resnet8.core.qparams import Parameter, QuantizationParameters
from resnet8.inspection.capture import Captured, Point, Watched
from resnet8.models.onnx_graph import KEPT_IN_FLOAT, KERAS_LAYERS, infer_shapes
from resnet8.models.onnx_model import OUTPUT, open_session, with_outputs

_QUANTIZING = ("QuantizeLinear", "DequantizeLinear")
_WITH_PARAMETERS = ("Conv", "Gemm", "MatMul")
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
    constants = {x.name: numpy_helper.to_array(x) for x in model.graph.initializer}
    quantized = {
        node.input[0]: (node.output[0], _quantization(node, constants))
        for node in model.graph.node
        if node.op_type == "QuantizeLinear"
    }
    points: dict[str, Point] = {}
    absent, tensors = {}, {}
    for node in model.graph.node:
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


def read_parameters(model: onnx.ModelProto) -> dict[str, dict[str, Parameter]]:
    """The weights and biases of all layers, output channels along the first axis."""
    found: dict[str, dict[str, Parameter]] = {}
    for node, position, parameter in stored_parameters(model):
        transposed = node.op_type == "MatMul" or (
            node.op_type == "Gemm" and not _attribute(node, "transB", 0)
        )
        found.setdefault(node.name, {})["weight" if position == 1 else "bias"] = (
            _outputs_first(parameter) if transposed and position == 1 else parameter
        )
    return found


def stored_parameters(
    model: onnx.ModelProto,
) -> Iterator[tuple[onnx.NodeProto, int, Parameter]]:
    """The weights (input 1 of a node) and biases (input 2) as the model stores them."""
    constants = {x.name: numpy_helper.to_array(x) for x in model.graph.initializer}
    dequantize = {
        node.output[0]: node for node in model.graph.node if node.op_type == "DequantizeLinear"
    }
    for node in model.graph.node:
        if node.op_type in _WITH_PARAMETERS:
            for position, tensor in enumerate(node.input[1:], start=1):
                parameter = _parameter(tensor, constants, dequantize)
                if parameter is not None:
                    yield node, position, parameter


def keras_layers(model: onnx.ModelProto) -> dict[str, str]:
    """The Keras layer, or `input`, that each node's output belongs to; in order."""
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    layers: dict[str, str] = json.loads(metadata.get(KERAS_LAYERS, "{}"))
    return layers


def channels_first(model: onnx.ModelProto) -> set[str]:
    """The nodes with outputs (N, C, H, W); the model's input is (N, H, W, C)."""
    shapes = infer_shapes(model)
    first: dict[str, bool] = {INPUT: False}
    for node in model.graph.node:
        layout = first.get(node.input[0], False)
        if node.op_type == "Transpose":
            permutation = list(_attribute(node, "perm", []))
            layout = permutation == _TO_CHANNELS_FIRST or (
                layout and permutation != _TO_CHANNELS_LAST
            )
        first[node.output[0]] = layout and len(shapes.get(node.output[0], [])) == 4
    return {node.name for node in model.graph.node if first[node.output[0]]}


def _quantization(
    node: onnx.NodeProto, constants: Mapping[str, NDArray[np.generic]]
) -> QuantizationParameters:
    """The scale and the zero point of a QuantizeLinear or DequantizeLinear node."""
    scale, zero_point = constants[node.input[1]], constants[node.input[2]]
    axis = int(_attribute(node, "axis", 1)) if scale.size > 1 else None
    shape = scale.shape if scale.size > 1 else ()
    return QuantizationParameters(
        scale.astype(np.float32).reshape(shape),
        zero_point.astype(np.int64).reshape(shape),
        zero_point.dtype.name,
        axis,
    )


def _parameter(
    tensor: str,
    constants: Mapping[str, NDArray[np.generic]],
    dequantize: Mapping[str, onnx.NodeProto],
) -> Parameter | None:
    if tensor in constants:
        return Parameter(constants[tensor].astype(np.float32))
    node = dequantize.get(tensor)
    if node is None or node.input[0] not in constants:
        return None  # computed from activations
    quantization = _quantization(node, constants)
    return Parameter(quantization.dequantize(constants[node.input[0]]), quantization)


def _outputs_first(parameter: Parameter) -> Parameter:
    values, quantization, _ = parameter
    if quantization is not None and quantization.axis is not None:
        quantization = quantization._replace(axis=1 - quantization.axis)
    return Parameter(np.ascontiguousarray(values.T), quantization)


def _attribute(node: onnx.NodeProto, name: str, default: Any) -> Any:
    return next(
        (onnx.helper.get_attribute_value(x) for x in node.attribute if x.name == name), default
    )
