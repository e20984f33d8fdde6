"""Reads operations that round a sum or product: layers, pools, sums and products of tensors.

Shape letters: C channels, H x W places, O outputs and I inputs of a layer, h x w places of a
window, G groups.
"""

import math
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import onnx

from resnet8.models.onnx_graph import attributes
from resnet8.quantize.layers import Layer
from resnet8.reference.operations import (
    LAST_CODE,
    Operation,
    Scope,
    code_of,
    refuse,
    scale_of,
)

KINDS = {"Add": "add", "Mul": "multiply", "Sub": "subtract", "Sum": "add"}
AVERAGE_POOLS = ("AveragePool", "GlobalAveragePool")
_FLOAT64_BITS = 53
Windows = tuple[dict[str, list[int]], frozenset[int]]


def read_layer(scope: Scope, node: onnx.NodeProto, layer: Layer) -> Operation:
    """Reads a convolution (O, I / G, h, w) or a dense layer (O, I)."""
    if not scope.network.is_in_codes(layer):
        refuse(node, "multiply 8-bit codes with 8-bit weights", "a layer in float")
    codes, weight, scale, bias = scope.network.integers(layer)
    bias = np.zeros(len(codes)) if bias is None else bias
    steps = np.abs(codes.astype(np.int64) - weight.zero_point.max()).reshape(len(codes), -1)
    largest = float((steps.sum(axis=1) * LAST_CODE + np.abs(bias)).max())
    if largest > np.iinfo(np.int32).max:
        refuse(node, "add up to 32 bits whatever the image", f"sums up to {largest:.3g}")
    numbers: dict[str, Any] = {}
    if layer.kind == "Conv":
        windows, _ = read_windows(scope, node, kernel=codes.shape[2:])
        numbers = {**windows, "groups": layer.groups}
        del numbers["kernel"]  # the shape of the weight has it
    elif len(scope.shapes[layer.input]) != 1:
        refuse(node, "read one axis", f"shape {tuple(scope.shapes[layer.input])}")
    kind = "conv" if layer.kind == "Conv" else "dense"
    grid = [Fraction(x) for x in np.broadcast_to(scale, len(codes)).tolist()]
    return _rounded(scope, kind, node, [layer.input], grid, numbers)._replace(
        arrays={"weight": codes, "bias": bias.astype(np.int32)},
        weight=weight._replace(scale=np.broadcast_to(weight.scale, len(codes))),
    )


def read_average(scope: Scope, node: onnx.NodeProto) -> Operation:
    """Reads an average pool."""
    (windows, counts), options = read_windows(scope, node), attributes(node)
    counts_pads = bool(options.get("count_include_pad", 0))
    if counts_pads and options.get("ceil_mode", 0):
        refuse(node, "count no pads where ceil_mode adds windows", "count_include_pad = 1")
    divisor = math.prod(windows["kernel"]) if counts_pads else math.lcm(*counts)
    grid = [scale_of(scope.read(node, node.input[0])) / divisor]
    numbers = {**windows, "counts_pads": counts_pads}
    return _rounded(scope, "average_pool", node, node.input[:1], grid, numbers)


def read_arithmetic(scope: Scope, node: onnx.NodeProto) -> Operation:
    """Reads a sum, difference or product of tensors; an axis of length 1 is repeated."""
    scales = [scale_of(scope.read(node, x)) for x in node.input]
    shapes = [tuple(scope.shapes[x]) for x in node.input]
    if len({len(x) for x in shapes}) > 1:
        refuse(node, "read tensors with as many axes", f"shapes {shapes}")
    kind = KINDS[node.op_type]
    if kind == "multiply":
        return _rounded(scope, kind, node, node.input, [math.prod(scales, start=Fraction(1))])
    denominator = math.lcm(*(x.denominator for x in scales))
    grid = Fraction(math.gcd(*(int(x * denominator) for x in scales)), denominator)
    if sum(LAST_CODE * x for x in scales) >= 2**_FLOAT64_BITS * grid:  # not exact in float64
        ratio = float(max(scales) / min(scales))
        refuse(node, "add numbers of like scales", f"a scale {ratio:.0e} times another")
    return _rounded(scope, kind, node, node.input, [grid])


def _rounded(  # noqa: PLR0913, PLR0917
    scope: Scope,
    kind: str,
    node: onnx.NodeProto,
    inputs: Sequence[str],
    grid: Sequence[Fraction],
    numbers: Mapping[str, Any] | None = None,
) -> Operation:
    for tensor in inputs:
        scope.read(node, tensor)
    ends = {"lowest": 0, "highest": LAST_CODE} if scope.target else {}
    numbers = {**(numbers or {}), **ends}
    return Operation(
        kind, (node,), tuple(inputs), node.output[0], scope.target, numbers, grid=tuple(grid)
    )


def clip_output(scope: Scope, operation: Operation, node: onnx.NodeProto) -> Operation:
    """Returns an operation followed by a ReLU or Clip, which limits its codes."""
    if operation.parameters is None:
        refuse(node, "have 8-bit codes", "sums that stay in 32 bits")
    far = float(np.finfo(np.float64).max)
    ends = scope.network.apply(node, {node.input[0]: np.array([-far, far])})
    low, high = (code_of(float(x), operation.parameters) for x in ends)
    limits = {x: min(max(operation.numbers[x], low), high) for x in ("lowest", "highest")}
    return operation._replace(
        nodes=(*operation.nodes, node),
        output=node.output[0],
        numbers={**operation.numbers, **limits},
    )


def read_windows(
    scope: Scope, node: onnx.NodeProto, *, kernel: Sequence[int] | None = None
) -> Windows:
    """Reads the windows that a convolution or pool moves over (C, H, W).

    Args:
        scope: of the node.
        node: a Conv, or a pool of two axes, or a global pool.
        kernel: (h, w); None to read it from the attributes.

    Returns:
        `kernel`, `strides` and `dilations` along H and W, and `pads` above, left, below and
        right; the numbers of places that windows cover inside the tensor.

    Raises:
        ArtifactError: the input is not (C, H, W).

    Source: https://onnx.ai/onnx/operators/onnx__MaxPool.html
    """
    source, output = scope.shapes[node.input[0]], scope.shapes[node.output[0]]
    if len(source) != 3:
        refuse(node, "read channels, rows and columns", f"shape {tuple(source)}")
    options = attributes(node)
    kernel = kernel or options.get("kernel_shape", source[1:])  # global pools have none
    strides, dilations = (options.get(name, [1, 1]) for name in ("strides", "dilations"))
    before, behind, counts = [], [], []
    for axis in range(2):
        places, windows = source[axis + 1], output[axis + 1]
        steps = [dilations[axis] * i for i in range(kernel[axis])]
        reached = (windows - 1) * strides[axis] + steps[-1] + 1
        missing = max(reached - places, 0)
        first = {
            b"SAME_UPPER": missing // 2,
            b"SAME_LOWER": missing - missing // 2,
        }.get(options.get("auto_pad", b""), options.get("pads", [0, 0])[axis])
        starts = [strides[axis] * i - first for i in range(windows)]
        before.append(first)
        behind.append(max(reached - places - first, 0))
        counts.append({sum(0 <= start + x < places for x in steps) for start in starts})
    numbers = {
        "kernel": list(kernel),
        "strides": list(strides),
        "dilations": list(dilations),
        "pads": [*before, *behind],
    }
    return numbers, frozenset(rows * columns for rows in counts[0] for columns in counts[1])
