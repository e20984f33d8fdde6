"""Ranges of addends, compared with errors of a direct computation."""

from typing import Any

import numpy as np
import onnx
import pytest

from resnet8.quantize import addends
from resnet8.quantize.addends import find_addends, least_squares
from resnet8.quantize.observers import observe
from resnet8.quantize.ranges import to_parameters
from tests.quantize.graphs import build, layer, node, small_resnet, weights

# Of an error: values count as the middle of their bin, less than half of a step wide.
RTOL_BINS = 0.05


def block(*behind: onnx.NodeProto, others: tuple[onnx.NodeProto, ...] = ()) -> onnx.ModelProto:
    """Two convolutions that are added up, and what is behind."""
    arrays = weights(left=(4, 3, 3, 3), right=(4, 3, 3, 3))
    arrays["one"] = np.ones((1, 4, 1, 1), np.float32)
    nodes = [layer("Conv", "left", "input"), layer("Conv", "right", "input"), *others, *behind]
    return build(nodes, arrays)


ADD, RELU = node("Add", "add", "left", "right"), node("Relu", "relu", "add")
EACH = {name: name for name in ("input", "left", "right", "pooled", "relu", "one")}


def test_find_addends_gives_both_of_an_addition_that_only_a_relu_reads() -> None:
    assert find_addends(block(ADD, RELU), EACH) == {"left": "right", "right": "left"}


def test_find_addends_leaves_out_what_others_read() -> None:
    points = {name: name for name in ("input", "relu0", "relu1", "conv2", "relu2")}
    assert find_addends(small_resnet(), points) == {"conv2": "relu0"}


@pytest.mark.parametrize(
    "behind",
    [
        (ADD,),
        (ADD, node("Sigmoid", "relu", "add")),
        (ADD, RELU, node("Mul", "both", "add", "relu")),
        (node("Sub", "add", "left", "right"), RELU),
        (node("Add", "add", "left", "left"), RELU),
        (node("Add", "add", "left", "one"), RELU),
    ],
    ids=["no ReLU", "another function", "read twice", "another operator", "itself", "a constant"],
)
def test_find_addends_is_empty_with(behind: Any) -> None:
    assert find_addends(block(*behind), {**EACH, "one": "one"}) == {}


def test_find_addends_leaves_out_tensors_in_float() -> None:
    assert find_addends(block(ADD, RELU), {"input": "input", "left": "left"}) == {}


def test_find_addends_leaves_out_a_tensor_with_the_scale_of_another() -> None:
    points = EACH | {"right": "input"}
    assert find_addends(block(ADD, RELU), points) == {"left": "right"}


def test_find_addends_leaves_out_what_is_repeated_over_pixels() -> None:
    pool = node("GlobalAveragePool", "pooled", "right")
    model = block(node("Add", "add", "left", "pooled"), RELU, others=(pool,))
    assert find_addends(model, EACH) == {}


def drawn_pair(seed: int) -> tuple[Any, Any]:
    """An addend with long tails, and one that is related to it."""
    rng = np.random.default_rng(seed)
    one = rng.normal(0, 2, (50, 4, 10, 10)) - 1 + rng.exponential(0.5, (50, 4, 10, 10))
    other = 0.5 * one + rng.normal(0, 1, one.shape) - 1
    return one.astype(np.float32), other.astype(np.float32)


def range_of(one: Any, other: Any, *, symmetric: bool = False) -> Any:
    """Returns the chosen range of `one`."""
    batch = {"one": one, "other": other}
    joint = addends.find_histograms([batch], {"one": "other"}, observe([batch]))
    return least_squares(joint["one"], symmetric=symmetric)


def error_behind_relu(one: Any, other: Any, ends: Any, *, symmetric: bool = False) -> float:
    parameters = to_parameters(*ends, symmetric=symmetric)
    rounded = parameters.dequantize(parameters.quantize(one)).astype(np.float64)
    change = np.maximum(rounded + other, 0) - np.maximum(one.astype(np.float64) + other, 0)
    return float(np.mean(change**2))


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("seed", [0, 1])
def test_least_squares_errs_as_little_as_the_best_range_that_is_tried(
    seed: int, symmetric: bool
) -> None:
    one, other = drawn_pair(seed)
    found = range_of(one, other, symmetric=symmetric)
    low, high = float(one.min()), float(one.max())
    lows, highs = np.linspace(0.04, 1, 25), np.linspace(0.4, 1, 25)
    tried = (
        [(low * x, high * x) for x in lows]
        if symmetric
        else [(low * x, high * y) for x in lows for y in highs]
    )
    errors = [error_behind_relu(one[:10], other[:10], ends, symmetric=symmetric) for ends in tried]
    # The best of a part of the values, then counted on all.
    best = error_behind_relu(one, other, tried[int(np.argmin(errors))], symmetric=symmetric)
    assert error_behind_relu(one, other, found, symmetric=symmetric) <= best * (1 + RTOL_BINS)


def test_least_squares_keeps_what_counts_where_all_sums_are_above_zero() -> None:
    one = np.linspace(-1, 3, 40_000, dtype=np.float32).reshape(10, 4, 100, 10)
    found = range_of(one, np.full_like(one, 5.0))
    assert found == pytest.approx((-1.0, 3.0), rel=0.05)  # the next shorter range that is tried


def test_least_squares_of_sums_that_are_all_discarded_is_the_whole_range() -> None:
    one, _ = drawn_pair(0)
    found = range_of(one, np.full_like(one, -100.0))
    assert found == (float(one.min()), float(one.max()))


def test_find_histograms_counts_all_values_of_all_batches() -> None:
    one, other = drawn_pair(0)
    batch = {"one": one, "other": other}
    seen = observe([batch])
    halves = ({name: x[part] for name, x in batch.items()} for part in (slice(20), slice(20, 50)))
    (found,) = addends.find_histograms(halves, {"one": "other"}, seen).values()
    edges = [np.linspace(*found.ends, 9), np.linspace(*found.other_ends, 9)]
    expected, *_ = np.histogram2d(one.ravel(), other.ravel(), bins=edges)
    blocks = found.counts.reshape(8, addends.BINS // 8, 8, addends.OTHER_BINS // 8)
    # float32 puts values at an edge into the bin beside it.
    assert np.abs(blocks.sum(axis=(1, 3)) - expected).sum() <= 1e-3 * one.size
    assert found.counts.sum() == one.size
