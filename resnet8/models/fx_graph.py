"""Layers, parameters and quantization steps in the FX graphs of PyTorch programs.

PyTorch writes names of modules into code that it runs, so layers are named by identifiers there.
Each name has an identifier of its own, and no table of names is stored.
"""

import keyword
import re
from collections.abc import Iterator, Mapping

import numpy as np
import torch
from numpy.typing import NDArray

from resnet8.core.qparams import Parameter, QuantizationParameters

_ATEN = torch.ops.aten
WITH_PARAMETERS = (_ATEN.conv2d.default, _ATEN.linear.default)
# Attributes that any module has, and names that onnx2torch gives to its own.
_RESERVED = {*dir(torch.fx.GraphModule(torch.nn.Module(), torch.fx.Graph())), "initializers"}
# Characters that identifiers lack or must not begin with, and underscores that may begin an escape.
_UNSAFE = re.compile(r"[^A-Za-z0-9_]|^[0-9_]|_(?=x)")
_ESCAPED = re.compile(r"_x(10[0-9a-f]{4}|[0-9a-f]{0,5})_")  # code points up to 10ffff


def to_identifier(name: str) -> str:
    """Escapes a name where it is no safe identifier of a module.

    Characters are escaped by their hexadecimal code (`a b` becomes `a_x20_b`); words that mean
    something to Python or PyTorch get the suffix `_x_` (`forward_x_`).
    """
    escaped = _UNSAFE.sub(lambda match: f"_x{ord(match[0]):x}_", name)
    reserved = not escaped or keyword.iskeyword(escaped) or escaped in _RESERVED
    reserved = reserved or escaped.startswith("onnx_initializer_")
    return f"{escaped}_x_" if reserved else escaped


def from_identifier(identifier: str) -> str:
    """Returns the name that `to_identifier` escaped; takes any other identifier, too."""
    return _ESCAPED.sub(lambda match: chr(int(match[1], 16)) if match[1] else "", identifier)


def layer_nodes(module: torch.fx.GraphModule) -> dict[str, torch.fx.Node]:
    """The last node of each layer by name, without the modules that quantize an output."""
    quantizing = {module_path(x[0]) for x in map(quantization_after, module.graph.nodes) if x}
    last = {module_path(node): node for node in module.graph.nodes}
    return {from_identifier(x): last[x] for x in last if x and x not in quantizing}


def module_path(node: torch.fx.Node) -> str:
    """The attribute name of the top-level module that a node belongs to; empty if none."""
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    return str(stack[1][0]) if len(stack) > 1 else ""


def read_parameters(program: torch.export.ExportedProgram) -> dict[str, dict[str, Parameter]]:
    """The weights and biases of all layers, output channels along the first axis."""
    module = program.module()
    parameters: dict[str, dict[str, Parameter]] = {}
    for layer, node in layer_nodes(module).items():
        if node.target in WITH_PARAMETERS:
            for kind, source in zip(("weight", "bias"), node.args[1:3], strict=False):
                if isinstance(source, torch.fx.Node) and (parameter := _parameter(module, source)):
                    parameters.setdefault(layer, {})[kind] = parameter
    return parameters


def set_parameters(
    module: torch.fx.GraphModule,
    parameters: Mapping[str, tuple[NDArray[np.float32] | None, NDArray[np.float32] | None]],
) -> None:
    """Replaces weights and biases by layer; None keeps one. See `onnx_graph.with_parameters`."""
    nodes = layer_nodes(module)
    for layer, arrays in parameters.items():
        for position, (kind, values) in enumerate(zip(("weight", "bias"), arrays, strict=True), 1):
            if values is not None:
                parameter = torch.nn.Parameter(torch.tensor(values), requires_grad=False)
                name = store_tensor(module, f"{to_identifier(layer)}.own_{kind}", parameter)
                with module.graph.inserting_before(nodes[layer]):
                    source = module.graph.get_attr(name)
                source.meta["val"] = parameter
                nodes[layer].update_arg(position, source)


