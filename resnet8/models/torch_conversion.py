"""Turns the ONNX model into a PyTorch module with onnx2torch."""

import math
import sys
from collections.abc import Callable
from typing import Any

import onnx
import torch

from resnet8.core.errors import ArtifactError
from resnet8.models.identifiers import to_identifier
from resnet8.models.onnx_graph import Graph, attributes, copy_of, infer_shapes, remove_unused

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
    """Converts a model; modules are named like the ONNX nodes, see `identifiers`.

    Args:
        model: input (N, 32, 32, 3), output (N, K).

    Returns:
        A module in evaluation mode that can be exported for any N.

    Raises:
        ArtifactError: onnx2torch does not know an operator of the model.
    """
    model, own = _without_own(_with_safe_names(model))
    try:
        module: torch.fx.GraphModule = onnx2torch.convert(model).eval()
    except NotImplementedError as exc:
        raise ArtifactError(f"onnx2torch must know every operator, got: {exc}") from exc
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
    """Puts identities in the place of nodes that are converted here.

    Args:
        model: is changed.

    Returns:
        The model, and by node the module that takes the identity's place.
    """
    shapes, constants, own = infer_shapes(model), Graph(model).constants, {}
    for node in model.graph.node:
        convert_node = _OWN.get(node.op_type)
        before, after = (shapes.get(tensor, [0])[1:] for tensor in (node.input[0], node.output[0]))
        if convert_node is None or not (all(before) and after and all(after)):
            continue
        given = [constants.get(tensor) for tensor in node.input[1:]]
        replacement = convert_node(before, after, attributes(node), given)
        if replacement is not None:
            own[node.name] = replacement
            identity = onnx.helper.make_node("Identity", node.input[:1], node.output, node.name)
            node.CopyFrom(identity)
    remove_unused(model.graph)
    return model, own


def _reshape(before: list[int], after: list[int], *_: Any) -> torch.nn.Module:
    """Reshapes (N, *before) to (M, *after); onnx2torch's decides by data, so is not exportable."""
    if len(after) == 1 and math.prod(before) == after[0]:
        return torch.nn.Flatten(1)  # each image's own, as the quantizer knows it
    return torch.nn.Sequential(torch.nn.Flatten(0), torch.nn.Unflatten(0, (-1, *after)))


def _global_average(before: list[int], *_: Any) -> torch.nn.Module | None:
    """onnx2torch's is a mean, which torchao's quantizer leaves in float."""
    return torch.nn.AvgPool2d((before[1], before[2])) if len(before) == 3 else None


class _PaddedAverage(torch.nn.Module):
    """Averages of what of each window lies in the image, which PyTorch pads on both sides alike."""

    def __init__(self, size: list[int], strides: list[int], pads: list[int], shape: list[int]):
        super().__init__()
        top, left, bottom, right = pads
        self.pad = torch.nn.ZeroPad2d((left, right, top, bottom))
        self.sum = torch.nn.AvgPool2d(size, strides, divisor_override=1)
        ones = torch.ones(1, 1, *shape[-2:])
        self.share = torch.nn.Buffer(1 / self.sum(self.pad(ones)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.sum(self.pad(x)) * self.share


def _average(
    before: list[int], after: list[int], options: dict[str, Any], _: Any
) -> torch.nn.Module | None:
    size, strides = options["kernel_shape"], options.get("strides", [1, 1])
    total = [
        max((n - 1) * s + k - m, 0)
        for n, s, k, m in zip(after[1:], strides, size, before[1:], strict=True)
    ]
    pads = options.get("pads", [0] * 4)
    if options.get("auto_pad", b"NOTSET") == b"SAME_UPPER":
        pads = [*(x // 2 for x in total), *(x - x // 2 for x in total)]
    symmetric = pads[:2] == pads[2:]
    if len(size) != 2 or symmetric or options.get("ceil_mode") or options.get("count_include_pad"):
        return None
    return _PaddedAverage(size, strides, pads, before)


class _Repeated(torch.nn.Module):
    def __init__(self, repeats: list[int]) -> None:
        super().__init__()
        self.repeats = repeats

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.repeat(self.repeats)


def _tile(_before: Any, _after: Any, _options: Any, given: list[Any]) -> torch.nn.Module | None:
    return None if given[0] is None else _Repeated(given[0].tolist())


class _Sliced(torch.nn.Module):
    def __init__(self, slices: tuple[slice, ...]) -> None:
        super().__init__()
        self.slices = slices

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x[self.slices]


def _slice(
    before: list[int], _after: Any, _options: Any, given: list[Any]
) -> torch.nn.Module | None:
    if any(x is None for x in given) or len(given) < 3:
        return None
    starts, ends, axes, *steps = (x.tolist() for x in given)
    slices = [slice(None)] * (len(before) + 1)
    for start, end, axis, step in zip(starts, ends, axes, *(steps or [[1] * len(axes)]), strict=True):
        if step < 0 or axis % len(slices) == 0:
            return None
        slices[axis] = slice(start, end, step)
    return _Sliced(tuple(slices))


_OWN: dict[str, Callable[..., torch.nn.Module | None]] = {
    "AveragePool": _average,
    "GlobalAveragePool": _global_average,
    "Reshape": _reshape,
    "Slice": _slice,
    "Tile": _tile,
}
