"""Ranges of activations, against ONNX Runtime's own calibrators."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod
from onnxruntime.quantization.calibrate import create_calibrator

from resnet8.core.qparams import QuantizationParameters
from resnet8.quantize import observers
from resnet8.quantize.observers import find_histograms, observe, stream
from resnet8.quantize.ranges import least_squares, library_ranges, minmax, to_parameters

RTOL_FLOAT32 = 1e-6  # scales are float32
# The calibrators run the model without joining operators, which rounds otherwise.
RTOL_UNJOINED = 1e-5
BINS, LEVELS = 256, 64  # few: the library compares histograms in Python
TENSORS = ("activation", "activation_3", "conv2d_5", "activation_6", "flatten")
QUICK = settings(max_examples=200, deadline=None, database=None, derandomize=True)
NUMBERS = st.floats(-1e6, 1e6, width=32, allow_subnormal=False).filter(
    lambda x: x == 0 or abs(x) > 1e-30
)


# Scales and zero points.


def assert_parameters(found: QuantizationParameters, scale: float, zero_point: int) -> None:
    assert float(found.scale) == pytest.approx(scale, rel=RTOL_FLOAT32)
    assert found.zero_point == zero_point


@pytest.mark.parametrize("symmetric", [True, False])
@QUICK
@given(ends=st.tuples(NUMBERS, NUMBERS).map(sorted))
def test_to_parameters_covers_the_range_within_a_step(ends: Any, symmetric: bool) -> None:
    low, high = ends
    parameters = to_parameters(low, high, symmetric=symmetric)
    room = parameters.scale * (0.5 + 256 * RTOL_FLOAT32)
    lowest, highest = parameters.clip_range
    assert lowest <= low + room
    assert highest >= high - room


@QUICK
@given(ends=st.tuples(NUMBERS, NUMBERS).map(sorted))
def test_to_parameters_spends_no_more_than_a_step_beyond_an_asymmetric_range(ends: Any) -> None:
    low, high = min(ends[0], 0.0), max(ends[1], 0.0)
    parameters = to_parameters(low, high, symmetric=False)
    room = parameters.scale * (0.5 + 256 * RTOL_FLOAT32)
    if low < high:
        lowest, highest = parameters.clip_range
        assert lowest >= low - room
        assert highest <= high + room


@pytest.mark.parametrize("symmetric", [True, False])
@QUICK
@given(ends=st.tuples(NUMBERS, NUMBERS).map(sorted))
def test_to_parameters_gives_a_scale_of_float32_and_a_code_of_8_bits(
    ends: Any, symmetric: bool
) -> None:
    parameters = to_parameters(*ends, symmetric=symmetric)
    assert parameters.scale > 0
    assert (parameters.scale.dtype, parameters.scale.shape) == (np.float32, ())
    assert parameters.zero_point.dtype == np.int64
    assert (parameters.dtype, parameters.axis) == ("uint8", None)
    assert 0 <= parameters.zero_point <= 255


def test_to_parameters_of_a_range_by_hand() -> None:
    # 255 steps of 0.02 from -1; 0 is the 50th.
    assert_parameters(to_parameters(-1.0, 4.1, symmetric=False), 0.02, 50)


@pytest.mark.parametrize(("low", "high"), [(1.0, 5.1), (0.0, 5.1)])
def test_to_parameters_widens_a_range_above_zero_down_to_it(low: float, high: float) -> None:
    assert_parameters(to_parameters(low, high, symmetric=False), 0.02, 0)


def test_to_parameters_widens_a_range_below_zero_up_to_it() -> None:
    assert_parameters(to_parameters(-5.1, -1.0, symmetric=False), 0.02, 255)


@pytest.mark.parametrize(("low", "high"), [(-2.54, 1.0), (-1.0, 2.54), (0.0, 2.54)])
def test_to_parameters_reaches_as_far_to_both_sides_where_symmetric(
    low: float, high: float
) -> None:
    assert_parameters(to_parameters(low, high, symmetric=True), 0.02, 128)


@pytest.mark.parametrize("symmetric", [True, False])
def test_to_parameters_of_nothing_but_zeros_have_a_scale(symmetric: bool) -> None:
    assert to_parameters(0.0, 0.0, symmetric=symmetric).scale == 1.0


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize(("low", "high"), [(0.0, 1e-44), (-1e-44, 0.0), (-2.9e-43, 0.0)])
def test_to_parameters_takes_a_range_whose_steps_are_too_small_for_float32(
    low: float, high: float, symmetric: bool
) -> None:
    parameters = to_parameters(low, high, symmetric=symmetric)
    assert parameters.scale > 0
    assert 0 <= parameters.zero_point <= 255


# The range with the least error.


def squared_error(values: Any, parameters: Any) -> float:
    scale, zero_point = float(parameters.scale), int(parameters.zero_point)
    codes = np.clip(np.rint(values / scale) + zero_point, 0, 255)
    return float(np.mean((values - (codes - zero_point) * scale) ** 2))


def ranges_of(values: Any, *, symmetric: bool) -> tuple[Any, Any]:
    """Those with the least error, and the whole."""
    seen = observe(iter([{"x": values}]))
    histograms = find_histograms(iter([{"x": values}]), seen)
    return least_squares(histograms, symmetric=symmetric)["x"], minmax(seen)["x"]


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
    best, whole = ranges_of(values, symmetric=symmetric)
    error, before = (
        squared_error(values.astype(np.float64), to_parameters(*x, symmetric=symmetric))
        for x in (best, whole)
    )
    # It is chosen on a histogram: values count as the middle of their bin, a 32nd of a step wide.
    assert error <= before * (1 + 1 / 32)


@pytest.mark.parametrize("symmetric", [True, False])
def test_least_squares_clips_an_outlier(symmetric: bool) -> None:
    values = np.random.default_rng(0).normal(0, 1, (1000, 1000)).astype(np.float32)
    values[0, 0] = 20.0
    (_, high), (_, whole) = ranges_of(values, symmetric=symmetric)
    # Up to 20, a step is 0.1 wide or 0.16 and rounding costs 0.0008 or 0.002; up to 10, clipping
    # one of a million values costs 0.0001, and rounding 0.0003 or 0.0005.
    assert whole == 20.0
    assert high < 12.0


def test_least_squares_keeps_a_range_that_is_used_evenly() -> None:
    values = np.linspace(-1, 3, 100_000, dtype=np.float32).reshape(100, 1000)
    best, whole = ranges_of(values, symmetric=False)
    assert best == pytest.approx(whole, rel=0.02)  # the next shorter range that is tried


def test_least_squares_keeps_the_widest_of_equally_good_ranges() -> None:
    best, whole = ranges_of(np.zeros((2, 2), np.float32), symmetric=False)
    assert best == whole == (0.0, 0.0)


def test_least_squares_stays_within_what_was_seen() -> None:
    values = np.random.default_rng(0).normal(0.5, 1, (100, 100)).astype(np.float32)
    (low, high), (lowest, highest) = ranges_of(values, symmetric=False)
    assert lowest <= low < 0 < high <= highest


# ONNX Runtime's calibrators.


class Reader(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, batches: list[Any]) -> None:
        self.batches = iter(batches)

    def get_next(self) -> Any:
        batch = next(self.batches, None)
        return None if batch is None else {"input": batch.astype(np.float32)}


@pytest.fixture(scope="module")
def calibrated(
    onnx_fp32: Any, calibration_images: Any, tmp_path_factory: pytest.TempPathFactory
) -> Any:
    """A function that runs ONNX Runtime's calibrators."""
    folder: Path = tmp_path_factory.mktemp("calibrators")
    onnx.save(onnx_fp32, folder / "model.onnx")

    def calibrate(method: CalibrationMethod, calls: list[list[Any]], **options: Any) -> Any:
        calibrator = create_calibrator(
            folder / "model.onnx",
            augmented_model_path=str(folder / "augmented.onnx"),
            calibrate_method=method,
            extra_options=options,
        )
        for batches in calls:
            calibrator.collect_data(Reader(batches))
        found = calibrator.compute_data()
        return {name: [np.asarray(x).item() for x in found[name].range_value] for name in TENSORS}

    return calibrate


