"""Converts the ONNX model to PyTorch with onnx2torch.

Some operators get modules of our own: onnx2torch lacks them, cannot export them for any number of
images, or uses operators that torchao's quantizer does not know.

Shape letters: N images, C channels, H and W pixels.
"""

import warnings
from bisect import bisect_left
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch.nn import functional

from resnet8.core.errors import ArtifactError
from resnet8.models import keras_layers, torch_model
from resnet8.models.faults import FAULTS, reason
from resnet8.models.fx_graph import to_identifier
from resnet8.models.onnx_graph import (
    Graph,
    attributes,
    copy_of,
    infer_shapes,
    remove_unused,
    with_outputs,
)

# onnx2torch imports torchvision, for operators that no classifier has. The package index builds it
# for CUDA, and beside a CPU build of PyTorch it imports only once its operators are declared.
try:
    import torchvision  # noqa: F401
except RuntimeError as exc:
    if "torchvision::" not in str(exc):
        raise
    for operator in ("nms", "qnms"):
        schema = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
        torch.library.define(f"torchvision::{operator}", schema)

import onnx2torch

Shape = list[int]  # of a tensor for one image, without N
Constants = list[NDArray[Any] | None]  # the further inputs of a node; None for computed ones
Module = torch.nn.Module | None  # None where onnx2torch's serves
_TO_THE_END = 10**9  # exporters write at least this as the end of a slice without one


def to_program(model: onnx.ModelProto) -> torch.export.ExportedProgram:
    """Converts a model to a program for any number of images; see `convert`.

    Raises:
        ArtifactError: an operator cannot be converted or exported; names the Keras layer.
    """
    try:
        return torch_model.export(convert(model))
    except FAULTS as exc:
        node, fault = _find_culprit(model, exc)
        first_line = str(fault).strip().partition("\n")[0]
        raise ArtifactError(
            f"{keras_layers.describe(model, node.output[0])} must be convertible to PyTorch, got "
            f"{node.op_type} in ONNX: {reason(fault, first_line)}. Replace the layer by others "
            "that compute the same."
        ) from exc


def _find_culprit(model: onnx.ModelProto, fault: Exception) -> tuple[onnx.NodeProto, Exception]:
    """The first node that cannot be converted and exported with all before it, and the fault."""
    last = len(model.graph.node) - 1
    faults = {last: fault}

    def fails(position: int) -> bool:
        part = copy_of(model)
        del part.graph.node[position + 1 :], part.graph.output[:]
        inputs = {tensor for node in part.graph.node for tensor in node.input}
        outputs = {node.output[0] for node in part.graph.node} - inputs
        try:
            torch_model.export(convert(with_outputs(part, sorted(outputs))))
        except FAULTS as exc:
            faults[position] = exc
        return position in faults

    position = bisect_left(range(last), True, key=fails)
    return model.graph.node[position], faults[position]


def convert(model: onnx.ModelProto) -> torch.fx.GraphModule:
    """Converts a model from (N, 32, 32, 3) to (N, K) to a module that is exportable for any N.

    Submodules are named like the ONNX nodes, see `fx_graph.to_identifier`.
    """
    safe, modules = copy_of(model), {}
    shapes, constants = infer_shapes(safe), Graph(safe).constants
    for node in safe.graph.node:
        node.name, node.domain = to_identifier(node.name), ""
        before, after = (shapes.get(x, [0])[1:] for x in (node.input[0], node.output[0]))
        if node.op_type in _MAKERS and all(before) and after and all(after):
            further = [constants.get(tensor) for tensor in node.input[1:]]
            module = _MAKERS[node.op_type](before, after, further, **attributes(node))
            if module:  # onnx2torch converts an identity in its place
                modules[node.name] = module
                identity = onnx.helper.make_node("Identity", node.input[:1], node.output, node.name)
                node.CopyFrom(identity)
    remove_unused(safe.graph)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about results that might differ: they are compared
        converted: torch.fx.GraphModule = onnx2torch.convert(safe).eval()
    for name, module in modules.items():
        converted.add_submodule(name, module)
    for parameter in converted.parameters():
        # Dense weights are transposed views, which Inductor's int8 kernels misread.
        parameter.data = parameter.data.contiguous()
    return converted


class _Function(torch.nn.Module):
    """Applies a function of one tensor."""

    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.forward = function


def _reshape(before: Shape, after: Shape, _: Constants, **_options: Any) -> Module:
    if len(after) == 1 and np.prod(before) == after[0]:
        return torch.nn.Flatten(1)  # which torchao's quantizer knows
    return torch.nn.Sequential(torch.nn.Flatten(0), torch.nn.Unflatten(0, (-1, *after)))


