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


def values(*shape: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).normal(1.0, 2.0, shape).astype(np.float32)


def split(**tensors: Any) -> Iterator[dict[str, Any]]:
    """Batches of three."""
    count = len(next(iter(tensors.values())))
    for start in range(0, count, 3):
        yield {name: x[start : start + 3] for name, x in tensors.items()}


@pytest.fixture(scope="module")
def model() -> Any:
    return graphs.small_resnet()


def test_stream_yields_what_onnx_runtime_computes(model: Any) -> None:
    images = graphs.drawn(model, 7)
    (batch,) = stream(model, ["conv1", "relu2", "probabilities"], images)
    expected = graphs.computed(model, images)
    assert list(batch) == ["conv1", "relu2", "probabilities"]
    for name, found in batch.items():
        room = RTOL_BATCHES * np.abs(expected[name]).max()
        np.testing.assert_allclose(found, expected[name], atol=room)


def test_stream_yields_the_images_where_the_input_is_watched(model: Any) -> None:
    images = graphs.drawn(model, 3)
    (batch,) = stream(model, ["relu0", "input"], images)
    assert batch["input"].dtype == np.float32
    np.testing.assert_array_equal(batch["input"], images)


def test_stream_hands_out_every_image_once(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(observers, "BATCH_SIZE", 3)
    images = graphs.drawn(model, 7)
    batches = list(stream(model, ["input"], images))
    assert [len(batch["input"]) for batch in batches] == [3, 3, 1]
    np.testing.assert_array_equal(np.concatenate([x["input"] for x in batches]), images)


def test_stream_keeps_no_batch(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(observers, "BATCH_SIZE", 2)
    seen: list[weakref.ref[Any]] = []
    alive = []
    for batch in stream(model, ["relu0"], graphs.drawn(model, 10)):
        seen.append(weakref.ref(batch["relu0"]))
        del batch
        alive.append(sum(x() is not None for x in seen))
    # At most the last one, which the generator has handed out.
    assert len(seen) == 5
    assert max(alive) <= 1


@pytest.mark.parametrize("shape", [(7, 4, 5, 6), (7, 4)])
def test_observe_finds_range_and_mean_of_each_channel(shape: tuple[int, ...]) -> None:
    tensors = {"x": values(*shape), "y": values(7, 2, seed=1)}
    for name, found in observe(split(**tensors)).items():
        x = tensors[name]
        axes = tuple(axis for axis in range(x.ndim) if axis != 1)
        np.testing.assert_array_equal(found.low, x.min(axes))
        np.testing.assert_array_equal(found.high, x.max(axes))
        np.testing.assert_allclose(found.mean, x.astype(np.float64).mean(0), rtol=1e-12)


def test_seen_divided_is_what_would_be_seen_of_divided_channels() -> None:
    x = values(7, 4, 5, 6)
    factors = np.array([1.0, 0.5, 0.25, 0.125], np.float32)  # which divide exactly
    divided = observe(split(x=x))["x"].divided(factors)
    expected = observe(split(x=x / factors.reshape(4, 1, 1)))["x"]
    for ours, theirs in zip(divided, expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_find_histograms_counts_what_numpy_counts() -> None:
    x = values(7, 4, 5, 6)
    found = find_histograms(split(x=x), observe(split(x=x)))["x"]
    assert found.ends == (float(x.min()), float(x.max()))
    assert int(found.counts.sum()) == x.size
    expected, _ = np.histogram(x, observers.BINS, found.ends)
    # Values at the edge of a bin: float32 here, float64 there.
    assert np.abs(np.cumsum(found.counts) - np.cumsum(expected)).max() <= 2


@pytest.mark.parametrize(("shift", "end"), [(100, 0), (-100, 1)])
def test_find_histograms_has_zero_in_the_range(shift: float, end: int) -> None:
    x = values(7, 4) + np.float32(shift)
    found = find_histograms(split(x=x), observe(split(x=x)))["x"]
    assert found.ends[end] == 0
    assert int(found.counts.sum()) == x.size


def test_find_histograms_puts_what_is_beyond_the_ends_into_the_bins_there() -> None:
    # Equalized activations are those of the float model but for a few last digits.
    seen = {"x": Statistics(np.zeros(1, np.float32), np.ones(1, np.float32), np.zeros(1))}
    x = np.array([[-1e-7], [1 + 1e-6]], np.float32)
    found = find_histograms(split(x=x), seen)["x"]
    assert (found.counts[0], found.counts[-1]) == (1, 1)
