"""Statistics against NumPy's and ONNX Runtime's on the same values."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from onnxruntime.quantization.qdq_loss_debug import compute_signal_to_quantization_noice_ratio

from resnet8.core.qparams import QuantizationParameters
from resnet8.inspection.statistics import (
    PERCENTILES,
    RunningCodes,
    RunningError,
    RunningValues,
    sqnr_db,
)

RTOL_SUMS = 1e-5  # float32 sums over a batch
RTOL_PERCENTILE = 1 / 128  # the width of a bin
FLOATS = st.floats(-1e6, 1e6, width=32, allow_subnormal=False)


def relu_outputs(size: int = 20_000) -> NDArray[np.float32]:
    return np.maximum(np.random.default_rng(0).normal(0.5, 2, size), 0).astype(np.float32)


def in_batches(values: NDArray[np.float32], count: int = 7) -> RunningValues:
    running = RunningValues()
    for batch in np.array_split(values, count):
        running.update(batch)
    return running


@pytest.mark.parametrize(
    "values",
    [relu_outputs(), -relu_outputs(), relu_outputs() - 3, np.zeros(50, np.float32)],
    ids=["above zero", "below zero", "both", "zeros"],
)
def test_running_values_has_the_statistics_of_all_batches_together(
    values: NDArray[np.float32],
) -> None:
    running = in_batches(values)
    summary = running.summary()
    assert summary.n_values == len(values)
    assert summary.mean == pytest.approx(values.mean(dtype=np.float64), rel=RTOL_SUMS)
    assert summary.std == pytest.approx(values.std(dtype=np.float64), rel=RTOL_SUMS)
    assert (summary.min, summary.max) == (values.min(), values.max())
    assert summary.zeros_share == np.mean(values == 0)
    counts = running.histogram().rebinned(np.linspace(-30, 30, 50))
    assert counts.sum() == pytest.approx(np.count_nonzero(values))
    # Of 20,000 values, the 20th is exact to a few: take NumPy's on both sides.
    low, high = (
        np.percentile(values, np.clip(np.array(PERCENTILES) + step, 0, 100))
        for step in (-0.02, 0.02)
    )
    for position, value in enumerate(summary.percentiles.values()):
        room = RTOL_PERCENTILE * abs(value)
        assert low[position] - room <= value <= high[position] + room


@given(arrays(np.float32, st.integers(1, 50), elements=FLOATS))
def test_running_values_histogram_counts_every_value_but_zeros(
    values: NDArray[np.float32],
) -> None:
    counts, edges = in_batches(values, 1).histogram()
    large = values[np.abs(values) > 1e-38]
    assert counts.sum() == len(large)
    for value in large:
        position = np.searchsorted(edges, value, side="right" if value > 0 else "left")
        assert counts[position - 1] > 0


def test_histogram_reach_is_a_percentile_of_the_absolute_values() -> None:
    values = np.random.default_rng(3).normal(0, 1, 50_000).astype(np.float32)
    histogram = in_batches(values).histogram()
    expected = float(np.percentile(np.abs(values), 99))
    assert histogram.reach(0.99) == pytest.approx(expected, rel=0.02)
    assert histogram.reach(1.0) >= np.abs(values).max()


@pytest.mark.parametrize(("dtype", "zero_point"), [("uint8", 3), ("int8", -100), ("int8", 0)])
def test_running_codes_agrees_with_the_dequantized_values(dtype: str, zero_point: int) -> None:
    limits = np.iinfo(dtype)
    codes = np.random.default_rng(1).integers(limits.min, limits.max + 1, 5000).astype(dtype)
    quantization = QuantizationParameters.per_tensor(0.1, zero_point, dtype)
    values = ((codes.astype(np.int64) - zero_point) * np.float32(0.1)).astype(np.float32)
    running = RunningCodes(quantization)
    for batch in np.array_split(codes, 3):
        running.update(batch)
    summary = running.summary()
    assert summary.mean == pytest.approx(values.mean(dtype=np.float64), rel=RTOL_SUMS)
    assert summary.std == pytest.approx(values.std(dtype=np.float64), rel=RTOL_SUMS)
    assert (summary.min, summary.max) == (values.min(), values.max())
    assert summary.zeros_share == np.mean(codes == zero_point)
    expected = np.percentile(values, PERCENTILES, method="inverted_cdf")
    assert list(summary.percentiles.values()) == pytest.approx(expected.tolist())
    assert running.levels_used == len(np.unique(codes))


def test_running_codes_histogram_spreads_a_level_over_what_is_rounded_to_it() -> None:
    running = RunningCodes(QuantizationParameters.per_tensor(0.5, 10))
    running.update(np.array([10, 12, 12], np.uint8))  # zero, and twice 1.0
    assert running.histogram().rebinned(np.array([0.0, 0.75, 1.0, 1.25, 2.0])).tolist() == [
        0, 1, 1, 0,
    ]  # fmt: skip


def test_running_error_agrees_with_onnx_runtimes_sqnr() -> None:
    reference = relu_outputs()
    values = reference + np.random.default_rng(2).normal(0, 0.05, reference.shape).astype("f4")
    error = RunningError()
    for batch in zip(np.array_split(values, 5), np.array_split(reference, 5), strict=True):
        error.update(*batch)
    expected = compute_signal_to_quantization_noice_ratio([reference], [values])
    assert error.sqnr_db == pytest.approx(expected, rel=RTOL_SUMS)
    assert error.largest == np.abs(values - reference).max()


def test_running_error_cosine_is_that_of_the_angle() -> None:
    error = RunningError()
    error.update(np.array([1.0, 1.0], np.float32), np.array([1.0, 0.0], np.float32))
    assert error.cosine_similarity == pytest.approx(np.cos(np.pi / 4))


@pytest.mark.parametrize(("signal", "noise"), [(0.0, 1.0), (1.0, 0.0)])
def test_sqnr_db_is_none_without_a_ratio(signal: float, noise: float) -> None:
    assert sqnr_db(signal, noise) is None
