"""Quantizes chosen layers of an ONNX model only, as its quantized version does them."""

from collections.abc import Collection

import onnx

from resnet8.core.names import INPUT
from resnet8.core.qparams import parameter_values
from resnet8.models.onnx_graph import (
    PASSING,
    Graph,
    fake_quantized,
    read_parameters,
    with_parameters,
)


def quantized_layers(model: onnx.ModelProto, quantized: onnx.ModelProto) -> list[str]:
    """The layers with 8-bit weights or an 8-bit output, in the order of computation."""
    owners = set(_quantized_tensors(model, quantized).values())
    owners |= {
        layer
        for layer, kinds in read_parameters(quantized).items()
        if any(parameter.quantization for parameter in kinds.values())
    }
    return [name for name in [INPUT, *(node.name for node in model.graph.node)] if name in owners]


def isolate(
    model: onnx.ModelProto, quantized: onnx.ModelProto, layers: Collection[str]
) -> onnx.ModelProto:
    """Puts the quantization of some layers into the float model.

    Weights are replaced by what their codes stand for; a QuantizeLinear and a
    DequantizeLinear of the quantized model come behind each tensor that it has them behind.

    Args:
        model: the float model.
        quantized: what `onnx_writer.quantize` made of it.
        layers: those to quantize, out of `quantized_layers`.
    """
    stored = read_parameters(quantized)
    parameters = {x: parameter_values(stored[x]) for x in stored if x in layers}
    graph = Graph(quantized)
    owners = _quantized_tensors(model, quantized)
    kept = {
        tensor: graph.quantization_of(step)
        for tensor, step in graph.quantize_steps().items()
        if owners[tensor] in layers
    }
    return fake_quantized(with_parameters(model, parameters), kept)


def _quantized_tensors(model: onnx.ModelProto, quantized: onnx.ModelProto) -> dict[str, str]:
    """The layer that each 8-bit tensor belongs to, by tensor."""
    producers = Graph(model).producers

    def owner(tensor: str) -> str:
        node = producers.get(tensor)
        if node is None:
            return INPUT
        return owner(node.input[0]) if node.op_type in PASSING else str(node.name)

    return {tensor: owner(tensor) for tensor in Graph(quantized).quantize_steps()}
