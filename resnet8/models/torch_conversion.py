"""Turns the ONNX model into a PyTorch module with onnx2torch."""

import math
import sys

import onnx
import torch

from resnet8.core.errors import ArtifactError
from resnet8.models.onnx_graph import infer_shapes

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


def convert(model: onnx.ModelProto) -> torch.fx.GraphModule:
    """Converts a model; modules are named like the ONNX nodes.

    Args:
        model: input (N, 32, 32, 3), output (N, K).

    Returns:
        A module in evaluation mode that can be exported for any N.

    Raises:
        ArtifactError: onnx2torch does not know an operator of the model.
    """
    try:
        module: torch.fx.GraphModule = onnx2torch.convert(model).eval()
    except NotImplementedError as exc:
        raise ArtifactError(f"onnx2torch must know every operator, got: {exc}") from exc
    shapes = infer_shapes(model)
    for node in model.graph.node:
        before, after = (shapes.get(tensor, [0])[1:] for tensor in (node.input[0], node.output[0]))
        if node.op_type == "Reshape" and after and all(after):
            # onnx2torch's decides by the data it sees, which cannot be exported.
            _replace(module, node.name, _reshape(before, after))
        elif node.op_type == "GlobalAveragePool" and len(before) == 3 and all(before):
            # onnx2torch's is a mean, which torchao's quantizer leaves in float.
            height, width = before[1:]
            _replace(module, node.name, torch.nn.AvgPool2d((height, width)))
    for parameter in module.parameters():
        # Dense weights come as transposed views, which Inductor's int8 kernels misread.
        parameter.data = parameter.data.contiguous()
    return module


def _reshape(before: list[int], after: list[int]) -> torch.nn.Module:
    """Reshapes (N, *before) to (M, *after), all dimensions but the first known."""
    if len(after) == 1 and math.prod(before) == after[0]:
        return torch.nn.Flatten(1)  # each image's own, as the quantizer knows it
    return torch.nn.Sequential(torch.nn.Flatten(0), torch.nn.Unflatten(0, (-1, *after)))


def _replace(module: torch.fx.GraphModule, name: str, replacement: torch.nn.Module) -> None:
    """Puts a module of one input in the place of a named one, and drops unused constants."""
    module.add_submodule(name, replacement)
    for node in module.graph.nodes:
        if node.op == "call_module" and node.target == name:
            node.args = node.args[:1]
    module.graph.eliminate_dead_code()
    module.delete_all_unused_submodules()
    module.recompile()
