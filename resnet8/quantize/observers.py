"""Statistics and histograms of a model's tensors over streamed images, in bounded memory.

Shape letters: N images, C channels, B bins of a tensor, D bins of another tensor.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import onnx
from numpy.typing import NDArray

from resnet8.core.evaluation import map_ahead
from resnet8.core.names import INPUT
from resnet8.models.onnx_graph import with_outputs
from resnet8.models.onnx_model import open_session, run_up_to
from resnet8.quantize.layers import Layer

BATCH_SIZE = 50  # images
BINS = 8192  # 32 for each of the 256 codes
JOINT_BINS = (4096, 256)  # of a tensor, and of the other tensor

Batch = dict[str, NDArray[Any]]  # float32, or uint8 for a tensor of codes
Range = tuple[float, float]


def stream(
    model: onnx.ModelProto,
    tensors: Collection[str],
    images: NDArray[np.uint8],
    *,
    cores: int | None = None,
) -> Iterator[Batch]:
    """Runs a model over images (N, 32, 32, 3) and yields the values of tensors, batch by batch.

    `tensors` may include `input`; without `cores`, all cores are used.
    """
    names = [name for name in tensors if name != INPUT]
    session = open_session(with_outputs(model, names), as_written=True)

    def run(start: int) -> Batch:
        batch = images[start : start + BATCH_SIZE].astype(np.float32)
        outputs = run_up_to(session, names, batch) if names else []
        values: Batch = dict(zip(names, outputs, strict=True))
        if INPUT in tensors:
            values[INPUT] = batch
        return values

    yield from map_ahead(run, range(0, len(images), BATCH_SIZE), cores=cores)


class Statistics(NamedTuple):
    """Range and mean of a tensor.

    low: (C,) smallest value of each channel, the second dimension.
    high: (C,) largest value of each channel.
    mean: (C, ...) mean over the images.
    """

    low: NDArray[np.float32]
    high: NDArray[np.float32]
    mean: NDArray[np.float64]

    def divided(self, factors: NDArray[np.float32] | None) -> "Statistics":
        """Returns the statistics of the tensor with its channels divided by factors (C,)."""
        if factors is None:
            return self
        by_channel = factors.reshape(-1, *[1] * (self.mean.ndim - 1))
        return Statistics(self.low / factors, self.high / factors, self.mean / by_channel)

    @property
    def largest(self) -> NDArray[np.float32]:
        """(C,) the largest absolute value of each channel."""
        return np.maximum(-self.low, self.high)

    @property
    def range(self) -> Range:
        """Range of the whole tensor."""
        return float(self.low.min()), float(self.high.max())

    @property
    def ends(self) -> Range:
        """Range of the whole tensor, widened to include 0."""
        return min(self.range[0], 0.0), max(self.range[1], 0.0)


def observe(batches: Iterable[Batch]) -> dict[str, Statistics]:
    """Returns the statistics of each tensor."""
    totals: dict[str, Statistics] = {}
    count = 0
    for batch in batches:
        for name, values in batch.items():
            axes = tuple(axis for axis in range(values.ndim) if axis != 1)
            new = Statistics(values.min(axes), values.max(axes), values.sum(0, dtype=np.float64))
            old = totals.get(name, new._replace(mean=np.zeros_like(new.mean)))
            totals[name] = Statistics(
                np.minimum(old.low, new.low), np.maximum(old.high, new.high), old.mean + new.mean
            )
        count += len(values)
    return {name: total._replace(mean=total.mean / count) for name, total in totals.items()}


class Observed(NamedTuple):
    """An equalized float model and statistics of its tensors over the calibration images.

    layers: in order of computation, with weights to be rounded to 8 bits.
    points: maps each tensor in 8 bits to the tensor whose scale it takes.
    outputs: maps each layer to the tensor in which its output is rounded to 8 bits.
    statistics: of all tensors in `points` and `outputs`.
    watch: streams the values of tensors of a model over the images.
    """

    model: onnx.ModelProto
    layers: Sequence[Layer]
    points: Mapping[str, str]
    outputs: Mapping[str, str]
    statistics: Mapping[str, Statistics]
    watch: Callable[[onnx.ModelProto, Collection[str]], Iterator[Batch]]


class Histogram(NamedTuple):
    """Counts of a tensor's values in bins of equal width, or of pairs of values of two tensors.

    counts: (B, D), where D is 1 for a single tensor.
    ends: where the first bin begins and the last bin ends; the range includes 0.
    other_ends: ends of the other tensor's bins.
    """

    counts: NDArray[np.int64]
    ends: Range
    other_ends: Range | None = None


def find_histograms(
    batches: Iterable[Batch], statistics: Mapping[str, Statistics], others: Mapping[str, str | None]
) -> dict[str, Histogram]:
    """Returns histograms of tensors, given the statistics of the same values.

    `others` maps each tensor to another one of the same shape for a joint histogram, or to None.
    """
    histograms = {}
    for name, other in others.items():
        shape = JOINT_BINS if other else (BINS, 1)
        other_ends = statistics[other].ends if other else None
        histograms[name] = Histogram(np.zeros(shape, np.int64), statistics[name].ends, other_ends)
    for batch in batches:
        for name, (counts, ends, other_ends) in histograms.items():
            n_bins, n_others = counts.shape
            cells = _bin_indices(batch[name], ends, n_bins)
            other = others[name]
            if other and other_ends:
                cells = cells * n_others + _bin_indices(batch[other], other_ends, n_others)
            counts[:] += np.bincount(cells, minlength=counts.size).reshape(counts.shape)
    return histograms


def _bin_indices(values: NDArray[np.float32], ends: Range, n_bins: int) -> NDArray[np.int32]:
    """Returns the bin of each value, flattened; the upper end belongs to the last bin."""
    low, high = ends
    bins_per_unit = n_bins / (high - low) if high > low else 0.0
    return np.minimum(((values.ravel() - low) * bins_per_unit).astype(np.int32), n_bins - 1)


def bin_centers(ends: Range, n_bins: int) -> NDArray[np.float64]:
    """Returns the center of each bin, (B,)."""
    width = (ends[1] - ends[0]) / n_bins
    return np.asarray(ends[0] + (np.arange(n_bins, dtype=np.float64) + 0.5) * width)
