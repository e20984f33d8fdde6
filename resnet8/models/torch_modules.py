"""PyTorch modules for ONNX operators that onnx2torch lacks, or cannot export for any batch size.

Shape letters: N images, C channels, H and W pixels.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

_Pair = tuple[int, int]
_TO_THE_END = 10**9  # exporters write at least this as the end of a slice without one


class NodeSpec(NamedTuple):
    """A node to convert.

    before: shape of its first input for one image, without N.
    after: shape of its output for one image, without N.
    options: its attributes.
    constants: its further inputs; None for those that are computed.
    """

    before: list[int]
    after: list[int]
    options: dict[str, Any]
    constants: list[NDArray[Any] | None]


class _Function(torch.nn.Module):
    """Applies a function of one tensor."""

    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(x)


def make_module(operator: str, node: NodeSpec) -> torch.nn.Module | None:
    """Returns a module of one input for a node; None where onnx2torch's serves."""
    make = _MAKERS.get(operator)
    return make(node) if make else None


def _reshape(node: NodeSpec) -> torch.nn.Module:
    if len(node.after) == 1 and np.prod(node.before) == node.after[0]:
        return torch.nn.Flatten(1)  # which torchao's quantizer knows
    return torch.nn.Sequential(torch.nn.Flatten(0), torch.nn.Unflatten(0, (-1, *node.after)))


def _global_average(node: NodeSpec) -> torch.nn.Module | None:
    """A pool; onnx2torch takes a mean, which torchao's quantizer leaves in float.

    onnx2torch 1.5.15 also computes means of one dimension wrongly.
    """
    if len(node.before) == 2:
        return torch.nn.AvgPool1d(node.before[1])
    if len(node.before) == 3:
        return torch.nn.AvgPool2d((node.before[1], node.before[2]))
    return None


class _PaddedAverage(torch.nn.Module):
    """Averages over the part of each window inside the image; any padding on each side."""

    def __init__(self, size: _Pair, strides: _Pair, pads: list[int], shape: list[int]) -> None:
        super().__init__()
        top, left, bottom, right = pads
        self.pad = torch.nn.ZeroPad2d((left, right, top, bottom))
        self.sum = torch.nn.AvgPool2d(size, strides, divisor_override=1)
        counts = self.sum(self.pad(torch.ones(1, 1, *shape[1:])))
        self.share = torch.nn.Buffer(1 / counts)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        averages: torch.Tensor = self.sum(self.pad(x)) * self.share
        return averages


def _average(node: NodeSpec) -> torch.nn.Module | None:
    """A pool whose padding differs between both ends, which PyTorch's pool cannot have."""
    options, size = node.options, node.options["kernel_shape"]
    strides, pads = options.get("strides", [1, 1]), options.get("pads", [0] * 4)
    if options.get("auto_pad") == b"SAME_UPPER":
        spans = zip(node.after[1:], strides, size, node.before[1:], strict=True)
        total = [max((n - 1) * stride + k - before, 0) for n, stride, k, before in spans]
        pads = [*(x // 2 for x in total), *(x - x // 2 for x in total)]
    plain = len(size) == 2 and not options.get("ceil_mode") and not options.get("count_include_pad")
    if not plain or pads[:2] == pads[2:]:
        return None
    return _PaddedAverage(tuple(size), tuple(strides), pads, node.before)


def _matmul(node: NodeSpec) -> torch.nn.Module | None:
    """A dense layer for a product with constants, which torchao's quantizer knows."""
    weight = node.constants[0]
    if weight is None or weight.ndim != 2:
        return None
    linear = torch.nn.Linear(weight.shape[0], weight.shape[1], bias=False)
    linear.weight = torch.nn.Parameter(torch.tensor(weight.T))
    return linear


def _pad(node: NodeSpec) -> torch.nn.Module | None:
    """Padding of (C, H, W) or (H, W, C); PyTorch lists pads from the last dimension on."""
    pads, *further = node.constants or [None]
    modes = {"constant": "constant", "reflect": "reflect", "edge": "replicate"}
    mode = modes.get(node.options.get("mode", b"constant").decode())
    if pads is None or mode is None or len(further) > 1 or any(x is None for x in further):
        return None
    sides = pads.reshape(2, -1).T.tolist()  # (front, behind) of each dimension
    if sides[0] != [0, 0] or (mode != "constant" and sides[1] != [0, 0]):
        return None
    listed = [x for side in reversed(sides[1 if mode == "constant" else 2 :]) for x in side]
    value = float(np.ravel(further[0])[0]) if further and further[0] is not None else None
    return _Function(lambda x: functional.pad(x, listed, mode=mode, value=value))


def _tile(node: NodeSpec) -> torch.nn.Module | None:
    repeats = node.constants[0]
    return None if repeats is None else _Function(lambda x: x.repeat(repeats.tolist()))


def _slice(node: NodeSpec) -> torch.nn.Module | None:
    """Parts of each image; a negative step only where it reverses a whole axis."""
    known = [x.tolist() for x in node.constants if x is not None]
    if len(known) != len(node.constants) or len(known) < 3:
        return None
    starts, ends, axes, *steps = known
    slices, reversed_axes = [slice(None)] * (len(node.before) + 1), []
    for start, end, axis, step in zip(
        starts, ends, axes, *(steps or [[1] * len(axes)]), strict=True
    ):
        if (start, step) == (0, 1) and end >= _TO_THE_END:
            continue
        if step == -1 and start >= _TO_THE_END and end <= -_TO_THE_END and axis:
            reversed_axes.append(axis)
        elif step > 0 and axis % len(slices):
            slices[axis] = slice(start, end, step)
        else:
            return None
    if reversed_axes:
        return _Function(lambda x: x[tuple(slices)].flip(reversed_axes))
    return _Function(lambda x: x[tuple(slices)])


_RESIZE = {  # mode, coordinate transformation, rounding
    (b"nearest", b"half_pixel", b"round_prefer_ceil"): {"mode": "nearest-exact"},
    (b"nearest", b"asymmetric", b"floor"): {"mode": "nearest"},
    (b"linear", b"half_pixel", None): {"mode": "bilinear"},
    (b"linear", b"align_corners", None): {"mode": "bilinear", "align_corners": True},
}


def _resize(node: NodeSpec) -> torch.nn.Module | None:
    mode = node.options.get("mode", b"nearest")
    transformation = node.options.get("coordinate_transformation_mode", b"half_pixel")
    rounding = node.options.get("nearest_mode", b"round_prefer_floor")
    settings = _RESIZE.get((mode, transformation, rounding if mode == b"nearest" else None))
    if settings is None or len(node.before) != 3 or node.before[0] != node.after[0]:
        return None
    size = node.after[1], node.after[2]
    return torch.nn.Upsample(size=size, **settings)  # type: ignore[arg-type]


_MAKERS: dict[str, Callable[[NodeSpec], torch.nn.Module | None]] = {
    "AveragePool": _average,
    "GlobalAveragePool": _global_average,
    "MatMul": _matmul,
    "Pad": _pad,
    "Reshape": _reshape,
    "Resize": _resize,
    "Slice": _slice,
    "Tile": _tile,
}
