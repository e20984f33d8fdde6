"""Leaves chosen layers of a quantized PyTorch program in 8 bits and the others in float."""

from collections.abc import Collection, Mapping

import torch

from resnet8.core.names import INPUT
from resnet8.core.qparams import Parameter, parameter_values
from resnet8.models.fx_graph import (
    dequantize_steps,
    layer_nodes,
    quantization_after,
    read_parameters,
    set_parameters,
)

_ATEN = torch.ops.aten
# Operators whose output has no layer of its own: it is quantized in place of their input.
PASSING = (
    _ATEN.clamp.default,
    _ATEN.flatten.using_ints,
    _ATEN.hardtanh.default,
    _ATEN.leaky_relu.default,
    _ATEN.pad.default,
    _ATEN.permute.default,
    _ATEN.relu.default,
    _ATEN.reshape.default,
    _ATEN.unflatten.int,
    _ATEN.view.default,
)


def quantized_layers(quantized: torch.export.ExportedProgram) -> list[str]:
    """The layers with 8-bit weights or an 8-bit output, in the order of computation."""
    module = quantized.module()
    owners = set(_owners(module).values())
    owners |= {
        layer
        for layer, kinds in read_parameters(quantized).items()
        if any(parameter.quantization for parameter in kinds.values())
    }
    return [name for name in [INPUT, *layer_nodes(module)] if name in owners]


def isolate(
    originals: Mapping[str, Mapping[str, Parameter]],
    quantized: torch.export.ExportedProgram,
    layers: Collection[str],
) -> torch.fx.GraphModule:
    """Takes the quantization of all layers but some out of a quantized program.

    Args:
        originals: the float model's weights and biases by layer.
        quantized: what `torch_writer.quantize` made of it.
        layers: those to leave quantized, out of `quantized_layers`.

    Returns:
        A module from (N, 32, 32, 3) to (N, K).
    """
    module = quantized.module()
    for node, owner in _owners(module).items():
        if owner not in layers:
            for multiply in dequantize_steps(node):
                multiply.replace_all_uses_with(node.all_input_nodes[0])
    float_layers = (layer_nodes(module).keys() & originals.keys()) - {*layers}
    set_parameters(
        module, {layer: parameter_values(originals[layer]) for layer in sorted(float_layers)}
    )
    for node in list(module.graph.nodes):
        if node.target == _ATEN._assert_tensor_metadata.default:
            module.graph.erase_node(node)  # it would keep what it looks at alive
    module.graph.eliminate_dead_code()
    module.recompile()
    return module


def _owners(module: torch.fx.GraphModule) -> dict[torch.fx.Node, str]:
    """The layer that each first step of making codes belongs to."""
    layers = {node: layer for layer, node in layer_nodes(module).items()}

    def owner(node: torch.fx.Node) -> str:
        if node.target in PASSING:
            return owner(node.all_input_nodes[0])
        return layers.get(node, INPUT)

    return {
        node: owner(node.all_input_nodes[0])
        for node in module.graph.nodes
        if quantization_after(node)
    }
