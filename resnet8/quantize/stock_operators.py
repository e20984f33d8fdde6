"""Replaces torchao's quantization operators in PyTorch programs by stock operators."""
# The replacements of torchao's operators take the arguments of these operators.
# ruff: noqa: ARG001, PLR0913, PLR0917

from collections.abc import Mapping

import torch

from resnet8.core.names import INPUT
from resnet8.models.fx_graph import (
    layer_nodes,
    module_path,
    store_tensor,
    stored_tensor,
    to_identifier,
)


def _quantize_per_tensor(
    x: torch.Tensor, scale: float, zero_point: int, low: int, high: int, dtype: torch.dtype
) -> torch.Tensor:
    # Clamp first: otherwise Inductor's freezing folds the factor into the weights of a preceding
    # convolution, and gets biases wrong (PyTorch 2.13).
    x = torch.clamp(x, (low - zero_point) * scale, (high - zero_point) * scale)
    q = torch.round(x * (1.0 / scale))
    return (q + zero_point if zero_point else q).to(dtype)


def _dequantize_per_tensor(
    q: torch.Tensor, scale: float, zero_point: int, low: int, high: int, dtype: torch.dtype
) -> torch.Tensor:
    x = q.to(torch.float32)
    return (x - zero_point if zero_point else x) * scale


def _dequantize_per_channel(q: torch.Tensor, scales: torch.Tensor, axis: int) -> torch.Tensor:
    return q.to(torch.float32) * scales.view([-1 if dim == axis else 1 for dim in range(q.dim())])


def in_stock_operators(module: torch.fx.GraphModule) -> torch.fx.GraphModule:
    """Replaces torchao's quantization operators by the same arithmetic in stock operators.

    torchao's operators exist only in processes that imported torchao. Also deletes the float
    weights that 8-bit weights replaced.

    Returns:
        The module, changed in place. `torch.export.unflatten` of its exported program has a module
        for each layer, which dequantizes its own weights, and `<layer>_codes` for each quantized
        output.
    """
    operators = torch.ops.quantized_decomposed
    names = {node: layer for layer, node in layer_nodes(module).items()}
    for node in module.graph.nodes:
        if node.target == operators.quantize_per_tensor.default:
            node.target = _quantize_per_tensor
            _put_into_codes_module(node, names)
        elif node.target == operators.dequantize_per_tensor.default:
            node.target = _dequantize_per_tensor
            _put_into_layer(module, node, names)
        elif node.target == operators.dequantize_per_channel.default:
            q, scales, _, axis, *_ = node.args  # all zero points are 0
            node.target, node.args = _dequantize_per_channel, (q, scales, axis)
            _put_into_layer(module, node, names)
    module.graph.eliminate_dead_code()
    used = {str(node.target) for node in module.graph.nodes if node.op == "get_attr"}
    for name, _ in [*module.named_parameters(), *module.named_buffers()]:
        if name not in used:
            owner, _, attribute = name.rpartition(".")
            delattr(module.get_submodule(owner), attribute)
    module.recompile()
    return module


def _put_into_codes_module(node: torch.fx.Node, names: Mapping[torch.fx.Node, str]) -> None:
    """Moves the quantization of a layer's output, or of the input, into a separate module."""
    name = f"{names.get(node.all_input_nodes[0], INPUT)}_codes"
    while name in names.values():
        name += "_"
    name = to_identifier(name)
    node.meta["nn_module_stack"] = {"": ("", "torch.nn.Module"), name: (name, "torch.nn.Module")}


def _put_into_layer(
    module: torch.fx.GraphModule, node: torch.fx.Node, names: Mapping[torch.fx.Node, str]
) -> None:
    """Moves the dequantization of a weight, its codes and scales, into the layer that uses it."""
    stored = [source for source in node.all_input_nodes if source.op == "get_attr"]
    if not stored:  # activations
        return
    layer = next(iter(node.users))
    node.meta["nn_module_stack"] = layer.meta["nn_module_stack"]
    for source, kind in zip(stored, ("codes", "scale"), strict=False):
        tensor = torch.nn.Buffer(stored_tensor(module, source))
        source.target = store_tensor(module, f"{module_path(layer)}.weight_{kind}", tensor)
