"""What is seen of tensors batch by batch, against NumPy on all of it."""

import weakref
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from resnet8.quantize import observers
from resnet8.quantize.observers import Seen, UniformHistogram, find_histograms, observe, stream
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


# Streams.


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


def test_stream_of_the_input_alone_runs_nothing(model: Any) -> None:
    (batch,) = stream(model, ["input"], graphs.drawn(model, 3))
    assert list(batch) == ["input"]


def test_stream_hands_out_every_image_once(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(observers, "BATCH_SIZE", 3)
    images = graphs.drawn(model, 7)
    batches = list(stream(model, ["input"], images))
    assert [len(batch["input"]) for batch in batches] == [3, 3, 1]
    np.testing.assert_array_equal(np.concatenate([x["input"] for x in batches]), images)


def test_stream_leaves_the_model_as_it_was(model: Any) -> None:
    before = model.SerializeToString()
    list(stream(model, ["relu0"], graphs.drawn(model, 1)))
    assert model.SerializeToString() == before


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


def test_observe_keeps_no_batch() -> None:
    alive = []

    def batches() -> Iterator[dict[str, Any]]:
        seen: list[weakref.ref[Any]] = []
        for seed in range(5):
            made = values(2, 3, 4, 4, seed=seed)
            seen.append(weakref.ref(made))
            yield {"x": made}
            del made
            alive.append(sum(x() is not None for x in seen))

    observe(batches())
    assert max(alive) <= 1  # the one that is in use


# Ends and means.


def test_observe_finds_the_ends_of_each_channel() -> None:
    x = values(7, 4, 5, 6)
    seen = observe(split(x=x))["x"]
    np.testing.assert_array_equal(seen.low, x.min((0, 2, 3)))
    np.testing.assert_array_equal(seen.high, x.max((0, 2, 3)))


def test_observe_finds_the_mean_image() -> None:
    x = values(7, 4, 5, 6)
    seen = observe(split(x=x))["x"]
    np.testing.assert_allclose(seen.mean, x.astype(np.float64).mean(0), rtol=1e-12)


def test_observe_takes_rows_as_they_come() -> None:
    x = values(7, 4)
    seen = observe(split(x=x))["x"]
    np.testing.assert_array_equal(seen.low, x.min(0))
    np.testing.assert_array_equal(seen.high, x.max(0))
    np.testing.assert_allclose(seen.mean, x.astype(np.float64).mean(0), rtol=1e-12)


def test_observe_tells_tensors_apart() -> None:
    x, y = values(7, 4, 5, 6), values(7, 2, seed=1)
    seen = observe(split(x=x, y=y))
    assert {name: one.low.shape for name, one in seen.items()} == {"x": (4,), "y": (2,)}
    np.testing.assert_allclose(seen["y"].mean, y.astype(np.float64).mean(0), rtol=1e-12)


def test_observe_does_not_depend_on_the_batch_size(
    model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = graphs.drawn(model, 7)
    found = []
    for size in (2, 7):
        monkeypatch.setattr(observers, "BATCH_SIZE", size)
        found.append(observe(stream(model, ["input", "conv1", "pool"], images)))
    for name, seen in found[0].items():
        for ours, theirs in zip(seen, found[1][name], strict=True):
            room = RTOL_BATCHES * np.abs(theirs).max()
            np.testing.assert_allclose(ours, theirs, atol=room, err_msg=name)


def test_seen_divided_is_what_would_be_seen_of_divided_channels() -> None:
    x = values(7, 4, 5, 6)
    factors = np.array([1.0, 0.5, 0.25, 0.125], np.float32)  # which divide exactly
    divided = observe(split(x=x))["x"].divided(factors)
    expected = observe(split(x=x / factors.reshape(4, 1, 1)))["x"]
    for ours, theirs in zip(divided, expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_seen_divided_by_nothing_is_the_same() -> None:
    seen = observe(split(x=values(7, 4)))["x"]
    assert seen.divided(None) is seen


# Histograms.


def test_find_histograms_counts_every_value() -> None:
    x, y = values(7, 4, 5, 6), values(7, 2, seed=1)
    found = find_histograms(split(x=x, y=y), observe(split(x=x, y=y)))
    assert {name: int(one.counts.sum()) for name, one in found.items()} == {
        "x": x.size,
        "y": y.size,
    }


def test_find_histograms_counts_what_numpy_counts() -> None:
    x = values(7, 4, 5, 6)
    found = find_histograms(split(x=x), observe(split(x=x)))["x"]
    assert (found.low, found.high) == (float(x.min()), float(x.max()))
    expected, _ = np.histogram(x, observers.BINS, (found.low, found.high))
    # Values at the edge of a bin: float32 here, float64 there.
    assert np.abs(np.cumsum(found.counts) - np.cumsum(expected)).max() <= 2


@pytest.mark.parametrize(("shift", "ends"), [(100, ("low", 0.0)), (-100, ("high", 0.0))])
def test_find_histograms_has_zero_in_the_range(shift: float, ends: Any) -> None:
    x = values(7, 4) + np.float32(shift)
    found = find_histograms(split(x=x), observe(split(x=x)))["x"]
    name, end = ends
    assert getattr(found, name) == end
    assert int(found.counts.sum()) == x.size


def test_find_histograms_of_zeros_are_empty() -> None:
    x = np.zeros((7, 4), np.float32)
    found = find_histograms(split(x=x), observe(split(x=x)))["x"]
    assert (found.low, found.high, int(found.counts.sum())) == (0.0, 0.0, 0)


def test_find_histograms_puts_what_is_beyond_the_ends_into_the_bins_there() -> None:
    # Equalized activations are those of the float model but for a few last digits.
    seen = {"x": Seen(np.zeros(1, np.float32), np.ones(1, np.float32), np.zeros(1))}
    x = np.array([[-1e-7], [1 + 1e-6]], np.float32)
    found = find_histograms(split(x=x), seen)["x"]
    assert (found.counts[0], found.counts[-1]) == (1, 1)


def test_histogram_centres_are_the_middles_of_bins() -> None:
    assert UniformHistogram(np.zeros(4, np.int64), -1.0, 1.0).centres.tolist() == [
        -0.75, -0.25, 0.25, 0.75,
    ]  # fmt: skip
