"""Quantizes chosen layers of an ONNX model only, as its quantized version does them."""

from collections.abc import Collection

import onnx
from onnx import helper, numpy_helper

from resnet8.core.names import INPUT
from resnet8.inspection.onnx_capture import read_parameters, stored_parameters
from resnet8.models.onnx_graph import PASSING


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
        quantized: what `onnx_quantization.quantize` made of it.
        layers: those to quantize, out of `quantized_layers`.
    """
    isolated = onnx.ModelProto()
    isolated.CopyFrom(model)
    graph = isolated.graph
    nodes = {node.name: node for node in graph.node}
    constants = {initializer.name: initializer for initializer in graph.initializer}
    for node, position, parameter in stored_parameters(quantized):
        if node.name in layers:
            name = nodes[node.name].input[position]
            constants[name].CopyFrom(numpy_helper.from_array(parameter.values, name))

    steps = {node.input[0]: node for node in quantized.graph.node if _is(node, "QuantizeLinear")}
    owners = _quantized_tensors(model, quantized)
    kept = [step for tensor, step in steps.items() if owners[tensor] in layers]
    numbers = {step.input[0]: f"{step.input[0]}_dequantized" for step in kept}
    for node in graph.node:
        node.input[:] = [numbers.get(tensor, tensor) for tensor in node.input]
    for step in kept:
        tensor, *constants_of = step.input
        codes = f"{tensor}_codes"
        graph.node.append(helper.make_node("QuantizeLinear", [tensor, *constants_of], [codes]))
        graph.node.append(
            helper.make_node("DequantizeLinear", [codes, *constants_of], [numbers[tensor]])
        )
    needed = {constant for step in kept for constant in step.input[1:]}
    graph.initializer.extend(x for x in quantized.graph.initializer if x.name in needed)
    return isolated  # ONNX Runtime sorts the nodes


def _quantized_tensors(model: onnx.ModelProto, quantized: onnx.ModelProto) -> dict[str, str]:
    """The layer that each 8-bit tensor belongs to, by tensor."""
    producers = {node.output[0]: node for node in model.graph.node}

    def owner(tensor: str) -> str:
        node = producers.get(tensor)
        if node is None:
            return INPUT
        return owner(node.input[0]) if node.op_type in PASSING else str(node.name)

    return {
        node.input[0]: owner(node.input[0])
        for node in quantized.graph.node
        if _is(node, "QuantizeLinear")
    }


def _is(node: onnx.NodeProto, op_type: str) -> bool:
    return bool(node.op_type == op_type)
