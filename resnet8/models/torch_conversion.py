"""Turns the ONNX model into a PyTorch module with onnx2torch."""

import sys
import warnings

import onnx
import torch

from resnet8.core.errors import ArtifactError
from resnet8.models import keras_layers, torch_model
from resnet8.models.identifiers import to_identifier
from resnet8.models.onnx_graph import Graph, attributes, copy_of, infer_shapes, remove_unused
from resnet8.models.torch_modules import Given, make_module

# onnx2torch needs torchvision for operators that no classifier has. The torchvision of the
# package index is built for CUDA; beside a CPU build of PyTorch its C++ operators do not
# register, and importing it fails. Declaring their schemas lets it load.
try:
    import torchvision  # noqa: F401
except RuntimeError as exc:
    if "torchvision::" not in str(exc):
        raise
    for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
        del sys.modules[name]
    _SCHEMAS = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
    for operator in ("nms", "qnms"):
        schema = f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
        _SCHEMAS.define(schema)  # type: ignore[no-untyped-call]

import onnx2torch

# What onnx2torch and torch.export are known to raise for what they do not take.
_FAULTS = (
    *(ArtifactError, AssertionError, AttributeError, LookupError, NotImplementedError),
    *(RuntimeError, SyntaxError, TypeError, ValueError),
)


def to_program(model: onnx.ModelProto) -> torch.export.ExportedProgram:
    """Converts a model to a program for any number of images; see `convert`.

    Raises:
        ArtifactError: an operator cannot be converted or exported; names the Keras layer.
    """
    try:
        return torch_model.export(convert(model))
    except _FAULTS as exc:
        node, fault = _find_culprit(model, exc)
        lines = [line.strip() for line in str(fault.__cause__ or fault).splitlines()]
        reason = next(filter(None, lines), type(fault).__name__)[:200].rstrip(".")
        raise ArtifactError(
            f"{keras_layers.describe(model, node.output[0])} must be convertible to PyTorch, got "
            f"{node.op_type} in ONNX: {reason}. Replace the layer by others that compute the same."
        ) from exc


def _find_culprit(model: onnx.ModelProto, fault: Exception) -> tuple[onnx.NodeProto, Exception]:
    """The first node that cannot be converted and exported with all before it, and the fault."""
    below, above = 0, len(model.graph.node)  # so many nodes can be converted, so many cannot
    while above - below > 1:
        middle = (below + above) // 2
        part = copy_of(model)
        del part.graph.node[middle:], part.graph.output[:]
        read = {tensor for node in part.graph.node for tensor in node.input}
        made = (node.output[0] for node in part.graph.node)
        part.graph.output.extend(onnx.ValueInfoProto(name=x) for x in made if x not in read)
        remove_unused(part.graph)
        try:
            torch_model.export(convert(part))
            below = middle
        except _FAULTS as exc:
            above, fault = middle, exc
    return model.graph.node[above - 1], fault


def convert(model: onnx.ModelProto) -> torch.fx.GraphModule:
    """Converts a model; modules are named like the ONNX nodes, see `identifiers`.

    Args:
        model: input (N, 32, 32, 3), output (N, K).

    Returns:
        A module in evaluation mode that can be exported for any N.
    """
    safe, own = _without_own(_with_safe_names(model))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of results that might differ: they are compared
        module: torch.fx.GraphModule = onnx2torch.convert(safe).eval()
    for name, replacement in own.items():
        module.add_submodule(name, replacement)
    for parameter in module.parameters():
        # Dense weights come as transposed views, which Inductor's int8 kernels misread.
        parameter.data = parameter.data.contiguous()
    return module


def _with_safe_names(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy whose nodes are named by identifiers: names of modules become source code."""
    copy = copy_of(model)
    for node in copy.graph.node:
        node.name, node.domain = to_identifier(node.name), ""
    return copy


def _without_own(model: onnx.ModelProto) -> tuple[onnx.ModelProto, dict[str, torch.nn.Module]]:
    """Puts identities in the place of nodes that `torch_modules` converts.

    Args:
        model: is changed.

    Returns:
        The model, and by node the module that takes the identity's place.
    """
    shapes, constants, own = infer_shapes(model), Graph(model).constants, {}
    for node in model.graph.node:
        before, after = (shapes.get(tensor, [0])[1:] for tensor in (node.input[0], node.output[0]))
        if not (all(before) and after and all(after)):
            continue
        further = [constants.get(tensor) for tensor in node.input[1:]]
        module = make_module(node.op_type, Given(before, after, attributes(node), further))
        if module is not None:
            own[node.name] = module
            identity = onnx.helper.make_node("Identity", node.input[:1], node.output, node.name)
            node.CopyFrom(identity)
    remove_unused(model.graph)
    return model, own
