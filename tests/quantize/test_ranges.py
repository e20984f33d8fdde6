"""Ranges of activations, against ONNX Runtime's own calibrators and errors computed directly."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnxruntime.quantization import CalibrationMethod
from onnxruntime.quantization.calibrate import create_calibrator

from resnet8.quantize.observers import Observed, find_histograms, observe, stream
from resnet8.quantize.ranges import (
    find_addends,
    find_ranges,
    least_squares,
    library_ranges,
    to_parameters,
)
from tests.quantize.graphs import Reader, build, drawn, layer, node, small_resnet, weights

RTOL_FLOAT32 = 1e-6  # scales are float32
# The calibrators run the model without joining operators, which rounds otherwise.
RTOL_UNJOINED = 1e-5
# Of an error behind a ReLU: values count as the middle of their bin, less than half a step wide.
RTOL_BINS = 0.05
BINS, LEVELS = 256, 64  # few: the library compares histograms in Python
NUMBERS = st.floats(-1e6, 1e6, width=32, allow_subnormal=False).filter(
    lambda x: x == 0 or abs(x) > 1e-30
)


@pytest.mark.parametrize("symmetric", [True, False])
@settings(max_examples=200)
@given(ends=st.tuples(NUMBERS, NUMBERS).map(sorted))
def test_to_parameters_covers_the_range_within_a_step(ends: Any, symmetric: bool) -> None:
    low, high = ends
    parameters = to_parameters(low, high, symmetric=symmetric)
    room = parameters.scale * (0.5 + 256 * RTOL_FLOAT32)
    lowest, highest = parameters.clip_range
    assert lowest <= low + room
    assert highest >= high - room
    assert 0 <= parameters.zero_point <= 255
    if not symmetric and low < high:
        assert lowest >= min(low, 0.0) - room
        assert highest <= max(high, 0.0) + room


@pytest.mark.parametrize(
    ("ends", "symmetric", "scale", "zero_point"),
    [
        ((-1.0, 4.1), False, 0.02, 50),  # 255 steps of 0.02 from -1; 0 is the 50th
        ((1.0, 5.1), False, 0.02, 0),
        ((0.0, 5.1), False, 0.02, 0),
        ((-5.1, -1.0), False, 0.02, 255),
        ((-2.54, 1.0), True, 0.02, 128),
        ((-1.0, 2.54), True, 0.02, 128),
        ((0.0, 0.0), False, 1.0, 0),
        ((0.0, 0.0), True, 1.0, 128),
        # Steps too small for float32.
        ((0.0, 1e-44), False, 1.0, 0),
        ((-2.9e-43, 0.0), True, 1.0, 128),
    ],
)
def test_to_parameters_by_hand(ends: Any, symmetric: bool, scale: float, zero_point: int) -> None:
    parameters = to_parameters(*ends, symmetric=symmetric)
    assert float(parameters.scale) == pytest.approx(scale, rel=RTOL_FLOAT32)
    assert (int(parameters.zero_point), parameters.dtype) == (zero_point, "uint8")
    assert parameters.scale.dtype == np.float32


def squared_error(values: Any, ends: Any, symmetric: bool, other: Any = None) -> float:
    """Mean squared error of rounded values, or of the ReLU of their sum with another addend."""
    parameters = to_parameters(*ends, symmetric=symmetric)
    values, scale = values.astype(np.float64), float(parameters.scale)
    codes = np.clip(np.rint(values / scale) + int(parameters.zero_point), 0, 255)
    rounded = (codes - int(parameters.zero_point)) * scale
    if other is None:
        return float(np.mean((rounded - values) ** 2))
    return float(np.mean((np.maximum(rounded + other, 0) - np.maximum(values + other, 0)) ** 2))


def chosen_range(values: Any, *, symmetric: bool = False, other: Any = None) -> Any:
    """The range with the least error, behind a ReLU with another addend."""
    batch = {"x": values} | ({} if other is None else {"other": other})
    others = {"x": None if other is None else "other"}
    return least_squares(
        find_histograms([batch], observe([batch]), others)["x"], symmetric=symmetric
    )


SHAPES = {
    "normal": lambda rng: rng.normal(0, 1, (100, 100)),
    "normal, cut at zero": lambda rng: np.maximum(rng.normal(0, 1, (100, 100)), 0),
    "long tails": lambda rng: rng.laplace(0, 1, (100, 100)) ** 3,
    "uniform": lambda rng: rng.uniform(-1, 3, (100, 100)),
    "below zero": lambda rng: -rng.exponential(1, (100, 100)),
    "few": lambda rng: rng.choice([-1.0, 0.0, 2.0], (100, 100)),
}


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("name", SHAPES)
def test_least_squares_errs_no_more_than_the_whole_range(name: str, symmetric: bool) -> None:
    values = SHAPES[name](np.random.default_rng(0)).astype(np.float32)
    best, whole = chosen_range(values, symmetric=symmetric), (values.min(), values.max())
    error, before = (squared_error(values, x, symmetric) for x in (best, map(float, whole)))
    # It is chosen on a histogram: values count as the middle of their bin, a 32nd of a step wide.
    assert error <= before * (1 + 1 / 32)


@pytest.mark.parametrize("symmetric", [True, False])
def test_least_squares_clips_an_outlier(symmetric: bool) -> None:
    values = np.random.default_rng(0).normal(0, 1, (1000, 1000)).astype(np.float32)
    values[0, 0] = 20.0
    # Up to 20, a step is 0.1 wide or 0.16 and rounding costs 0.0008 or 0.002; up to 10, clipping
    # one of a million values costs 0.0001, and rounding 0.0003 or 0.0005.
    assert chosen_range(values, symmetric=symmetric)[1] < 12.0


def drawn_pair(seed: int) -> tuple[Any, Any]:
    """An addend with long tails, and one that is related to it."""
    rng = np.random.default_rng(seed)
    one = rng.normal(0, 2, (50, 4, 10, 10)) - 1 + rng.exponential(0.5, (50, 4, 10, 10))
    other = 0.5 * one + rng.normal(0, 1, one.shape) - 1
    return one.astype(np.float32), other.astype(np.float32)


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("seed", [0, 1])
def test_least_squares_of_an_addend_errs_as_little_as_the_best_range(
    seed: int, symmetric: bool
) -> None:
    one, other = drawn_pair(seed)
    low, high = float(one.min()), float(one.max())
    lows, highs = np.linspace(0.04, 1, 25), np.linspace(0.4, 1, 25)
    pairs = [(x, x) for x in lows] if symmetric else [(x, y) for x in lows for y in highs]
    tried = [(low * x, high * y) for x, y in pairs]
    errors = [squared_error(one[:10], ends, symmetric, other[:10]) for ends in tried]
    # The best of a part of the values, then counted on all.
    best = squared_error(one, tried[int(np.argmin(errors))], symmetric, other)
    chosen = chosen_range(one, symmetric=symmetric, other=other)
    assert squared_error(one, chosen, symmetric, other) <= best * (1 + RTOL_BINS)


def test_least_squares_of_sums_that_are_all_discarded_is_the_whole_range() -> None:
    one, _ = drawn_pair(0)
    chosen = chosen_range(one, other=np.full_like(one, -100.0))
    assert chosen == (float(one.min()), float(one.max()))


def block(*behind: onnx.NodeProto) -> onnx.ModelProto:
    """Two convolutions that are added up, and what is behind."""
    arrays = weights(left=(4, 3, 3, 3), right=(4, 3, 3, 3))
    arrays["one"] = np.ones((1, 4, 1, 1), np.float32)
    return build([layer("Conv", "left", "input"), layer("Conv", "right", "input"), *behind], arrays)


ADD, RELU = node("Add", "add", "left", "right"), node("Relu", "relu", "add")
POOL = node("GlobalAveragePool", "pooled", "right")
EACH = {name: name for name in ("input", "left", "right", "pooled", "relu", "one")}
RESNET = {name: name for name in ("input", "relu0", "relu1", "conv2", "relu2")}
ADDENDS: dict[str, tuple[onnx.ModelProto, dict[str, str], dict[str, str]]] = {
    "both": (block(ADD, RELU), EACH, {"left": "right", "right": "left"}),
    "one that others read": (small_resnet(), RESNET, {"conv2": "relu0"}),
    "no ReLU": (block(ADD), EACH, {}),
    "another function": (block(ADD, node("Sigmoid", "relu", "add")), EACH, {}),
    "read twice": (block(ADD, RELU, node("Mul", "both", "add", "relu")), EACH, {}),
    "another operator": (block(node("Sub", "add", "left", "right"), RELU), EACH, {}),
    "itself": (block(node("Add", "add", "left", "left"), RELU), EACH, {}),
    "a constant": (block(node("Add", "add", "left", "one"), RELU), EACH, {}),
    "repeated over pixels": (block(POOL, node("Add", "add", "left", "pooled"), RELU), EACH, {}),
    "one in float": (block(ADD, RELU), {"input": "input", "left": "left"}, {}),
    "the scale of another": (block(ADD, RELU), EACH | {"right": "input"}, {"left": "right"}),
}


@pytest.mark.parametrize("name", ADDENDS)
def test_find_addends_gives_addends_that_only_a_relu_bounds(name: str) -> None:
    model, points, expected = ADDENDS[name]
    assert find_addends(model, points) == expected


@pytest.mark.parametrize(
    ("method", "symmetric"),
    [("MinMax", False), ("Percentile", True), ("Percentile", False), ("Entropy", False)],
)
def test_ranges_are_those_of_onnx_runtimes_calibrator(
    fit_settings: Any, tmp_path: Path, method: str, symmetric: bool
) -> None:
    model, points = small_resnet(), {x: x for x in ("relu0", "conv2", "relu2", "flatten")}
    images = drawn(model, 100)
    onnx.save(model, tmp_path / "model.onnx")
    options = {
        "MinMax": {},
        "Percentile": {"symmetric": symmetric, "num_bins": BINS, "percentile": 99.9},
        "Entropy": {"num_bins": BINS, "num_quantized_bins": LEVELS},
    }
    calibrator = create_calibrator(
        tmp_path / "model.onnx",
        augmented_model_path=str(tmp_path / "augmented.onnx"),
        calibrate_method=CalibrationMethod[method],
        extra_options=options[method],
    )
    for batch in np.split(images, 2):
        calibrator.collect_data(Reader([batch]))
    expected = calibrator.compute_data()

    watch = partial(stream, images=images)
    observed = Observed(model, [], points, {}, observe(watch(model, points)), watch)
    changes = {
        "activation_range": method.lower(),
        "activation_symmetric": symmetric,
        "percentile": 99.9,
        "histogram_bins": BINS,
        "entropy_levels": LEVELS,
    }
    ranges = find_ranges(observed, fit_settings.model_copy(update=changes))
    assert ranges.ends.keys() == points.keys()
    for name, ends in ranges.ends.items():
        low, high = (np.asarray(x).item() for x in expected[name].range_value)
        assert ends == pytest.approx((low, high), abs=RTOL_UNJOINED * (high - low)), name


@pytest.mark.parametrize("method", ["percentile", "entropy"])
def test_library_ranges_take_zeros_and_print_nothing(
    fit_settings: Any, method: str, capsys: pytest.CaptureFixture[str]
) -> None:
    batches = iter([{"x": np.zeros((4, 5), np.float32)}] * 2)
    changes = {"activation_range": method, "histogram_bins": BINS, "entropy_levels": LEVELS}
    (ends,) = library_ranges(batches, fit_settings.model_copy(update=changes)).values()
    assert to_parameters(*ends, symmetric=False).scale > 0
    assert np.isfinite(ends).all()
    assert capsys.readouterr().out == ""
