"""PyTorch modules for operators that onnx2torch lacks, or converts to what cannot be exported.

Each is computed for any number of images N from what is known beforehand: the shapes of one image,
attributes and constants. Shape letters: C channels, H and W pixels.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

_Pair = tuple[int, int]
_ENDLESS = 10**9  # exporters write slices to the end like this, or larger


class Given(NamedTuple):
    """A node to convert.

    before: shape of its first input, without the images' dimension.
    after: shape of its output, likewise.
    options: its attributes.
    constants: its further inputs; None for one that is computed.
    """

    before: list[int]
    after: list[int]
    options: dict[str, Any]
    constants: list[NDArray[Any] | None]


def make_module(operator: str, given: Given) -> torch.nn.Module | None:
    """A module of one input for a node; None where onnx2torch's serves."""
    make = _MAKERS.get(operator)
    return make(given) if make else None


def _reshape(given: Given) -> torch.nn.Module:
    """From (N, *before) to (M, *after)."""
    if len(given.after) == 1 and math.prod(given.before) == given.after[0]:
        return torch.nn.Flatten(1)  # each image's own, as the quantizer knows it
    return torch.nn.Sequential(torch.nn.Flatten(0), torch.nn.Unflatten(0, (-1, *given.after)))


def _global_average(given: Given) -> torch.nn.Module | None:
    """A pool; onnx2torch's is a mean, which torchao's quantizer leaves in float.

    With one dimension of pixels, onnx2torch's is also wrong (1.5.15).
    """
    if len(given.before) == 2:
        return torch.nn.AvgPool1d(given.before[1])
    if len(given.before) == 3:
        return torch.nn.AvgPool2d((given.before[1], given.before[2]))
    return None


class _PaddedAverage(torch.nn.Module):
    """Averages over the part of each window that lies in the image, padded on each side at will."""

    def __init__(
        self, size: _Pair, strides: _Pair, pads: Sequence[int], shape: Sequence[int]
    ) -> None:
        super().__init__()
        top, left, bottom, right = pads
        self.pad = torch.nn.ZeroPad2d((left, right, top, bottom))
        self.sum = torch.nn.AvgPool2d(size, strides, divisor_override=1)
        counts = self.sum(self.pad(torch.ones(1, 1, *shape[1:])))
        self.share = torch.nn.Buffer(1 / counts)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        averages: torch.Tensor = self.sum(self.pad(x)) * self.share
        return averages


