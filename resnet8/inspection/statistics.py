"""Statistics of a layer's values and errors, updated batch by batch in bounded memory."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from resnet8.core.qparams import QuantizationParameters

PERCENTILES = (0.1, 1.0, 25.0, 50.0, 75.0, 99.0, 99.9)


class Histogram(NamedTuple):
    """Counts of nonzero values; ReLU makes many zeros.

    counts: (B,) of values in each bin.
    edges: (B + 1,) ascending.
    """

    counts: NDArray[np.float64]
    edges: NDArray[np.float64]

    def rebinned(self, edges: NDArray[np.float64]) -> NDArray[np.float64]:
        """Returns the counts in other bins, with values spread evenly over each old bin."""
        below = np.concatenate([[0.0], np.cumsum(self.counts)])
        return np.diff(np.interp(edges, self.edges, below))

    def reach(self, share: float) -> float:
        """Returns the absolute value that a share of the values does not exceed."""
        far = np.maximum(np.abs(self.edges[:-1]), np.abs(self.edges[1:]))
        order = np.argsort(far)
        within = np.cumsum(self.counts[order])
        position = np.searchsorted(within, share * within[-1])
        return float(far[order][position]) if within[-1] else 0.0


def sqnr_db(signal: float, noise: float) -> float | None:
    """Returns the signal-to-quantization-noise ratio in dB; higher is better.

    Args:
        signal: sum of squares.
        noise: sum of squares. The ratio is None if this or the signal is 0.
    """
    return float(10 * np.log10(signal / noise)) if signal > 0 and noise > 0 else None


# Upper 16 bits of zero, of minus zero and of infinity, which follows all finite numbers.
_ZERO, _SIGN, _INFINITY = 0x0000, 0x8000, 0x7F80
# The smallest number of each bin of positive numbers, and the edges of all bins.
_STARTS = (np.arange(_INFINITY, dtype=np.uint32) << 16).view(np.float32).astype(np.float64)
_LARGEST = float(np.finfo(np.float32).max)
_EDGES = np.concatenate([[-_LARGEST], -_STARTS[:0:-1], _STARTS, [_LARGEST]])


class Summary(NamedTuple):
    """Statistics of a set of values; `percentiles` by their number."""

    n_values: int
    mean: float
    std: float
    min: float
    max: float
    zeros_share: float
    percentiles: dict[float, float]


class RunningValues:
    """Statistics of float32 values of any size.

    A bin of the histogram holds the values with equal upper 16 bits: sign, exponent and the first
    7 mantissa bits. Its width is at most 1/128 of its values, and the range need not be known
    beforehand.
    """

    def __init__(self) -> None:
        self.sum = self.sum_of_squares = 0.0
        self.min, self.max = np.inf, -np.inf
        self._counts = np.zeros(2**16, np.int64)

    def update(self, values: NDArray[np.float32]) -> None:
        """Adds finite values of any shape."""
        flat = np.ascontiguousarray(values, "<f4").ravel()
        self.sum += float(np.sum(flat, dtype=np.float64))
        self.sum_of_squares += _sum_of_products(flat, flat)
        self.min = min(self.min, float(flat.min()))
        self.max = max(self.max, float(flat.max()))
        self._counts += np.bincount(flat.view("<u2")[1::2], minlength=2**16)

    def histogram(self) -> Histogram:
        """Returns the histogram without zeros, over the range of the values and 0."""
        positive, negative = self._counts[:_INFINITY], self._counts[_SIGN:][:_INFINITY]
        counts = np.concatenate([negative[::-1], positive]).astype(np.float64)
        counts[[_INFINITY - 1, _INFINITY]] = 0  # both zeros, and values below 1e-40
        used = np.flatnonzero(counts)
        first = min([*used[:1], _INFINITY])
        last = max([*used[-1:], _INFINITY])
        return Histogram(counts[first : last + 1], _EDGES[first : last + 2])

    def summary(self) -> Summary:
        count, zeros = int(self._counts.sum()), int(self._counts[_ZERO] + self._counts[_SIGN])
        mean = self.sum / count
        variance = max(self.sum_of_squares / count - mean**2, 0.0)
        percentiles = self._percentiles(zeros)
        return Summary(count, mean, variance**0.5, self.min, self.max, zeros / count, percentiles)

    def _percentiles(self, zeros: int) -> dict[float, float]:
        """Returns percentiles by their number, interpolated within bins."""
        counts, edges = self.histogram()
        middle = int(np.searchsorted(edges, 0.0))
        counts = np.insert(counts, middle, zeros)  # a bin of width 0 for the zeros
        edges = np.insert(edges, middle, 0.0)
        below = np.concatenate([[0.0], np.cumsum(counts)])
        wanted = np.array(PERCENTILES) / 100 * below[-1]
        bins = np.clip(np.searchsorted(below, wanted) - 1, 0, len(counts) - 1)
        share = (wanted - below[bins]) / np.maximum(counts[bins], 1)
        values = np.clip(edges[bins] + share * np.diff(edges)[bins], self.min, self.max)
        return dict(zip(PERCENTILES, values.tolist(), strict=True))


class RunningCodes:
    """Exact statistics of 8-bit codes: (256,) counts of all codes, from the smallest."""

    def __init__(self, quantization: QuantizationParameters) -> None:
        self.quantization = quantization
        self.counts = np.zeros(256, np.int64)

    def update(self, codes: NDArray[Any]) -> None:
        """Adds codes of any shape."""
        flip = np.uint8(0x80 if self.quantization.dtype == "int8" else 0)  # orders signed numbers
        self.counts += np.bincount(codes.reshape(-1).view(np.uint8) ^ flip, minlength=256)

    @property
    def levels_used(self) -> int:
        """Number of different codes."""
        return int(np.count_nonzero(self.counts))

    def histogram(self) -> Histogram:
        """Returns the histogram with each level's values spread over the numbers rounded to it."""
        levels = self.quantization.levels.astype(np.float64)
        half = float(self.quantization.scale) / 2
        edges = np.append(levels - half, levels[-1] + half)
        return Histogram(np.where(levels == 0, 0, self.counts).astype(float), edges)

    def summary(self) -> Summary:
        counts, levels = self.counts, self.quantization.levels.astype(np.float64)
        count = int(counts.sum())
        mean = float(np.sum(counts * levels)) / count
        variance = float(np.sum(counts * np.square(levels - mean))) / count
        used = levels[counts > 0].tolist()
        zeros = int(counts[levels == 0].sum())
        rank = np.searchsorted(np.cumsum(counts), np.array(PERCENTILES) / 100 * count)
        percentiles = dict(zip(PERCENTILES, levels[np.minimum(rank, 255)].tolist(), strict=True))
        return Summary(count, mean, variance**0.5, used[0], used[-1], zeros / count, percentiles)


class RunningError:
    """Errors of values against a reference.

    difference: statistics of value minus reference.
    """

    def __init__(self) -> None:
        self.difference = RunningValues()
        self.signal = self.product = self.power = 0.0

    def update(self, values: NDArray[np.float32], reference: NDArray[np.float32]) -> None:
        """Adds values and their references, of one shape."""
        values, reference = values.ravel(), reference.ravel()
        self.difference.update(values - reference)
        self.signal += _sum_of_products(reference, reference)
        self.product += _sum_of_products(values, reference)
        self.power += _sum_of_products(values, values)

    @property
    def largest(self) -> float:
        return max(0.0, -self.difference.min, self.difference.max)

    @property
    def sqnr_db(self) -> float | None:
        return sqnr_db(self.signal, self.difference.sum_of_squares)

    @property
    def cosine_similarity(self) -> float | None:
        """1 for vectors of equal direction; None if one of them is zero."""
        lengths = (self.signal * self.power) ** 0.5
        return min(self.product / lengths, 1.0) if lengths else None  # float32 sums round


def _sum_of_products(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """Adds products in NumPy's order; the order within a dot product depends on the CPU."""
    return float(np.sum(one * other, dtype=np.float64))
