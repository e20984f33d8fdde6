"""Ranges of what an addition in front of a ReLU adds up.

The ReLU discards each sum below zero, so values that only make such sums need no codes. The
range of an addend is chosen by the error that is left behind the ReLU, with the other addend as
it is: to make up for the other addend's error as well makes both worse.

Shape letters: B bins of an addend, D bins of the other one.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import onnx
from numpy.typing import NDArray

from resnet8.core.qparams import N_CODES, QuantizationParameters
from resnet8.models.onnx_graph import Graph, infer_shapes
from resnet8.quantize.observers import Batch, Seen
from resnet8.quantize.ranges import Ranges, to_parameters

BINS = 4096  # of an addend: 16 for each of the 256 codes
OTHER_BINS = 256
# Ends of a range that are tried, as shares of the ends that were seen. Far less than half of the
# numbers below zero may be worth a code.
_LOW_SHARES = np.linspace(0.04, 1.0, 25)
_HIGH_SHARES = np.linspace(0.4, 1.0, 25)


def find_addends(model: onnx.ModelProto, points: Mapping[str, str]) -> dict[str, str]:
    """Finds what additions that only a ReLU reads add up.

    Args:
        model: a float model.
        points: the tensors that are rounded to 8 bits, each with the one whose scale it has.

    Returns:
        By tensor with a scale of its own that only such an addition reads, the tensor of the same
        shape that is added to it.
    """
    graph, shapes = Graph(model), infer_shapes(model)
    outputs = {value.name for value in model.graph.output}

    def reader(tensor: str) -> onnx.NodeProto | None:
        readers = graph.consumers.get(tensor, [])
        return readers[0] if len(readers) == 1 and tensor not in outputs else None

    found: dict[str, str] = {}
    for node in graph.nodes:
        behind = reader(node.output[0])
        if node.op_type != "Add" or behind is None or behind.op_type != "Relu":
            continue
        one, other = node.input
        if {one, other} <= points.keys() and shapes.get(one) == shapes.get(other):
            found |= {x: y for x, y in ((one, other), (other, one)) if reader(x) and points[x] == x}
    return found


def find_additions(model: onnx.ModelProto, addends: Iterable[str]) -> set[str]:
    """The outputs of the additions that read addends."""
    consumers = Graph(model).consumers
    return {node.output[0] for addend in addends for node in consumers[addend]}


def describe(addends: Sequence[str]) -> list[str]:
    """A sentence about addends whose range leaves out what a ReLU discards; none without any."""
    if not addends:
        return []
    return [
        f"{', '.join(addends)}: clipped below on purpose, because the ReLU behind the addition "
        "discards what is clipped."
    ]


class JointHistogram(NamedTuple):
    """Counts of the values of an addend and of what is added to them.

    counts: (B, D).
    ends: of the addend's bins; 0 is in the range.
    other_ends: of the other one's.
    """

    counts: NDArray[np.int64]
    ends: tuple[float, float]
    other_ends: tuple[float, float]


def find_histograms(
    batches: Iterable[Batch], addends: Mapping[str, str], seen: Mapping[str, Seen]
) -> dict[str, JointHistogram]:
    """Counts the values of each addend together with those of the other one.

    Args:
        batches: of the values of both.
        addends: see `find_addends`; both of one shape.
        seen: the ends of the same values.
    """
    found = {
        addend: JointHistogram(
            np.zeros((BINS, OTHER_BINS), np.int64), _ends(seen[addend]), _ends(seen[other])
        )
        for addend, other in addends.items()
    }
    for batch in batches:
        for addend, joint in found.items():
            rows = _bins(batch[addend], joint.ends, BINS)
            columns = _bins(batch[addends[addend]], joint.other_ends, OTHER_BINS)
            cells = np.bincount(rows * OTHER_BINS + columns, minlength=joint.counts.size)
            joint.counts[:] += cells.reshape(joint.counts.shape)
    return found


def _ends(seen: Seen) -> tuple[float, float]:
    return min(float(seen.low.min()), 0.0), max(float(seen.high.max()), 0.0)


def _bins(values: NDArray[np.float32], ends: tuple[float, float], count: int) -> NDArray[np.int32]:
    low, high = ends
    scale = count / (high - low) if high > low else 0.0
    return np.minimum(((values.ravel() - low) * scale).astype(np.int32), count - 1)


def _centres(ends: tuple[float, float], count: int) -> NDArray[np.float64]:
    width = (ends[1] - ends[0]) / count
    return np.asarray(ends[0] + (np.arange(count, dtype=np.float64) + 0.5) * width)


def least_squares(histograms: Mapping[str, JointHistogram], *, symmetric: bool) -> Ranges:
    """The ranges whose rounding and clipping err least behind the ReLU, by their mean square."""
    return {name: _least_squares(x, symmetric=symmetric) for name, x in histograms.items()}


def _least_squares(histogram: JointHistogram, *, symmetric: bool) -> tuple[float, float]:
    low, high = histogram.ends
    if symmetric:
        tried = [(low * share, high * share) for share in _LOW_SHARES]
    else:
        tried = [(low * below, high * above) for below in _LOW_SHARES for above in _HIGH_SHARES]
    error = _Error(histogram)
    best: tuple[float, float] = min(
        reversed(tried), key=lambda ends: error(to_parameters(*ends, symmetric=symmetric))
    )
    return best  # the widest of equally good ones


class _Error:
    """The summed squares of what quantizing an addend changes behind the ReLU."""

    def __init__(self, histogram: JointHistogram) -> None:
        used = histogram.counts.any(axis=1)
        counts = histogram.counts[used]
        self._values = _centres(histogram.ends, BINS)[used]  # (B,)
        self._others = _centres(histogram.other_ends, OTHER_BINS)  # (D,)
        # (B, D + 1) sums over the other addends from a bin on: how many, their sum, of squares.
        self._above = [_sums_from(counts * power) for power in (1.0, self._others, self._others**2)]

    def __call__(self, parameters: QuantizationParameters) -> float:
        scale, zero_point = float(parameters.scale), int(parameters.zero_point)
        values = self._values
        codes = np.clip(np.rint(values / scale) + zero_point, 0, N_CODES - 1)
        rounded = (codes - zero_point) * scale
        larger, smaller = np.maximum(values, rounded), np.minimum(values, rounded)
        rows = np.arange(len(values))
        # From these bins of the other addend on, the larger or both sums are above zero.
        one, both = (np.searchsorted(self._others, -x, side="right") for x in (larger, smaller))
        count, total, squares = (x[rows, one] - x[rows, both] for x in self._above)
        error = larger * larger * count + 2 * larger * total + squares
        error += (rounded - values) ** 2 * self._above[0][rows, both]
        return float(np.sum(error))


def _sums_from(values: NDArray[Any]) -> NDArray[np.float64]:
    """(B, D + 1) sums along a row from each column on."""
    sums = np.cumsum(values[:, ::-1], axis=1)[:, ::-1]
    return np.pad(sums, ((0, 0), (0, 1)))
