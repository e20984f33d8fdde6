"""Quantization parameters, against calculations by hand."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resnet8.core.qparams import QuantizationParameters

per_tensor, per_channel = QuantizationParameters.per_tensor, QuantizationParameters.per_channel
TYPES = ("int8", "uint8")
# Wide enough for all codes to stand for ordinary float32 numbers.
SCALES = st.floats(2.0**-100, 2.0**100, width=32)
PLACES = st.integers(0, 255)  # of a zero point among the codes
RTOL_FLOAT32 = 1e-6


def all_codes(dtype: str) -> Any:
    limits = np.iinfo(dtype)
    return np.arange(limits.min, limits.max + 1).astype(dtype)


def by_hand(codes: Any, scale: Any, zero_point: Any) -> Any:
    """Dequantizes in double precision; the arguments broadcast."""
    return (codes.astype(np.float64) - zero_point) * np.asarray(scale, np.float64)


# Codes to numbers and back.


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("dtype", TYPES)
@given(scales=st.tuples(SCALES, SCALES, SCALES), places=st.tuples(PLACES, PLACES, PLACES))
def test_quantize_gives_every_code_of_every_channel_again(
    dtype: str, axis: int, scales: Any, places: Any
) -> None:
    codes = np.moveaxis(np.broadcast_to(all_codes(dtype), (3, 1, 256)), 0, axis)
    zero_points = all_codes(dtype)[list(places)].astype(np.int64)
    parameters = QuantizationParameters(np.array(scales, np.float32), zero_points, dtype, axis)
    quantized = parameters.quantize(parameters.dequantize(codes))
    assert quantized.dtype == dtype
    np.testing.assert_array_equal(quantized, codes)


@pytest.mark.parametrize("dtype", TYPES)
@given(scale=SCALES, place=PLACES)
def test_dequantize_counts_steps_from_the_zero_point(dtype: str, scale: float, place: int) -> None:
    codes = all_codes(dtype)
    parameters = per_tensor(scale, int(codes[place]), dtype)
    values = parameters.dequantize(codes)
    assert values.dtype == np.float32
    np.testing.assert_allclose(values, by_hand(codes, scale, int(codes[place])), rtol=RTOL_FLOAT32)
    np.testing.assert_array_equal(parameters.quantize(values), codes)


def test_dequantize_takes_a_scale_for_each_channel_and_codes_of_32_bits() -> None:
    codes = np.ones((2, 3, 2, 2), np.int8)
    values = per_channel(np.array([0.5, 2], np.float32), "int8", axis=0).dequantize(codes)
    assert values.shape == codes.shape
    assert values.mean((1, 2, 3)).tolist() == [0.5, 2.0]
    codes = np.array([-(2**30), 3], np.int32)
    assert per_tensor(0.5, 0, "int32").dequantize(codes).tolist() == [-(2.0**29), 1.5]


def test_quantize_rounds_to_the_nearest_and_cuts_off() -> None:
    values = np.array([-100, -5.2, -0.2, 0.2, 0.3, 122.7, 1000], np.float32)
    assert per_tensor(0.5, 10).quantize(values).tolist() == [0, 0, 10, 10, 11, 255, 255]


# The ends of ranges.


def test_clip_range_reaches_from_the_first_code_to_the_last_of_the_widest_channel() -> None:
    assert per_tensor(0.5, 10).clip_range == (-5.0, 122.5)
    assert per_tensor(0.5, 10, "int8").clip_range == (-69.0, 58.5)
    zero_points = np.array([0, 250])
    parameters = QuantizationParameters(np.array([2, 1], np.float32), zero_points, "uint8", 1)
    assert parameters.clip_range == (-250.0, 510.0)


def test_count_clipped_leaves_out_half_a_step_beyond_the_ends_of_each_channel() -> None:
    values = np.array([[-80, -5.3, -5.25, -5.2, 0, 122.75], [122.8, 200, 1e30, 3, 4, 5]])
    assert per_tensor(0.5, 10).count_clipped(values.astype(np.float32)) == (2, 3)
    # The channels reach from -128 to 127 and from -64 to 63.5.
    parameters = per_channel(np.array([1, 0.5], np.float32), "int8", axis=1)
    values = np.array([[[-100, 100, -129, 0], [-100, 100, -129, 0]], [[127, 127.5, 128, 1]] * 2])
    assert parameters.count_clipped(values.astype(np.float32)) == (3, 5)


# Other forms.


@pytest.mark.parametrize("axis", [None, 1])
def test_as_dtype_moves_codes_and_keeps_numbers(axis: int | None) -> None:
    scale = np.array(0.3 if axis is None else [0.3, 7], np.float32)
    zero_point = np.array(118 if axis is None else [118, 3])
    given = QuantizationParameters(scale, zero_point, "uint8", axis)
    converted = given.as_dtype("int8")
    codes = np.stack([all_codes("uint8")] * 2, axis=1)
    moved = (codes.astype(int) - 128).astype(np.int8)
    assert (converted.dtype, converted.axis) == ("int8", axis)
    np.testing.assert_array_equal(converted.zero_point, zero_point - 128)
    np.testing.assert_array_equal(converted.dequantize(moved), given.dequantize(codes))
    np.testing.assert_array_equal(converted.quantize(given.dequantize(codes)), moved)


def test_scaled_multiplies_numbers_by_the_factor_of_their_channel() -> None:
    factors = np.array([1, 0.25, 0.01], np.float32)
    given = per_tensor(0.3, 118)
    codes = np.random.default_rng(0).integers(0, 256, (4, 3, 5, 5)).astype(np.uint8)
    scaled = given.scaled(factors, axis=1)
    assert (scaled.axis, scaled.zero_point.tolist(), scaled.dtype) == (1, [118] * 3, "uint8")
    expected = by_hand(codes, np.float32(0.3), 118) * factors.astype(float).reshape(3, 1, 1)
    np.testing.assert_allclose(scaled.dequantize(codes), expected, rtol=RTOL_FLOAT32)
    given = per_channel(np.array([1, 2, 4], np.float32), "int8", axis=0)
    scaled = given.scaled(np.array([0.5, 1, 0.25], np.float32), axis=0)
    assert (scaled.scale.tolist(), scaled.axis) == ([0.5, 2.0, 1.0], 0)