def assert_close(found: Any, expected: Any, *, width: float = RTOL_UNJOINED) -> None:
    """Ends, within a share of the range."""
    for name in TENSORS:
        room = width * (expected[name][1] - expected[name][0])
        assert found[name] == pytest.approx(expected[name], abs=room), name


def ours(model: Any, images: Any, *, symmetric: bool, method: str, percentile: float = 99.9) -> Any:
    return library_ranges(
        stream(model, TENSORS, images),
        method=method,
        symmetric=symmetric,
        percentile=percentile,
        bins=BINS,
        levels=LEVELS,
    )


def test_minmax_is_what_onnx_runtimes_calibrator_finds(
    onnx_fp32: Any, calibration_images: Any, calibrated: Any
) -> None:
    found = minmax(observe(stream(onnx_fp32, TENSORS, calibration_images)))
    expected = calibrated(CalibrationMethod.MinMax, [[calibration_images]])
    assert_close(found, expected)


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("count", [50, 100], ids=["one batch", "two batches"])
def test_library_ranges_by_percentile_are_those_of_onnx_runtimes_calibrator(
    onnx_fp32: Any, calibration_images: Any, calibrated: Any, symmetric: bool, count: int
) -> None:
    images = calibration_images[:count]
    found = ours(onnx_fp32, images, symmetric=symmetric, method="percentile")
    expected = calibrated(
        CalibrationMethod.Percentile,
        [[batch] for batch in np.split(images, count // observers.BATCH_SIZE)],
        symmetric=symmetric,
        num_bins=BINS,
        percentile=99.9,
    )
    assert_close(found, expected)


def test_library_ranges_by_entropy_are_those_of_onnx_runtimes_calibrator(
    onnx_fp32: Any, calibration_images: Any, calibrated: Any
) -> None:
    images = calibration_images[:100]
    found = ours(onnx_fp32, images, symmetric=False, method="entropy")
    expected = calibrated(
        CalibrationMethod.Entropy,
        [[batch] for batch in np.split(images, 2)],
        num_bins=BINS,
        num_quantized_bins=LEVELS,
    )
    assert_close(found, expected)


def test_library_ranges_batch_by_batch_are_those_of_all_images_at_once(
    onnx_fp32: Any, calibration_images: Any, calibrated: Any
) -> None:
    found = ours(onnx_fp32, calibration_images, symmetric=False, method="percentile")
    expected = calibrated(
        CalibrationMethod.Percentile,
        [list(np.split(calibration_images, 4))],
        symmetric=False,
        num_bins=BINS,
        percentile=99.9,
    )
    # The histogram's bins are those of the first batch, to both sides of zero.
    assert_close(found, expected, width=4 / BINS)


def test_library_ranges_by_a_percentile_of_100_are_all_that_was_seen_but_for_a_bin(
    onnx_fp32: Any, calibration_images: Any
) -> None:
    images = calibration_images[:100]
    found = ours(onnx_fp32, images, symmetric=False, method="percentile", percentile=100.0)
    whole = minmax(observe(stream(onnx_fp32, TENSORS, images)))
    for name in TENSORS:
        # The library ends at the lower edge of the last of its bins, which go to both sides.
        bin_width = 2 * max(map(abs, whole[name])) / BINS
        assert found[name] == pytest.approx(whole[name], abs=1.01 * bin_width)


def test_library_ranges_print_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    def batches() -> Iterator[Any]:
        yield {"x": np.random.default_rng(0).normal(size=(10, 10)).astype(np.float32)}

    library_ranges(
        batches(), method="percentile", symmetric=False, percentile=99.0, bins=128, levels=8
    )
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("method", ["percentile", "entropy"])
def test_library_ranges_take_a_tensor_of_zeros(method: str) -> None:
    batches = iter([{"x": np.zeros((4, 5), np.float32)}] * 2)
    (ends,) = library_ranges(
        batches, method=method, symmetric=False, percentile=99.0, bins=128, levels=8
    ).values()
    assert to_parameters(*ends, symmetric=False).scale > 0
    assert np.isfinite(ends).all()
