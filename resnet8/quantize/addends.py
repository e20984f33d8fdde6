"""Ranges of the addends of an addition in front of a ReLU.

The ReLU discards sums below zero, so values that occur only in such sums need no codes. The
range of an addend minimizes the error behind the ReLU, with the other addend unchanged:
compensating for the error of the other addend as well makes both ranges worse.

Shape letters: B bins of an addend, D bins of the other addend.
"""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
import onnx
from numpy.typing import NDArray

from resnet8.core.qparams import QuantizationParameters
from resnet8.models.onnx_graph import Graph, infer_shapes
from resnet8.quantize.observers import Batch, Range, Statistics, bin_centers, bin_indices
from resnet8.quantize.ranges import fake_quantize, search

BINS = 4096  # of an addend: 16 for each of the 256 codes
OTHER_BINS = 256
# Candidate ends, as shares of the observed ends. Often few values below zero are worth a code.
_LOW_SHARES = np.linspace(0.04, 1.0, 25).tolist()
_HIGH_SHARES = np.linspace(0.4, 1.0, 25).tolist()


def find_addends(model: onnx.ModelProto, points: Mapping[str, str]) -> dict[str, str]:
    """Finds the addends of additions that only a ReLU reads.

    Args:
        model: a float model.
        points: maps each tensor in 8 bits to the tensor whose scale it takes.

    Returns:
        Maps each addend that has its own scale and no other reader to the other addend, of the
        same shape.
    """
    graph, shapes = Graph(model), infer_shapes(model)
    outputs = {value.name for value in model.graph.output}

    def only_reader(tensor: str) -> onnx.NodeProto | None:
        readers = graph.consumers.get(tensor, [])
        return readers[0] if len(readers) == 1 and tensor not in outputs else None

    addends: dict[str, str] = {}
    for node in graph.nodes:
        reader = only_reader(node.output[0])
        if node.op_type != "Add" or reader is None or reader.op_type != "Relu":
            continue
        one, other = node.input
        if {one, other} <= points.keys() and shapes.get(one) == shapes.get(other):
            pairs = ((one, other), (other, one))
            addends |= {x: y for x, y in pairs if only_reader(x) and points[x] == x}
    return addends


class JointHistogram(NamedTuple):
    """Joint counts of the values of two addends.

    counts: (B, D).
    ends: range of the first addend's bins, including 0.
    other_ends: range of the other addend's bins, including 0.
    """

    counts: NDArray[np.int64]
    ends: Range
    other_ends: Range


def find_histograms(
    batches: Iterable[Batch], addends: Mapping[str, str], statistics: Mapping[str, Statistics]
) -> dict[str, JointHistogram]:
    """Returns the joint histogram of each addend and the other addend.

    Args:
        batches: values of all addends.
        addends: see `find_addends`.
        statistics: statistics of the same values.
    """
    histograms = {
        addend: JointHistogram(
            np.zeros((BINS, OTHER_BINS), np.int64), statistics[addend].ends, statistics[other].ends
        )
        for addend, other in addends.items()
    }
    for batch in batches:
        for addend, histogram in histograms.items():
            rows = bin_indices(batch[addend], histogram.ends, BINS)
            columns = bin_indices(batch[addends[addend]], histogram.other_ends, OTHER_BINS)
            cells = np.bincount(rows * OTHER_BINS + columns, minlength=histogram.counts.size)
            histogram.counts[:] += cells.reshape(histogram.counts.shape)
    return histograms


def least_squares(histogram: JointHistogram, *, symmetric: bool) -> Range:
    """Returns the range of an addend with the least mean squared error behind the ReLU."""
    high_shares = None if symmetric else _HIGH_SHARES
    error = _ErrorBehindRelu(histogram)
    return search(histogram.ends, error, _LOW_SHARES, high_shares, symmetric=symmetric)


class _ErrorBehindRelu:
    """Sum of squared errors behind the ReLU when an addend is quantized."""

    def __init__(self, histogram: JointHistogram) -> None:
        used = histogram.counts.any(axis=1)
        counts = histogram.counts[used]
        self._values = bin_centers(histogram.ends, BINS)[used]  # (B,)
        self._others = bin_centers(histogram.other_ends, OTHER_BINS)  # (D,)
        # (B, D + 1) sums over the other addend's bins from each bin on: of its values to the
        # powers 0, 1 and 2.
        self._sums = [_sums_from(counts * power) for power in (1.0, self._others, self._others**2)]

    def __call__(self, parameters: QuantizationParameters) -> float:
        values = self._values
        rounded = fake_quantize(values, parameters)
        larger, smaller = np.maximum(values, rounded), np.minimum(values, rounded)
        rows = np.arange(len(values))
        # First bins of the other addend where the larger sum, and both sums, are positive.
        one, both = (np.searchsorted(self._others, -x, side="right") for x in (larger, smaller))
        count, total, squares = (x[rows, one] - x[rows, both] for x in self._sums)
        error = larger * larger * count + 2 * larger * total + squares
        error += (rounded - values) ** 2 * self._sums[0][rows, both]
        return float(np.sum(error))


def _sums_from(values: NDArray[Any]) -> NDArray[np.float64]:
    """Returns the sum of each row from each column on, (B, D + 1)."""
    sums = np.cumsum(values[:, ::-1], axis=1)[:, ::-1]
    return np.pad(sums, ((0, 0), (0, 1)))
