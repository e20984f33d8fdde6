"""Reads back what ONNX Runtime's quantizer wrote into a model."""

from collections.abc import Collection

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from resnet8.models.onnx_graph import KEPT_IN_FLOAT
from resnet8.quantize.layers import is_stored_transposed
from resnet8.quantize.storage import INT8_OFFSET, ActivationNumbers
from resnet8.quantize.written import Written, WrittenLayer

_STEPS = ("QuantizeLinear", "DequantizeLinear")


def read_written(model: onnx.ModelProto, layers: Collection[str]) -> Written:
    """Reads the quantization of a model.

    Args:
        model: in QDQ form.
        layers: names of those whose 8-bit weights are read.
    """
    constants = {x.name: numpy_helper.to_array(x) for x in model.graph.initializer}
    makers = {node.output[0]: node for node in model.graph.node}
    activations: dict[str, list[ActivationNumbers]] = {}
    types = set()
    for node in model.graph.node:
        if node.op_type in _STEPS and node.input[0] not in constants:
            source = makers.get(node.input[0])
            dequantizes = node.op_type == "DequantizeLinear" and source is not None
            tensor = source.input[0] if dequantizes and source else node.input[0]
            scale, zero_point = constants[node.input[1]], constants[node.input[2]]
            offset = INT8_OFFSET if zero_point.dtype == np.int8 else 0
            step = ActivationNumbers(float(scale), int(zero_point) + offset)
            activations.setdefault(tensor, []).append(step)
            types.add(zero_point.dtype.name)
    found = {}
    weight_types = set()
    for node in model.graph.node:
        dequantize = makers.get(node.input[1]) if node.name in layers else None
        if dequantize is not None and dequantize.input[0] in constants:
            codes, scale, zero_point = (constants[x] for x in dequantize.input)
            weight_types.add(codes.dtype.name)
            bias = makers.get(node.input[2]) if len(node.input) > 2 else None
            found[node.name] = _layer(
                node, codes, scale, zero_point, [constants[x] for x in bias.input] if bias else []
            )
    operators = {
        node.name: node.op_type
        for node in model.graph.node
        if node.op_type not in _STEPS and not node.output[0].endswith(KEPT_IN_FLOAT)
    }
    return Written(activations, types, found, weight_types, operators)


def _layer(
    node: onnx.NodeProto,
    codes: NDArray[np.integer],
    scale: NDArray[np.float32],
    zero_point: NDArray[np.integer],
    bias: list[NDArray[np.generic]],
) -> WrittenLayer:
    """Brings a layer's constants, codes of any type, into the form of a `WrittenLayer`."""
    offset = INT8_OFFSET if codes.dtype == np.uint8 else 0
    attributes = {x.name: helper.get_attribute_value(x) for x in node.attribute}
    steps = (codes.astype(np.int64) - offset).astype(np.int8)
    steps = steps.T if is_stored_transposed(node.op_type, attributes) else steps
    outputs = (len(steps),)
    added = bias[0] * bias[1].astype(np.float64) if bias else None
    return WrittenLayer(
        steps,
        np.broadcast_to(scale, outputs),
        np.broadcast_to(zero_point.astype(np.int64) - offset, outputs),
        None if added is None else added.astype(np.float32),
    )
