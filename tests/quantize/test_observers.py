"""Statistics of tensors batch by batch, against NumPy on all values."""

import weakref
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from resnet8.quantize import observers
from resnet8.quantize.observers import Statistics, find_histograms, observe, stream
from tests.quantize import graphs

# Float32 kernels and sums may round otherwise in batches of another size.
RTOL_BATCHES = 1e-5
MODEL = graphs.small_resnet()


def values(*shape: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).normal(1.0, 2.0, shape).astype(np.float32)


def split(**tensors: Any) -> Iterator[dict[str, Any]]:
    """Batches of three."""
    for start in range(0, len(next(iter(tensors.values()))), 3):
        yield {name: x[start : start + 3] for name, x in tensors.items()}


def test_stream_yields_what_onnx_runtime_computes_of_every_image(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(observers, "BATCH_SIZE", 3)
    images, names = graphs.drawn(MODEL, 7), ["conv1", "relu2", "probabilities"]
    batches = list(stream(MODEL, [*names, "input"], images))
    assert [len(batch["input"]) for batch in batches] == [3, 3, 1]
    expected = graphs.computed(MODEL, images) | {"input": images}
    assert [*batches[0]] == [*names, "input"]
    for name in batches[0]:
        actual = np.concatenate([batch[name] for batch in batches])
        assert actual.dtype == np.float32
        room = RTOL_BATCHES * np.abs(expected[name]).max()
        np.testing.assert_allclose(actual, expected[name], atol=room * (name != "input"))


def test_stream_keeps_no_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(observers, "BATCH_SIZE", 2)
    references: list[weakref.ref[Any]] = []
    alive = []
    for batch in stream(MODEL, ["relu0"], graphs.drawn(MODEL, 10)):
        references.append(weakref.ref(batch["relu0"]))
        del batch
        alive.append(sum(x() is not None for x in references))
    # At most the last one, which the generator has handed out.
    assert len(references) == 5
    assert max(alive) <= 1


@pytest.mark.parametrize("shape", [(7, 4, 5, 6), (7, 4)])
def test_observe_finds_range_and_mean_of_each_channel(shape: tuple[int, ...]) -> None:
    tensors = {"x": values(*shape), "y": values(7, 2, seed=1)}
    for name, actual in observe(split(**tensors)).items():
        x = tensors[name]
        axes = tuple(axis for axis in range(x.ndim) if axis != 1)
        np.testing.assert_array_equal(actual.low, x.min(axes))
        np.testing.assert_array_equal(actual.high, x.max(axes))
        np.testing.assert_allclose(actual.mean, x.astype(np.float64).mean(0), rtol=1e-12)


def test_divided_gives_the_statistics_of_divided_channels() -> None:
    x = values(7, 4, 5, 6)
    factors = np.array([1.0, 0.5, 0.25, 0.125], np.float32)  # which divide exactly
    divided = observe(split(x=x))["x"].divided(factors)
    expected = observe(split(x=x / factors.reshape(4, 1, 1)))["x"]
    for ours, theirs in zip(divided, expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("shift", [0, 100, -100])
def test_find_histograms_counts_what_numpy_counts(shift: float) -> None:
    x = values(7, 4, 5, 6) + np.float32(shift)
    counts, ends, _ = find_histograms(split(x=x), observe(split(x=x)), {"x": None})["x"]
    assert ends == (min(float(x.min()), 0.0), max(float(x.max()), 0.0))
    assert counts.sum() == x.size
    if shift == 0:
        expected, _ = np.histogram(x, observers.BINS, ends)
        # Values at the edge of a bin: float32 here, float64 there.
        assert np.abs(np.cumsum(counts) - np.cumsum(expected)).max() <= 2


def test_find_histograms_counts_pairs_that_numpy_counts() -> None:
    x, other = values(50, 4, 10, 10), values(50, 4, 10, 10, seed=1)
    statistics = observe(split(x=x, other=other))
    joint = find_histograms(split(x=x, other=other), statistics, {"x": "other"})["x"]
    edges = [np.linspace(*ends, 9) for ends in (joint.ends, joint.other_ends)]
    expected, *_ = np.histogram2d(x.ravel(), other.ravel(), bins=edges)
    n_bins, n_others = observers.JOINT_BINS
    blocks = joint.counts.reshape(8, n_bins // 8, 8, n_others // 8).sum(axis=(1, 3))
    # float32 puts values at an edge into the bin beside it.
    assert np.abs(blocks - expected).sum() <= 1e-3 * x.size
    assert joint.counts.sum() == x.size


def test_find_histograms_puts_what_is_beyond_the_ends_into_the_bins_there() -> None:
    # Equalized activations are those of the float model but for a few last digits.
    statistics = {"x": Statistics(np.zeros(1, np.float32), np.ones(1, np.float32), np.zeros(1))}
    x = np.array([[-1e-7], [1 + 1e-6]], np.float32)
    counts = find_histograms(split(x=x), statistics, {"x": None})["x"].counts
    assert (counts[0], counts[-1]) == (1, 1)
