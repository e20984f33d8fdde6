"""Ranges of activations, against ONNX Runtime's own calibrators."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod
from onnxruntime.quantization.calibrate import create_calibrator

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


def squared_error(values: Any, parameters: Any) -> float:
    scale, zero_point = float(parameters.scale), int(parameters.zero_point)
    codes = np.clip(np.rint(values / scale) + zero_point, 0, 255)
    return float(np.mean((values - (codes - zero_point) * scale) ** 2))


def ranges_of(values: Any, *, symmetric: bool) -> tuple[Any, Any]:
    """Returns the range with the least error, and the whole range."""
    statistics = observe([{"x": values}])
    histogram = find_histograms([{"x": values}], statistics)["x"]
    return least_squares(histogram, symmetric=symmetric), minmax(statistics)["x"]


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


@pytest.fixture
def chosen_by(fit_settings: Any) -> Any:
    """Returns a function that calls `library_ranges` with other settings."""

    def run(batches: Any, **changes: Any) -> Any:
        few = {"percentile": 99.9, "histogram_bins": BINS, "entropy_levels": LEVELS}
        return library_ranges(batches, fit_settings.model_copy(update=few | changes))

    return run


def assert_close(found: Any, expected: Any, *, width: float = RTOL_UNJOINED) -> None:
    """Ends, within a share of the range."""
    for name in TENSORS:
        room = width * (expected[name][1] - expected[name][0])
        assert found[name] == pytest.approx(expected[name], abs=room), name


def test_minmax_is_what_onnx_runtimes_calibrator_finds(
    onnx_fp32: Any, calibration_images: Any, calibrated: Any
) -> None:
    found = minmax(observe(stream(onnx_fp32, TENSORS, calibration_images)))
    expected = calibrated(CalibrationMethod.MinMax, [[calibration_images]])
    assert_close(found, expected)


@pytest.mark.parametrize("symmetric", [True, False])
def test_library_ranges_by_percentile_are_those_of_onnx_runtimes_calibrator(
    onnx_fp32: Any, calibration_images: Any, calibrated: Any, chosen_by: Any, symmetric: bool
) -> None:
    images = calibration_images[:100]
    batches = stream(onnx_fp32, TENSORS, images)
    found = chosen_by(batches, activation_range="percentile", activation_symmetric=symmetric)
    expected = calibrated(
        CalibrationMethod.Percentile,
        [[batch] for batch in np.split(images, 2)],
        symmetric=symmetric,
        num_bins=BINS,
        percentile=99.9,
    )
    assert_close(found, expected)


def test_library_ranges_by_entropy_are_those_of_onnx_runtimes_calibrator(
    onnx_fp32: Any, calibration_images: Any, calibrated: Any, chosen_by: Any
) -> None:
    images = calibration_images[:100]
    found = chosen_by(stream(onnx_fp32, TENSORS, images), activation_range="entropy")
    expected = calibrated(
        CalibrationMethod.Entropy,
        [[batch] for batch in np.split(images, 2)],
        num_bins=BINS,
        num_quantized_bins=LEVELS,
    )
    assert_close(found, expected)


def test_library_ranges_by_a_percentile_of_100_are_all_that_was_seen_but_for_a_bin(
    onnx_fp32: Any, calibration_images: Any, chosen_by: Any
) -> None:
    images = calibration_images[:100]
    batches = stream(onnx_fp32, TENSORS, images)
    found = chosen_by(batches, activation_range="percentile", percentile=100.0)
    whole = minmax(observe(stream(onnx_fp32, TENSORS, images)))
    for name in TENSORS:
        # The library ends at the lower edge of the last of its bins, which go to both sides.
        bin_width = 2 * max(map(abs, whole[name])) / BINS
        assert found[name] == pytest.approx(whole[name], abs=1.01 * bin_width)


@pytest.mark.parametrize("method", ["percentile", "entropy"])
def test_library_ranges_take_zeros_and_print_nothing(
    chosen_by: Any, method: str, capsys: pytest.CaptureFixture[str]
) -> None:
    batches = iter([{"x": np.zeros((4, 5), np.float32)}] * 2)
    (ends,) = chosen_by(batches, activation_range=method).values()
    assert to_parameters(*ends, symmetric=False).scale > 0
    assert np.isfinite(ends).all()
    assert capsys.readouterr().out == ""
