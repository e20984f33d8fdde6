"""Look-ups in the FX graphs of PyTorch programs: layers, parameters and quantization steps."""

from collections.abc import Iterator, Mapping

import numpy as np
import torch
from numpy.typing import NDArray

from resnet8.core.qparams import Parameter, QuantizationParameters
from resnet8.models.identifiers import from_identifier, to_identifier

_ATEN = torch.ops.aten
WITH_PARAMETERS = (_ATEN.conv2d.default, _ATEN.linear.default)


def layer_nodes(module: torch.fx.GraphModule) -> dict[str, torch.fx.Node]:
    """The last node of each layer, by the layer's name; codes of a layer's output are no layer."""
    found = filter(None, map(quantization_after, module.graph.nodes))
    codes = {module_name(node) for node, _ in found}
    last = {module_name(node): node for node in module.graph.nodes}
    return {name: node for name, node in last.items() if name and name not in codes}


def module_name(node: torch.fx.Node) -> str:
    """The layer that a node belongs to; empty if none."""
    return from_identifier(module_path(node))


def module_path(node: torch.fx.Node) -> str:
    """The attribute that a node's layer, a top-level module, has as its name; empty if none."""
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    return str(stack[1][0]) if len(stack) > 1 else ""


def read_parameters(program: torch.export.ExportedProgram) -> dict[str, dict[str, Parameter]]:
    """The weights and biases of all layers, output channels along the first axis."""
    module = program.module()
    found: dict[str, dict[str, Parameter]] = {}
    for layer, node in layer_nodes(module).items():
        if node.target in WITH_PARAMETERS:
            for kind, source in zip(("weight", "bias"), node.args[1:3], strict=False):
                if isinstance(source, torch.fx.Node) and (parameter := _parameter(module, source)):
                    found.setdefault(layer, {})[kind] = parameter
    return found


def set_parameters(
    module: torch.fx.GraphModule,
    parameters: Mapping[str, tuple[NDArray[np.float32] | None, NDArray[np.float32] | None]],
) -> None:
    """Gives layers other weights and biases; layers that shared them have their own.

    Args:
        module: is changed.
        parameters: by layer, a weight and a bias, None to leave it.
    """
    nodes = layer_nodes(module)
    for layer, arrays in parameters.items():
        for position, (kind, values) in enumerate(zip(("weight", "bias"), arrays, strict=True), 1):
            if values is not None:
                parameter = torch.nn.Parameter(torch.tensor(values), requires_grad=False)
                name = store_tensor(module, f"{to_identifier(layer)}.own_{kind}", parameter)
                with module.graph.inserting_before(nodes[layer]):
                    own = module.graph.get_attr(name)
                own.meta["val"] = parameter
                nodes[layer].update_arg(position, own)


def quantization_after(node: torch.fx.Node) -> tuple[torch.fx.Node, QuantizationParameters] | None:
    """The node that makes 8-bit codes, if `node` is the first step of doing so.

    The steps are those of `quantize.stock_operators`: clamp, * (1 / scale), round, + zero point
    where there is one, to an 8-bit type.
    """
    if node.target != _ATEN.clamp.default:
        return None
    zero_point = 0
    steps = list(_steps_after(node))
    targets = [step.target for step in steps]
    if _ATEN.add.Tensor in targets[2:3] and isinstance(steps[2].args[1], int):
        zero_point = int(steps[2].args[1])
        del targets[2], steps[2]
    if targets != [_ATEN.mul.Tensor, _ATEN.round.default, _ATEN.to.dtype]:
        return None
    inverse, dtype = steps[0].args[1], str(steps[-1].args[1]).removeprefix("torch.")
    if not isinstance(inverse, float) or dtype not in ("int8", "uint8"):
        return None
    return steps[-1], QuantizationParameters(
        np.array(1 / inverse, np.float32), np.array(zero_point), dtype
    )


def dequantize_steps(first: torch.fx.Node) -> list[torch.fx.Node]:
    """The multiplications that dequantize the codes that quantizing from `first` on makes."""
    found = quantization_after(first)
    ends = []
    for node in found[0].users if found else ():
        while node.target in (_ATEN.to.dtype, _ATEN.sub.Tensor):
            node = next(iter(node.users))  # noqa: PLW2901
        if node.target == _ATEN.mul.Tensor:
            ends.append(node)
    return ends


def _steps_after(node: torch.fx.Node) -> Iterator[torch.fx.Node]:
    """The nodes that use a node, and that one, and so on, up to a change of type."""
    while node.target != _ATEN.to.dtype:
        users = [x for x in node.users if x.target != _ATEN._assert_tensor_metadata.default]
        if len(users) != 1:
            return
        node = users[0]
        yield node


def _parameter(module: torch.fx.GraphModule, node: torch.fx.Node) -> Parameter | None:
    """A weight or bias: a float tensor, or codes times one scale or one for each output."""
    if node.op == "get_attr":
        return Parameter(stored_tensor(module, node).numpy())
    stored = [stored_tensor(module, source).numpy() for source in _stored(node)]
    if node.target != _ATEN.mul.Tensor or not stored or stored[0].dtype.kind not in "iu":
        return None  # computed from activations, or in another way
    codes, *scales = stored
    scale = scales[0] if scales else np.array(node.args[1], np.float32)
    steps = node.args[0]
    moved = isinstance(steps, torch.fx.Node) and steps.target == _ATEN.sub.Tensor
    zero_point = int(steps.args[1]) if moved else 0  # type: ignore[union-attr, arg-type]
    quantization = QuantizationParameters(
        scale,
        np.full(scale.shape, zero_point, np.int64),
        codes.dtype.name,
        axis=0 if scale.ndim else None,
    )
    return Parameter(quantization.dequantize(codes), quantization)


def _stored(node: torch.fx.Node) -> Iterator[torch.fx.Node]:
    """The stored tensors that a node is computed from, in the order of its arguments."""
    if node.op == "get_attr":
        yield node
    for source in node.all_input_nodes:
        yield from _stored(source)


def stored_tensor(module: torch.fx.GraphModule, node: torch.fx.Node) -> torch.Tensor:
    """The parameter or constant that a `get_attr` node stands for."""
    owner, _, name = str(node.target).rpartition(".")
    tensor: torch.Tensor = getattr(module.get_submodule(owner), name)
    return tensor.detach()


def store_tensor(module: torch.fx.GraphModule, name: str, tensor: torch.Tensor) -> str:
    """Adds a parameter or buffer under a dotted name, which is returned."""
    owner, _, attribute = name.rpartition(".")
    if not hasattr(module, owner):
        module.add_submodule(owner, torch.nn.Module())
    setattr(module.get_submodule(owner), attribute, tensor)
    return name
