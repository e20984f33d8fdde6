"""Operations that a device computes between 8-bit codes; reads those that round sums or products.

Shape letters: C channels, H x W positions, O outputs and I inputs of a layer, h x w positions of a
window, G groups.
"""

import math
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any, NamedTuple, NoReturn

import numpy as np
import onnx
from numpy.typing import NDArray

from resnet8.core.errors import ArtifactError
from resnet8.core.qparams import N_CODES, QuantizationParameters
from resnet8.models.onnx_graph import attributes
from resnet8.quantize.patches import find_padding
from resnet8.reference.network import Network

ARITHMETIC = {"Add": "add", "Mul": "multiply", "Sub": "subtract", "Sum": "add"}
AVERAGE_POOLS = ("AveragePool", "GlobalAveragePool")
LAST_CODE = N_CODES - 1
_FLOAT64_BITS = 53


class Operation(NamedTuple):
    """An operation between uint8 codes.

    kind: `add`, `average_pool`, `concat`, `conv`, `dense`, `max_pool`, `move`, `multiply`,
        `reshape`, `subtract` or `table`.
    nodes: nodes of the float model that it computes, the one that makes sums first; none where
        codes only get another scale.
    inputs, output: tensors.
    parameters: quantization parameters of the output; None where it stays in 32-bit sums.
    numbers: its other properties, under the keys of docs/test-vectors.md.
    arrays: weight (int8), bias (int32), table (uint8) or indices (int32).
    grid: numbers of which exact values are multiples, one or one for each channel; empty where
        nothing is rounded.
    """

    kind: str
    nodes: tuple[onnx.NodeProto, ...]
    inputs: tuple[str, ...]
    output: str
    parameters: QuantizationParameters | None
    numbers: Mapping[str, Any] = {}
    arrays: Mapping[str, NDArray[Any]] = {}
    grid: tuple[Fraction, ...] = ()


class Scope(NamedTuple):
    """Tensors that the nodes of a step may read.

    shapes: of all tensors, without the axis of images.
    codes: quantization parameters of tensors with codes.
    rounded: parameters of tensors within the step whose codes are rounded already; None where
        they stay in sums.
    target: parameters of the tensor that the step computes; None for the model's output.
    """

    network: Network
    shapes: Mapping[str, Sequence[int]]
    codes: dict[str, QuantizationParameters]
    rounded: dict[str, QuantizationParameters | None]
    target: QuantizationParameters | None

    def computed(self, node: onnx.NodeProto) -> list[str]:
        """Returns the inputs of a node that are not constants."""
        return [x for x in node.input if x and x not in self.network.constants]

    def read(self, node: onnx.NodeProto, tensor: str) -> QuantizationParameters:
        """Returns the quantization parameters of a node's input; refuses one without codes."""
        if tensor not in self.codes:
            refuse(node, "read 8-bit codes", f"{tensor} in float")
        return self.codes[tensor]


def refuse(node: onnx.NodeProto, expectation: str, got: object) -> NoReturn:
    """Refuses a node that integers and tables do not compute.

    Raises:
        ArtifactError: always.
    """
    raise ArtifactError(
        f"{node.name} ({node.op_type}) must {expectation} to have test vectors, got {got}. "
        "docs/test-vectors.md lists the operations that have them."
    )


def code_of(value: float, parameters: QuantizationParameters) -> int:
    """Returns the exact code of a number; Python rounds fractions half to even."""
    steps = round(Fraction(value) / _scale_of(parameters)) + int(parameters.zero_point)
    return min(max(steps, 0), LAST_CODE)


def exact_text(scale: float | list[float]) -> dict[str, Any]:
    """Returns scales as decimals that parse back exactly, and in hexadecimal."""
    text = scale.hex() if isinstance(scale, float) else [x.hex() for x in scale]
    return {"decimal": scale, "hex": text}


def _scale_of(parameters: QuantizationParameters) -> Fraction:
    return Fraction(float(parameters.scale))


def read_layer(scope: Scope, node: onnx.NodeProto) -> Operation:
    """Reads a convolution (O, I / G, h, w) or a dense layer (O, I)."""
    if node.name not in scope.network.integers:
        refuse(node, "multiply 8-bit codes with 8-bit weights", "a layer in float")
    layer = scope.network.layers[node.name]
    codes, weight, scale, bias = scope.network.integers[node.name]
    steps = np.abs(codes.astype(np.int64) - weight.zero_point.max()).reshape(len(codes), -1)
    largest = float((steps.sum(axis=1) * LAST_CODE + np.abs(bias)).max())
    if largest > np.iinfo(np.int32).max:
        refuse(node, "add up to 32 bits whatever the image", f"sums up to {largest:.3g}")
    scales = np.broadcast_to(weight.scale, len(codes)).tolist()
    numbers: dict[str, Any] = {
        "weight": {"zero_point": int(np.max(weight.zero_point)), "scales": exact_text(scales)}
    }
    if layer.kind == "Conv":
        windows, _ = read_windows(scope, node)
        del windows["kernel"]  # the shape of the weight has it
        numbers |= {**windows, "groups": layer.groups}
    elif len(scope.shapes[layer.input]) != 1:
        refuse(node, "read one axis", f"shape {tuple(scope.shapes[layer.input])}")
    grid = [Fraction(x) for x in scale.tolist()]
    kind = "conv" if layer.kind == "Conv" else "dense"
    arrays: dict[str, NDArray[Any]] = {"weight": codes, "bias": bias.astype(np.int32)}
    return _rounded(scope, node, kind, [layer.input], grid, **numbers)._replace(arrays=arrays)


