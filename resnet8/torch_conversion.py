"""Turns the ONNX model into a PyTorch module with onnx2torch."""

import sys

import onnx
import torch

from resnet8.errors import ArtifactError

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
    inferred = onnx.shape_inference.infer_shapes(model)
    shapes = {
        value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in inferred.graph.value_info
    }
    for node in model.graph.node:
        if node.op_type == "Reshape":
            # onnx2torch's decides by the data it sees, which cannot be exported.
            # `onnx_model.fold` made the shapes constant.
            _, *shape = shapes[node.output[0]]
            flatten, unflatten = torch.nn.Flatten(1), torch.nn.Unflatten(1, shape)
            reshape = torch.nn.Sequential(flatten, unflatten) if len(shape) > 1 else flatten
            _replace(module, node.name, reshape)
        elif node.op_type == "GlobalAveragePool":
            # onnx2torch's is a mean, which torchao's quantizer leaves in float.
            height, width = shapes[node.input[0]][2:]
            _replace(module, node.name, torch.nn.AvgPool2d((height, width)))
    for parameter in module.parameters():
        # Dense weights come as transposed views, which Inductor's int8 kernels misread.
        parameter.data = parameter.data.contiguous()
    return module


def _replace(module: torch.fx.GraphModule, name: str, replacement: torch.nn.Module) -> None:
    """Puts a module of one input in the place of a named one, and drops unused constants."""
    module.add_submodule(name, replacement)
    for node in module.graph.nodes:
        if node.op == "call_module" and node.target == name:
            node.args = node.args[:1]
    module.graph.eliminate_dead_code()
    module.delete_all_unused_submodules()
    module.recompile()