def _global_average(before: Shape, _after: Shape, _: Constants) -> Module:
    """A pool; onnx2torch takes a mean, which torchao's quantizer leaves in float.

    onnx2torch 1.5.15 also computes means of one dimension wrongly.
    """
    if len(before) == 2:
        return torch.nn.AvgPool1d(before[1])
    return torch.nn.AvgPool2d((before[1], before[2])) if len(before) == 3 else None


def _average(before: Shape, after: Shape, _: Constants, **options: Any) -> Module:
    """A mean of the pixels in each window; PyTorch's pool cannot pad both ends differently."""
    size, strides = options["kernel_shape"], options.get("strides", [1, 1])
    pads = options.get("pads", [0] * 4)
    if options.get("auto_pad") == b"SAME_UPPER":
        axes = zip(after[1:], strides, size, before[1:], strict=True)
        total = [max((n - 1) * stride + span - pixels, 0) for n, stride, span, pixels in axes]
        pads = [*(x // 2 for x in total), *(x - x // 2 for x in total)]
    special = len(size) != 2 or options.get("ceil_mode") or options.get("count_include_pad")
    if special or pads[:2] == pads[2:]:
        return None
    top, left, bottom, right = pads

    def add_up(x: torch.Tensor) -> torch.Tensor:
        padded = functional.pad(x, (left, right, top, bottom))
        return functional.avg_pool2d(padded, size, strides, divisor_override=1)

    share = 1 / add_up(torch.ones(1, 1, *before[1:]))
    return _Function(lambda x: add_up(x) * share)


def _matmul(_before: Shape, _after: Shape, constants: Constants) -> Module:
    """A dense layer for a product with constants, which torchao's quantizer knows."""
    weight = constants[0]
    if weight is None or weight.ndim != 2:
        return None
    linear = torch.nn.Linear(weight.shape[0], weight.shape[1], bias=False)
    linear.weight = torch.nn.Parameter(torch.tensor(weight.T))
    return linear


def _pad(
    _before: Shape, _after: Shape, constants: Constants, *, mode: bytes = b"constant"
) -> Module:
    """Padding of (C, H, W) or (H, W, C); PyTorch lists pads from the last dimension on."""
    pads, *further = constants
    if pads is None or len(further) > 1 or any(x is None for x in further):
        return None
    value = next((float(x.item()) for x in further if x is not None), None)
    sides = pads.reshape(2, -1).T.tolist()  # (front, behind) of each dimension
    n_unpadded = 1 if mode == b"constant" else 2  # other modes pad the last dimensions alone
    if any(map(any, sides[:n_unpadded])):
        return None
    listed = [x for side in reversed(sides[n_unpadded:]) for x in side]
    return _Function(lambda x: functional.pad(x, listed, mode=mode.decode(), value=value))


def _tile(_before: Shape, _after: Shape, constants: Constants) -> Module:
    repeats = constants[0]
    return None if repeats is None else _Function(lambda x: x.repeat(repeats.tolist()))


def _slice(before: Shape, _after: Shape, constants: Constants) -> Module:
    """Parts of each image; a negative step only where it reverses a whole axis."""
    known = [x.tolist() for x in constants if x is not None]
    if len(known) != len(constants) or len(known) < 3:
        return None
    if len(known) == 3:
        known.append([1] * len(known[0]))  # steps
    slices, reversed_axes = [slice(None)] * (len(before) + 1), []
    for start, end, axis, step in zip(*known, strict=True):
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


def _resize(before: Shape, after: Shape, _: Constants, **options: Any) -> Module:
    kind = [options.get(x) for x in ("coordinate_transformation_mode", "mode", "nearest_mode")]
    match kind:
        case [b"half_pixel", b"nearest", b"round_prefer_ceil"]:
            mode = "nearest-exact"
        case [b"half_pixel", b"linear", _]:
            mode = "bilinear"
        case _:
            return None
    is_image = len(before) == 3 and before[0] == after[0]
    return torch.nn.Upsample(size=tuple(after[1:]), mode=mode) if is_image else None


# From shapes before and after a node, its further inputs and its attributes.
_MAKERS: dict[str, Callable[..., Module]] = {
    "AveragePool": _average,
    "GlobalAveragePool": _global_average,
    "MatMul": _matmul,
    "Pad": _pad,
    "Reshape": _reshape,
    "Resize": _resize,
    "Slice": _slice,
    "Tile": _tile,
}
