"""Reads back what ONNX Runtime's quantizer wrote into a model."""

from collections.abc import Collection

import onnx

from resnet8.core.qparams import QuantizationParameters
from resnet8.models.onnx_graph import (
    DEQUANTIZE,
    KEPT_IN_FLOAT,
    QUANTIZE,
    Graph,
    read_parameters,
)
from resnet8.quantize.written import Written, written_layers

_STEPS = (QUANTIZE, DEQUANTIZE)


def read_written(model: onnx.ModelProto, layers: Collection[str]) -> Written:
    """Reads the quantization of a model.

    Args:
        model: in QDQ form.
        layers: names of those whose 8-bit weights are read.
    """
    graph = Graph(model)
    activations: dict[str, list[QuantizationParameters]] = {}
    for node in graph.nodes:
        if node.op_type in _STEPS and not graph.is_constant(node.input[0]):
            source = graph.producers.get(node.input[0])
            dequantizes = node.op_type == DEQUANTIZE and source is not None
            tensor = source.input[0] if dequantizes and source else node.input[0]
            activations.setdefault(tensor, []).append(graph.quantization_of(node))
    operators = {
        node.name: node.op_type
        for node in graph.nodes
        if node.op_type not in _STEPS and not node.output[0].endswith(KEPT_IN_FLOAT)
    }
    return Written(activations, written_layers(read_parameters(model), layers), operators)
