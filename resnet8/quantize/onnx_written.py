"""Reads back what ONNX Runtime's quantizer wrote into a model."""

from collections.abc import Collection

import numpy as np
import onnx
from numpy.typing import NDArray

from resnet8.models.onnx_graph import (
    DEQUANTIZE,
    KEPT_IN_FLOAT,
    QUANTIZE,
    Graph,
    stores_outputs_last,
)
from resnet8.quantize.storage import INT8_OFFSET, ActivationNumbers
from resnet8.quantize.written import Written, WrittenLayer

_STEPS = (QUANTIZE, DEQUANTIZE)


def read_written(model: onnx.ModelProto, layers: Collection[str]) -> Written:
    """Reads the quantization of a model.

    Args:
        model: in QDQ form.
        layers: names of those whose 8-bit weights are read.
    """
    graph = Graph(model)
    activations: dict[str, list[ActivationNumbers]] = {}
    types = set()
    for node in graph.nodes:
        if node.op_type in _STEPS and not graph.is_constant(node.input[0]):
            source = graph.producers.get(node.input[0])
            dequantizes = node.op_type == DEQUANTIZE and source is not None
            tensor = source.input[0] if dequantizes and source else node.input[0]
            found = graph.quantization_of(node)
            offset = INT8_OFFSET if found.dtype == "int8" else 0
            step = ActivationNumbers(float(found.scale), int(found.zero_point) + offset)
            activations.setdefault(tensor, []).append(step)
            types.add(found.dtype)
    written = {}
    weight_types = set()
    for node in graph.nodes:
        dequantize = graph.producers.get(node.input[1]) if node.name in layers else None
        if dequantize is not None and graph.is_constant(dequantize.input[0]):
            codes, scale, zero_point = (graph.constants[x] for x in dequantize.input)
            weight_types.add(codes.dtype.name)
            bias = graph.producers.get(node.input[2]) if len(node.input) > 2 else None
            added = [graph.constants[x] for x in bias.input] if bias else []
            written[node.name] = _layer(node, codes, scale, zero_point, added)
    operators = {
        node.name: node.op_type
        for node in graph.nodes
        if node.op_type not in _STEPS and not node.output[0].endswith(KEPT_IN_FLOAT)
    }
    return Written(activations, types, written, weight_types, operators)


def _layer(
    node: onnx.NodeProto,
    codes: NDArray[np.integer],
    scale: NDArray[np.float32],
    zero_point: NDArray[np.integer],
    bias: list[NDArray[np.generic]],
) -> WrittenLayer:
    """Brings a layer's constants, codes of any type, into the form of a `WrittenLayer`."""
    offset = INT8_OFFSET if codes.dtype == np.uint8 else 0
    steps = (codes.astype(np.int64) - offset).astype(np.int8)
    steps = steps.T if stores_outputs_last(node) else steps
    outputs = (len(steps),)
    added = bias[0] * bias[1].astype(np.float64) if bias else None
    return WrittenLayer(
        steps,
        np.broadcast_to(scale, outputs),
        np.broadcast_to(zero_point.astype(np.int64) - offset, outputs),
        None if added is None else added.astype(np.float32),
    )
