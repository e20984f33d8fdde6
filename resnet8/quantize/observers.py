"""Watches tensors of a model while images stream through it, in bounded memory.

Shape letters: N images, C channels, B bins.
"""

from collections.abc import Collection, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import onnx
from numpy.typing import NDArray

from resnet8.core.evaluation import map_ahead
from resnet8.core.names import INPUT
from resnet8.models.onnx_graph import with_outputs
from resnet8.models.onnx_model import open_session, run_up_to

BATCH_SIZE = 50  # images run at once
BINS = 8192  # of a histogram: 32 for each of the 256 levels

Batch = dict[str, NDArray[Any]]  # float32, or uint8 where a tensor of codes is watched


def stream(
    model: onnx.ModelProto,
    tensors: Collection[str],
    images: NDArray[np.uint8],
    *,
    cores: int | None = None,
) -> Iterator[Batch]:
    """Runs a model over images, as far as the tensors need it.

    Args:
        model: input `input`.
        tensors: which to watch; `input` is among those that can be.
        images: (N, 32, 32, 3) uint8.
        cores: that may be used, None for all.

    Yields:
        By tensor, what a batch of images gave.
    """
    names = [name for name in tensors if name != INPUT]
    session = open_session(with_outputs(model, names), as_written=True)

    def run(start: int) -> Batch:
        batch = images[start : start + BATCH_SIZE].astype(np.float32)
        found = dict(zip(names, run_up_to(session, names, batch), strict=True)) if names else {}
        return found | ({INPUT: batch} if INPUT in tensors else {})

    yield from map_ahead(run, range(0, len(images), BATCH_SIZE), cores=cores)


class Seen(NamedTuple):
    """What was seen of a tensor.

    low: (C,) smallest values by channel, its second dimension.
    high: (C,) largest values.
    mean: (C, ...) mean over the images.
    """

    low: NDArray[np.float32]
    high: NDArray[np.float32]
    mean: NDArray[np.float64]

    def divided(self, factors: NDArray[np.float32] | None) -> "Seen":
        """What would have been seen with each channel divided by a factor (C,)."""
        if factors is None:
            return self
        by_channel = factors.reshape(-1, *[1] * (self.mean.ndim - 1))
        return Seen(self.low / factors, self.high / factors, self.mean / by_channel)


def observe(batches: Iterator[Batch]) -> dict[str, Seen]:
    """The ends and the mean of each tensor."""
    found: dict[str, Seen] = {}
    count = 0
    for batch in batches:
        for name, values in batch.items():
            others = tuple(axis for axis in range(values.ndim) if axis != 1)
            now = Seen(values.min(others), values.max(others), values.sum(0, dtype=np.float64))
            before = found.get(name, now._replace(mean=np.zeros_like(now.mean)))
            found[name] = Seen(
                np.minimum(before.low, now.low),
                np.maximum(before.high, now.high),
                before.mean + now.mean,
            )
        count += len(values)
    return {name: seen._replace(mean=seen.mean / count) for name, seen in found.items()}


class UniformHistogram(NamedTuple):
    """Counts of a tensor's values in bins of one width.

    counts: (B,).
    low: where the first bin begins; 0 is in the range.
    high: where the last one ends.
    """

    counts: NDArray[np.int64]
    low: float
    high: float

    @property
    def centres(self) -> NDArray[np.float64]:
        """(B,) the middle of each bin."""
        width = (self.high - self.low) / len(self.counts)
        positions = np.arange(len(self.counts), dtype=np.float64) + 0.5
        return np.asarray(self.low + positions * width)


def find_histograms(
    batches: Iterator[Batch], seen: Mapping[str, Seen]
) -> dict[str, UniformHistogram]:
    """The histogram of each tensor.

    Args:
        batches: what streams past.
        seen: the ends of the same values.
    """
    found = {
        name: UniformHistogram(
            np.zeros(BINS, np.int64), min(float(x.low.min()), 0.0), max(float(x.high.max()), 0.0)
        )
        for name, x in seen.items()
    }
    for batch in batches:
        for name, values in batch.items():
            counts, low, high = found[name]
            if high > low:
                bins = ((values.ravel() - low) * (BINS / (high - low))).astype(np.int32)
                counts += np.bincount(np.minimum(bins, BINS - 1), minlength=BINS)
    return found