def read_average(scope: Scope, node: onnx.NodeProto) -> Operation:
    """Reads an average pool."""
    windows, counts = read_windows(scope, node)
    options = attributes(node)
    counts_pads = bool(options.get("count_include_pad", 0))
    if counts_pads and options.get("ceil_mode", 0):
        refuse(node, "count no pads where ceil_mode adds windows", "count_include_pad = 1")
    divisor = math.prod(windows["kernel"]) if counts_pads else math.lcm(*counts)
    grid = [_scale_of(scope.read(node, node.input[0])) / divisor]
    inputs = node.input[:1]
    return _rounded(scope, node, "average_pool", inputs, grid, **windows, counts_pads=counts_pads)


def read_arithmetic(scope: Scope, node: onnx.NodeProto) -> Operation:
    """Reads a sum, difference or product of tensors; an axis of length 1 is repeated."""
    scales = [_scale_of(scope.read(node, x)) for x in node.input]
    shapes = [tuple(scope.shapes[x]) for x in node.input]
    if len({len(x) for x in shapes}) > 1:
        refuse(node, "read tensors with equally many axes", f"shapes {shapes}")
    kind = ARITHMETIC[node.op_type]
    if kind == "multiply":
        return _rounded(scope, node, kind, node.input, [math.prod(scales, start=Fraction(1))])
    denominator = math.lcm(*(x.denominator for x in scales))
    grid = Fraction(math.gcd(*(int(x * denominator) for x in scales)), denominator)
    if sum(LAST_CODE * x for x in scales) >= 2**_FLOAT64_BITS * grid:  # not exact in float64
        ratio = float(max(scales) / min(scales))
        refuse(node, "add numbers of similar scales", f"a scale {ratio:.0e} times another")
    return _rounded(scope, node, kind, node.input, [grid])


def _rounded(
    scope: Scope,
    node: onnx.NodeProto,
    kind: str,
    inputs: Sequence[str],
    grid: Sequence[Fraction],
    **numbers: Any,
) -> Operation:
    """An operation whose exact results, multiples of the grid, are rounded to codes."""
    for tensor in inputs:
        scope.read(node, tensor)
    if scope.target:
        numbers |= {"lowest": 0, "highest": LAST_CODE}
    output = node.output[0]
    return Operation(kind, (node,), tuple(inputs), output, scope.target, numbers, grid=tuple(grid))


def clip_output(scope: Scope, operation: Operation, node: onnx.NodeProto) -> Operation:
    """Returns an operation followed by a ReLU or Clip, which limits its codes."""
    parameters = operation.parameters
    if parameters is None:
        refuse(node, "have 8-bit codes", "sums in 32 bits")
    far = float(np.finfo(np.float64).max)
    ends = scope.network.apply(node, {node.input[0]: np.array([-far, far])})
    low, high = (code_of(float(x), parameters) for x in ends)
    limits = {x: min(max(operation.numbers[x], low), high) for x in ("lowest", "highest")}
    return operation._replace(
        nodes=(*operation.nodes, node),
        output=node.output[0],
        numbers={**operation.numbers, **limits},
    )


def read_windows(scope: Scope, node: onnx.NodeProto) -> tuple[dict[str, list[int]], frozenset[int]]:
    """Reads the windows that a convolution or pool moves over (C, H, W).

    Returns:
        `kernel`, `strides` and `dilations` along H and W, and `pads` above, left, below and
        right; the numbers of positions that windows cover inside the tensor.

    Source: https://onnx.ai/onnx/operators/onnx__MaxPool.html
    """
    source, output = scope.shapes[node.input[0]], scope.shapes[node.output[0]]
    if len(source) != 3:
        refuse(node, "read channels, rows and columns", f"shape {tuple(source)}")
    options = attributes(node)
    kernel = options.get("kernel_shape", source[1:])  # global pools have none
    if layer := scope.network.layers.get(node.name):
        kernel = layer.weight.shape[2:]
    strides, dilations = (options.get(name, [1, 1]) for name in ("strides", "dilations"))
    spans = [dilation * (size - 1) + 1 for dilation, size in zip(dilations, kernel, strict=True)]
    before = [x for x, _ in find_padding(options, source[1:], spans=spans, strides=strides)]
    behind, counts = [], []
    for axis, places in enumerate(source[1:]):
        starts = [strides[axis] * i - before[axis] for i in range(output[axis + 1])]
        steps = range(0, spans[axis], dilations[axis])
        behind.append(max(starts[-1] + spans[axis] - places, 0))
        counts.append({sum(0 <= start + x < places for x in steps) for start in starts})
    numbers = {
        "kernel": list(kernel),
        "strides": list(strides),
        "dilations": list(dilations),
        "pads": [*before, *behind],
    }
    return numbers, frozenset(rows * columns for rows in counts[0] for columns in counts[1])
