"""Operations that a device computes between 8-bit codes.

Shape letters: C channels, H x W places, O outputs of a layer.
"""

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any, NamedTuple, NoReturn

import onnx
from numpy.typing import NDArray

from resnet8.core.errors import ArtifactError
from resnet8.core.qparams import N_CODES, QuantizationParameters
from resnet8.reference.network import Network

LAST_CODE = N_CODES - 1
Parameters = QuantizationParameters


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
    weight: quantization parameters of the weight, (O,) scales.
    grid: numbers of which exact values are multiples, one or one for each channel; empty where
        nothing is rounded.
    """

    kind: str
    nodes: tuple[onnx.NodeProto, ...]
    inputs: tuple[str, ...]
    output: str
    parameters: Parameters | None
    numbers: Mapping[str, Any] = {}
    arrays: Mapping[str, NDArray[Any]] = {}
    weight: Parameters | None = None
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
    codes: dict[str, Parameters]
    rounded: dict[str, Parameters | None]
    target: Parameters | None

    def computed(self, node: onnx.NodeProto) -> list[str]:
        """Returns the inputs of a node that are not constants."""
        return [x for x in node.input if x and x not in self.network.constants]

    def read(self, node: onnx.NodeProto, tensor: str) -> Parameters:
        """Returns the quantization parameters of a node's input.

        Raises:
            ArtifactError: the input has no codes.
        """
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


def scale_of(parameters: Parameters) -> Fraction:
    """Returns the exact scale of a tensor."""
    return Fraction(float(parameters.scale))


def code_of(value: float, parameters: Parameters) -> int:
    """Returns the exact code of a number; Python rounds fractions half to even."""
    steps = round(Fraction(value) / scale_of(parameters)) + int(parameters.zero_point)
    return min(max(steps, 0), LAST_CODE)


def same_codes(one: Parameters, other: Parameters) -> bool:
    """True if the codes of two tensors represent equal numbers."""
    return bool(one.scale == other.scale and one.zero_point == other.zero_point)
