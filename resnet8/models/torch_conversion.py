"""Converts the ONNX model to PyTorch with onnx2torch."""

import sys
import warnings

import onnx
import torch

from resnet8.core.errors import ArtifactError
from resnet8.models import keras_layers, torch_model
from resnet8.models.faults import FAULTS, reason
from resnet8.models.fx_graph import to_identifier
from resnet8.models.onnx_graph import Graph, attributes, copy_of, infer_shapes, remove_unused
from resnet8.models.torch_modules import NodeSpec, make_module

# onnx2torch imports torchvision, for operators that no classifier has. The package index builds it
# for CUDA, and beside a CPU build of PyTorch it imports only once its operators are declared.
try:
    import torchvision  # noqa: F401
except RuntimeError as exc:
    if "torchvision::" not in str(exc):
        raise
    for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
        del sys.modules[name]
    for operator in ("nms", "qnms"):
        schema = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
        torch.library.define(f"torchvision::{operator}", schema)

import onnx2torch

_FAULTS: tuple[type[Exception], ...] = (ArtifactError, *FAULTS)


def to_program(model: onnx.ModelProto) -> torch.export.ExportedProgram:
    """Converts a model to a program for any number of images; see `convert`.

    Raises:
        ArtifactError: an operator cannot be converted or exported; names the Keras layer.
    """
    try:
        return torch_model.export(convert(model))
    except _FAULTS as exc:
        node, fault = _find_culprit(model, exc)
        cause = fault.__cause__ or fault
        first_line = str(cause).strip().partition("\n")[0]
        raise ArtifactError(
            f"{keras_layers.describe(model, node.output[0])} must be convertible to PyTorch, got "
            f"{node.op_type} in ONNX: {reason(cause, first_line)}. Replace the layer by others "
            "that compute the same."
        ) from exc


def _find_culprit(model: onnx.ModelProto, fault: Exception) -> tuple[onnx.NodeProto, Exception]:
    """The first node that cannot be converted and exported with all before it, and the fault."""
    n_good, n_bad = 0, len(model.graph.node)  # nodes that can be converted, and that cannot
    while n_bad - n_good > 1:
        middle = (n_good + n_bad) // 2
        part = copy_of(model)
        del part.graph.node[middle:], part.graph.output[:]
        inputs = {tensor for node in part.graph.node for tensor in node.input}
        outputs = [x.output[0] for x in part.graph.node if x.output[0] not in inputs]
        part.graph.output.extend(onnx.ValueInfoProto(name=tensor) for tensor in outputs)
        remove_unused(part.graph)
        try:
            torch_model.export(convert(part))
            n_good = middle
        except _FAULTS as exc:
            n_bad, fault = middle, exc
    return model.graph.node[n_bad - 1], fault


def convert(model: onnx.ModelProto) -> torch.fx.GraphModule:
    """Converts a model; modules are named like the ONNX nodes, see `fx_graph.to_identifier`.

    Args:
        model: input (N, 32, 32, 3), output (N, K).

    Returns:
        A module in evaluation mode that can be exported for any N.
    """
    safe = copy_of(model)
    for node in safe.graph.node:
        node.name, node.domain = to_identifier(node.name), ""
    replacements = _replace_by_identities(safe)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about results that might differ: they are compared
        module: torch.fx.GraphModule = onnx2torch.convert(safe).eval()
    for name, replacement in replacements.items():
        module.add_submodule(name, replacement)
    for parameter in module.parameters():
        # Dense weights are transposed views, which Inductor's int8 kernels misread.
        parameter.data = parameter.data.contiguous()
    return module


def _replace_by_identities(model: onnx.ModelProto) -> dict[str, torch.nn.Module]:
    """Writes identities in place of the nodes that `torch_modules` converts.

    Args:
        model: is changed.

    Returns:
        By node, the module to put in place of the identity.
    """
    shapes, constants, modules = infer_shapes(model), Graph(model).constants, {}
    for node in model.graph.node:
        before, after = (shapes.get(tensor, [0])[1:] for tensor in (node.input[0], node.output[0]))
        if all(before) and after and all(after):
            further = [constants.get(tensor) for tensor in node.input[1:]]
            spec = NodeSpec(before, after, attributes(node), further)
            if module := make_module(node.op_type, spec):
                modules[node.name] = module
                output, name = node.output, node.name
                node.CopyFrom(onnx.helper.make_node("Identity", node.input[:1], output, name))
    remove_unused(model.graph)
    return modules