def _average(given: Given) -> torch.nn.Module | None:
    """A pool with other padding in front than behind, which PyTorch's own cannot have."""
    options, size = given.options, given.options["kernel_shape"]
    strides, pads = options.get("strides", [1, 1]), options.get("pads", [0] * 4)
    if options.get("auto_pad") == b"SAME_UPPER":
        spans = zip(given.after[1:], strides, size, given.before[1:], strict=True)
        total = [max((n - 1) * stride + k - before, 0) for n, stride, k, before in spans]
        pads = [*(x // 2 for x in total), *(x - x // 2 for x in total)]
    plain = len(size) == 2 and not options.get("ceil_mode") and not options.get("count_include_pad")
    if not plain or pads[:2] == pads[2:]:
        return None
    return _PaddedAverage(tuple(size), tuple(strides), pads, given.before)


def _matrix(given: Given) -> torch.nn.Module | None:
    """A product with constants along the last axis, as the quantizer knows it."""
    weight = given.constants[0]
    if weight is None or weight.ndim != 2:
        return None
    inputs, outputs = weight.shape
    linear = torch.nn.Linear(inputs, outputs, bias=False)
    linear.weight = torch.nn.Parameter(torch.tensor(weight.T))
    return linear


class _Repeated(torch.nn.Module):
    def __init__(self, repeats: Sequence[int]) -> None:
        super().__init__()
        self.repeats = tuple(repeats)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.repeat(self.repeats)


class _Padded(torch.nn.Module):
    def __init__(self, pads: Sequence[int], mode: str, value: float) -> None:
        super().__init__()
        self.pads, self.mode, self.value = tuple(pads), mode, value

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.mode == "constant":
            return torch.nn.functional.pad(x, self.pads, value=self.value)
        return torch.nn.functional.pad(x, self.pads, mode=self.mode)


def _pad(given: Given) -> torch.nn.Module | None:
    """Around pixels (C, H, W) or (H, W, C); PyTorch lists pads from the last dimension on."""
    pads, *further = given.constants or [None]
    mode = given.options.get("mode", b"constant").decode()
    if pads is None or len(further) > 1 or any(x is None for x in further):
        return None
    sides = pads.reshape(2, -1).T.tolist()  # (front, behind) by dimension
    if sides[0] != [0, 0] or (mode != "constant" and sides[1] != [0, 0]):
        return None
    listed = [x for side in reversed(sides[1 if mode == "constant" else 2 :]) for x in side]
    modes = {"constant": "constant", "reflect": "reflect", "edge": "replicate"}
    value = float(np.ravel(further[0])[0]) if further and further[0] is not None else 0.0
    return _Padded(listed, modes[mode], value) if mode in modes else None


def _tile(given: Given) -> torch.nn.Module | None:
    repeats = given.constants[0]
    return None if repeats is None else _Repeated(repeats.tolist())


class _Sliced(torch.nn.Module):
    def __init__(self, slices: Sequence[slice], reversed_axes: Sequence[int]) -> None:
        super().__init__()
        self.slices, self.reversed_axes = tuple(slices), tuple(reversed_axes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x[self.slices]
        return x.flip(self.reversed_axes) if self.reversed_axes else x


def _slice(given: Given) -> torch.nn.Module | None:
    """Parts of each image; a negative step only where it reverses a whole axis."""
    known = [x.tolist() for x in given.constants if x is not None]
    if len(known) != len(given.constants) or len(known) < 3:  # in another order, too
        return None
    starts, ends, axes, *steps = known
    steps = steps or [[1] * len(axes)]
    slices, reversed_axes = [slice(None)] * (len(given.before) + 1), []
    for start, end, axis, step in zip(starts, ends, axes, *steps, strict=True):
        if (start, step) == (0, 1) and end >= _ENDLESS:
            continue
        if step == -1 and start >= _ENDLESS and end <= -_ENDLESS and axis:
            reversed_axes.append(axis)
        elif step > 0 and axis % len(slices):
            slices[axis] = slice(start, end, step)
        else:
            return None
    return _Sliced(slices, reversed_axes)


_RESIZED = {  # mode, coordinate transformation, rounding
    (b"nearest", b"half_pixel", b"round_prefer_ceil"): {"mode": "nearest-exact"},
    (b"nearest", b"asymmetric", b"floor"): {"mode": "nearest"},
    (b"linear", b"half_pixel", None): {"mode": "bilinear"},
    (b"linear", b"align_corners", None): {"mode": "bilinear", "align_corners": True},
}


def _resize(given: Given) -> torch.nn.Module | None:
    options, nearest = given.options, given.options.get("mode", b"nearest") == b"nearest"
    kind = (
        options.get("mode", b"nearest"),
        options.get("coordinate_transformation_mode", b"half_pixel"),
        options.get("nearest_mode", b"round_prefer_floor") if nearest else None,
    )
    if kind not in _RESIZED or len(given.before) != 3 or given.before[0] != given.after[0]:
        return None
    size = given.after[1], given.after[2]
    return torch.nn.Upsample(size=size, **_RESIZED[kind])  # type: ignore[arg-type]


_MAKERS: dict[str, Callable[[Given], torch.nn.Module | None]] = {
    "AveragePool": _average,
    "GlobalAveragePool": _global_average,
    "MatMul": _matrix,
    "Pad": _pad,
    "Reshape": _reshape,
    "Resize": _resize,
    "Slice": _slice,
    "Tile": _tile,
}
