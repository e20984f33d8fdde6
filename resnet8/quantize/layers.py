"""The layers with weights of a float ONNX model, and copies of it with other numbers.

Shape letters: O outputs and I inputs of a layer, h x w pixels of a kernel, C channels.
"""

from collections import Counter
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from resnet8.quantize.storage import ActivationNumbers

Array = NDArray[np.float32]


class Layer(NamedTuple):
    """A convolution or a dense layer.

    name: of the node.
    kind: its operator.
    input: the tensor that it multiplies with its weights.
    output: its tensor.
    weight: (O, I / groups, h, w) or (O, I).
    bias: (O,), None where it has none.
    groups: as of the Conv operator; 1 for dense layers.
    attributes: of the node.
    """

    name: str
    kind: str
    input: str
    output: str
    weight: Array
    bias: Array | None
    groups: int
    attributes: dict[str, Any]


def read_layers(model: onnx.ModelProto) -> list[Layer]:
    """The layers with constant weights that can be rounded to 8 bits, in order."""
    constants = {x.name: numpy_helper.to_array(x) for x in model.graph.initializer}
    found = []
    for node in model.graph.node:
        dense = node.op_type in ("Gemm", "MatMul")
        if node.op_type not in ("Conv", "Gemm", "MatMul") or node.input[1] not in constants:
            continue
        attributes = {x.name: helper.get_attribute_value(x) for x in node.attribute}
        weight = constants[node.input[1]]
        plain = attributes.get("alpha", 1.0) == attributes.get("beta", 1.0) == 1.0
        plain = plain and not attributes.get("transA", 0) and {*node.input[2:]} <= {*constants, ""}
        if weight.dtype != np.float32 or not plain or (dense and weight.ndim != 2):
            continue
        bias = constants.get(node.input[2]) if len(node.input) > 2 else None
        found.append(
            Layer(
                node.name,
                node.op_type,
                node.input[0],
                node.output[0],
                _outputs_first(node.op_type, attributes, weight),
                bias,
                int(attributes.get("group", 1)),
                attributes,
            )
        )
    return found


def outputs_axis(layer: Layer) -> int:
    """The axis of the outputs in the weight as the node stores it."""
    return int(is_stored_transposed(layer.kind, layer.attributes))


def is_stored_transposed(kind: str, attributes: Mapping[str, Any]) -> bool:
    """Whether a node of this operator stores its weight with outputs last."""
    return kind == "MatMul" or (kind == "Gemm" and not attributes.get("transB", 0))


def _outputs_first(kind: str, attributes: Mapping[str, Any], weight: Array) -> Array:
    """Turns a weight as the node stores it to outputs first, or back."""
    return np.ascontiguousarray(weight.T) if is_stored_transposed(kind, attributes) else weight


def with_parameters(
    model: onnx.ModelProto, parameters: Mapping[str, tuple[Array, Array | None]]
) -> onnx.ModelProto:
    """A copy with other weights and biases; layers that shared them have their own.

    Args:
        model: a float model.
        parameters: by layer, a weight with outputs first and a bias, None to leave it.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    nodes = {node.name: node for node in copy.graph.node}
    constants = {x.name: x for x in copy.graph.initializer}
    uses = Counter(tensor for node in copy.graph.node for tensor in node.input)
    for name, (weight, bias) in parameters.items():
        node = nodes[name]
        attributes = {x.name: helper.get_attribute_value(x) for x in node.attribute}
        arrays = {1: _outputs_first(node.op_type, attributes, weight), 2: bias}
        for position, array in arrays.items():
            if array is None:
                continue
            tensor = node.input[position]
            if uses[tensor] > 1:
                uses[tensor] -= 1
                node.input[position] = tensor = f"{tensor}/{name}"
                constants[tensor] = copy.graph.initializer.add()
            constants[tensor].CopyFrom(numpy_helper.from_array(array, tensor))
    return copy


def fake_quantized(
    model: onnx.ModelProto, activations: Mapping[str, ActivationNumbers]
) -> onnx.ModelProto:
    """A copy in which tensors are rounded to 8 bits behind the node that computes them."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    rounded = {tensor: f"{tensor}/rounded" for tensor in activations}
    nodes = list(copy.graph.node)
    for node in nodes:
        node.input[:] = [rounded.get(tensor, tensor) for tensor in node.input]
    del copy.graph.node[:]
    steps = {name: _round_trip(name, rounded[name], x) for name, x in activations.items()}
    constants = {x.name for x in copy.graph.initializer}
    for value in copy.graph.input:
        copy.graph.node.extend(steps.get(value.name, ((), ()))[0])
    for node in nodes:
        copy.graph.node.append(node)
        for tensor in node.output:
            copy.graph.node.extend(steps.get(tensor, ((), ()))[0])
    for _, initializers in steps.values():
        copy.graph.initializer.extend(x for x in initializers if x.name not in constants)
    return copy


def codes_of(tensor: str) -> str:
    """The tensor that holds the uint8 codes of a tensor in a model by `fake_quantized`."""
    return f"{tensor}/codes"


def _round_trip(
    tensor: str, rounded: str, numbers: ActivationNumbers
) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
    """A QuantizeLinear and a DequantizeLinear, and their constants."""
    scale, zero_point, codes = f"{tensor}/scale", f"{tensor}/zero_point", codes_of(tensor)
    return [
        helper.make_node("QuantizeLinear", [tensor, scale, zero_point], [codes]),
        helper.make_node("DequantizeLinear", [codes, scale, zero_point], [rounded]),
    ], [
        numpy_helper.from_array(np.array(numbers.scale, np.float32), scale),
        numpy_helper.from_array(np.array(numbers.zero_point, np.uint8), zero_point),
    ]