def quantization_after(node: torch.fx.Node) -> tuple[torch.fx.Node, QuantizationParameters] | None:
    """The node that returns 8-bit codes and their parameters, if quantization starts at `node`.

    `quantize.stock_operators` quantizes by: clamp, * (1 / scale), round, + zero point if it is
    not 0, conversion to an 8-bit type.
    """
    if node.target != _ATEN.clamp.default:
        return None
    steps = list(_chain_after(node))
    operations = [(step.target, *step.args[1:]) for step in steps]
    zero_point = 0
    match operations[2:3]:
        case [(_ATEN.add.Tensor, int(zero_point))]:  # absent where it is 0
            del operations[2]
    match operations:
        case [
            (_ATEN.mul.Tensor, float(inverse)),
            (_ATEN.round.default,),
            (_ATEN.to.dtype, torch.int8 | torch.uint8 as dtype),
        ]:
            name = str(dtype).removeprefix("torch.")
            scale = np.array(1 / inverse, np.float32)
            return steps[-1], QuantizationParameters(scale, np.array(zero_point), name)
    return None


def _chain_after(node: torch.fx.Node) -> Iterator[torch.fx.Node]:
    """The only user of a node, the only user of that one, and so on up to a change of type."""
    while node.target != _ATEN.to.dtype:
        users = [x for x in node.users if x.target != _ATEN._assert_tensor_metadata.default]
        if len(users) != 1:
            return
        yield (node := users[0])


def dequantize_steps(first: torch.fx.Node) -> list[torch.fx.Node]:
    """The multiplications that dequantize the codes of the quantization starting at `first`."""
    match = quantization_after(first)
    if match is None:
        return []
    ends = []
    for node in match[0].users:
        while node.target in (_ATEN.to.dtype, _ATEN.sub.Tensor):
            node = next(iter(node.users))  # noqa: PLW2901
        if node.target == _ATEN.mul.Tensor:
            ends.append(node)
    return ends


def _parameter(module: torch.fx.GraphModule, node: torch.fx.Node) -> Parameter | None:
    """A float tensor, or codes times one scale or one for each output; None for other values."""
    if node.op == "get_attr":
        return Parameter(stored_tensor(module, node).numpy())
    stored = [stored_tensor(module, source).numpy() for source in _stored_sources(node)]
    if node.target != _ATEN.mul.Tensor or not stored or stored[0].dtype.kind not in "iu":
        return None
    codes, *scales = stored
    scale = scales[0] if scales else np.array(node.args[1], np.float32)
    difference = node.args[0]
    shifted = isinstance(difference, torch.fx.Node) and difference.target == _ATEN.sub.Tensor
    zero_point = int(difference.args[1]) if shifted else 0  # type: ignore[union-attr, arg-type]
    zero_points = np.full(scale.shape, zero_point, np.int64)
    axis = 0 if scale.ndim else None
    quantization = QuantizationParameters(scale, zero_points, codes.dtype.name, axis=axis)
    return Parameter(quantization.dequantize(codes), quantization)


def _stored_sources(node: torch.fx.Node) -> Iterator[torch.fx.Node]:
    """The stored tensors that a node is computed from, in the order of its arguments."""
    if node.op == "get_attr":
        yield node
    for source in node.all_input_nodes:
        yield from _stored_sources(source)


def stored_tensor(module: torch.fx.GraphModule, node: torch.fx.Node) -> torch.Tensor:
    """The parameter or constant that a `get_attr` node stands for."""
    owner, _, name = str(node.target).rpartition(".")
    tensor: torch.Tensor = getattr(module.get_submodule(owner), name)
    return tensor.detach()


def store_tensor(module: torch.fx.GraphModule, name: str, tensor: torch.Tensor) -> str:
    """Adds a parameter or buffer under a dotted name and returns the name."""
    owner, _, attribute = name.rpartition(".")
    if not hasattr(module, owner):
        module.add_submodule(owner, torch.nn.Module())
    setattr(module.get_submodule(owner), attribute, tensor)
    return name
