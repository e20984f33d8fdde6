"""Codes of weights against what can be worked out by hand."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from resnet8.core.qparams import QuantizationParameters
from resnet8.quantize.rounding import find_scales, gptq, nearest

RTOL_FLOAT32 = 1e-6  # scales are float32, weights are not
QUICK = settings(max_examples=60, deadline=None, database=None, derandomize=True)
MATRICES = arrays.arrays(
    np.float64,
    arrays.array_shapes(min_dims=2, max_dims=2, max_side=6),
    elements=st.floats(-100, 100).map(lambda x: round(x, 3)),
)


def correlated(seed: int, *, inputs: int = 8, samples: int = 400) -> Any:
    """Inputs (samples, I) that tell much of each other."""
    rng = np.random.default_rng(seed)
    shared = rng.normal(size=(samples, 3)) @ rng.normal(size=(3, inputs))
    return shared + 0.3 * rng.normal(size=(samples, inputs)) + rng.normal(size=inputs)


def moments_of(inputs: Any) -> Any:
    return inputs.T @ inputs / len(inputs)


def one(scale: float, zero_point: int = 0) -> QuantizationParameters:
    return QuantizationParameters.per_tensor(scale, zero_point, "int8")


def by_output(found: QuantizationParameters, codes: Any) -> Any:
    """(O, 1) scales."""
    return np.broadcast_to(found.scale, len(codes)).astype(np.float64)[:, None]


def restored_from(codes: Any, found: QuantizationParameters) -> Any:
    """The weights that codes stand for, in double precision."""
    return (codes.astype(np.float64) - found.zero_point.max()) * by_output(found, codes)


def assert_one(found: QuantizationParameters, scale: float, zero_point: int) -> None:
    """Checks parameters of all outputs together."""
    assert (found.scale.shape, found.dtype, found.axis) == ((), "int8", None)
    assert float(found.scale) == pytest.approx(scale, rel=RTOL_FLOAT32)
    assert found.zero_point == zero_point


def test_find_scales_gives_each_output_its_own() -> None:
    found = find_scales(np.array([[1.0, -2.0], [4.0, 3.0]]), symmetric=True, per_channel=True)
    np.testing.assert_allclose(found.scale, [2 / 127, 4 / 127], rtol=RTOL_FLOAT32)
    assert found.zero_point.tolist() == [0, 0]
    assert (found.scale.dtype, found.dtype, found.axis) == (np.float32, "int8", 0)


def test_find_scales_gives_all_outputs_one_without_per_channel() -> None:
    found = find_scales(np.array([[1.0, -2.0], [4.0, 3.0]]), symmetric=True, per_channel=False)
    assert_one(found, 4 / 127, 0)


def test_find_scales_spends_all_codes_on_an_asymmetric_range() -> None:
    # From -1 to 4.1 in 255 steps of 0.02; code -128 is -1, so that 0 is code -78.
    found = find_scales(np.array([[-1.0, 2.0], [4.1, 3.0]]), symmetric=False, per_channel=False)
    assert_one(found, 0.02, -78)


@pytest.mark.parametrize(
    ("weights", "zero_point"), [([[1.0, 2.0]], -128), ([[-1.0, -2.0]], 127)], ids=["above", "below"]
)
def test_find_scales_keeps_zero_in_an_asymmetric_range(weights: Any, zero_point: int) -> None:
    found = find_scales(np.array(weights), symmetric=False, per_channel=False)
    assert_one(found, 2 / 255, zero_point)


@pytest.mark.parametrize("symmetric", [True, False])
def test_find_scales_gives_weights_that_are_all_zero_a_scale(symmetric: bool) -> None:
    found = find_scales(np.zeros((2, 3)), symmetric=symmetric, per_channel=symmetric)
    assert found.scale.tolist() == ([1.0, 1.0] if symmetric else 1.0)
    codes = nearest(np.zeros((2, 3)), found, symmetric=symmetric)
    assert (codes == found.zero_point.max()).all()


def test_find_scales_gives_a_channel_of_zeros_a_scale_beside_others() -> None:
    found = find_scales(np.array([[0.0, 0.0], [1.0, 1.27]]), symmetric=True, per_channel=True)
    np.testing.assert_allclose(found.scale, [1.0, 0.01], rtol=RTOL_FLOAT32)


@pytest.mark.parametrize(
    ("symmetric", "per_channel"), [(True, True), (True, False), (False, False)]
)
@QUICK
@given(weight=MATRICES)
def test_nearest_is_within_half_a_step(weight: Any, symmetric: bool, per_channel: bool) -> None:
    found = find_scales(weight, symmetric=symmetric, per_channel=per_channel)
    codes = nearest(weight, found, symmetric=symmetric)
    assert codes.dtype == np.int8
    restored = restored_from(codes, found)
    scale = by_output(found, codes)
    room = 0.5 * scale + 128 * scale * RTOL_FLOAT32
    assert (np.abs(restored - weight) <= room).all()


def test_nearest_reaches_the_smallest_weight_where_zero_is_code_0_of_an_asymmetric_range() -> None:
    weight = np.array([[-128.0, 127.0]])
    found = find_scales(weight, symmetric=False, per_channel=False)
    assert_one(found, 1.0, 0)
    assert nearest(weight, found, symmetric=False).tolist() == [[-128, 127]]


def test_nearest_leaves_out_the_smallest_code_of_symmetric_weights() -> None:
    codes = nearest(np.array([[-3.0, -1.0, 0.0, 1.0, 3.0]]), one(0.01))
    assert codes.tolist() == [[-127, -100, 0, 100, 127]]


def test_nearest_rounds_halves_to_even_as_the_runtimes_do() -> None:
    codes = nearest(np.array([[0.5, 1.5, 2.5, -0.5, -1.5]]), one(1.0))
    assert codes.tolist() == [[0, 2, 2, 0, -2]]


@QUICK
@given(weight=MATRICES, seed=st.integers(0, 2**32 - 1))
def test_gptq_is_nearest_where_inputs_tell_nothing_of_each_other(weight: Any, seed: int) -> None:
    found = find_scales(weight, symmetric=True, per_channel=True)
    moments = np.diag(np.random.default_rng(seed).uniform(0.1, 10, weight.shape[1]))
    codes = gptq(weight, found, moments=moments, damping=0.01)
    assert (codes == nearest(weight, found)).all()


def test_gptq_is_nearest_where_nothing_was_seen() -> None:
    weight = np.random.default_rng(0).normal(size=(3, 5))
    found = find_scales(weight, symmetric=True, per_channel=True)
    codes = gptq(weight, found, moments=np.zeros((5, 5)), damping=0.01)
    assert (codes == nearest(weight, found)).all()


def test_gptq_makes_up_for_the_first_weight_with_the_second() -> None:
    # 0.4 is rounded to 0; what is best for the second weight is then
    # 0.4 + 0.4 * <x0 x1> / <x1 x1> = 0.6, which is rounded to 1.
    codes = gptq(
        np.array([[0.4, 0.4]]),
        one(1.0),
        moments=np.array([[1.0, 0.5], [0.5, 1.0]]),
        damping=1e-9,
    )
    assert codes.tolist() == [[0, 1]]


def test_gptq_begins_with_the_largest_input() -> None:
    # The second weight is rounded first, to 0; best for the first is then
    # 0.4 + 0.4 * <x0 x1> / <x0 x0> = 0.8. The other way round it would be [[0, 0]].
    codes = gptq(
        np.array([[0.4, 0.4]]),
        one(1.0),
        moments=np.array([[1.0, 1.0], [1.0, 4.0]]),
        damping=1e-9,
    )
    assert codes.tolist() == [[1, 0]]


def test_gptq_counts_in_steps_of_the_scale_from_the_zero_point() -> None:
    codes = gptq(
        np.array([[0.04, 0.04]]),
        one(0.1, -5),
        moments=np.array([[1.0, 0.5], [0.5, 1.0]]),
        damping=1e-9,
    )
    assert codes.tolist() == [[-5, -4]]


@pytest.mark.parametrize("seed", range(20))
def test_gptq_errs_less_than_nearest_on_correlated_inputs(seed: int) -> None:
    weight = np.random.default_rng(100 + seed).normal(size=(6, 8))
    found = find_scales(weight, symmetric=True, per_channel=True)
    found = found._replace(scale=found.scale * 8)  # few codes, so that rounding matters
    inputs = correlated(seed)

    def error(codes: Any) -> float:
        rounded = restored_from(codes, found)
        return float(np.sum((inputs @ (rounded - weight).T) ** 2))

    codes = gptq(weight, found, moments=moments_of(inputs), damping=0.01)
    assert error(codes) < error(nearest(weight, found))


def test_gptq_rounds_each_output_for_itself() -> None:
    weight = np.random.default_rng(0).normal(size=(4, 8))
    found = find_scales(weight, symmetric=True, per_channel=True)
    moments = moments_of(correlated(0))
    together = gptq(weight, found, moments=moments, damping=0.01)
    alone = [
        gptq(weight[[row]], part, moments=moments, damping=0.01)
        for row, part in enumerate(found.split(4))
    ]
    assert (together == np.concatenate(alone)).all()


def test_gptq_gives_codes_of_8_bits_also_where_it_makes_up_for_much() -> None:
    weight = np.random.default_rng(0).normal(size=(4, 8))
    found = find_scales(weight, symmetric=True, per_channel=True)
    third = found._replace(scale=found.scale / 3)
    codes = gptq(weight, third, moments=moments_of(correlated(0)), damping=1e-3)
    assert codes.dtype == np.int8
    assert (codes.min(), codes.max()) == (-127, 127)


def test_gptq_takes_an_input_that_was_never_seen() -> None:
    inputs = correlated(0)
    inputs[:, 3] = 0
    weight = np.random.default_rng(0).normal(size=(4, 8))
    found = find_scales(weight, symmetric=True, per_channel=True)
    codes = gptq(weight, found, moments=moments_of(inputs), damping=0.01)
    assert (codes[:, 3] == nearest(weight, found)[:, 3]).all()


def test_gptq_takes_inputs_that_are_multiples_of_each_other() -> None:
    inputs = np.outer(np.arange(1.0, 9.0), [1.0, 2.0, 3.0])
    weight = np.random.default_rng(0).normal(size=(2, 3))
    found = find_scales(weight, symmetric=True, per_channel=True)
    codes = gptq(weight, found, moments=moments_of(inputs), damping=0.01)
    before, after = inputs @ weight.T, inputs @ restored_from(codes, found).T
    # All errors but that of the smallest input, half a step, are made up for.
    assert (np.abs(after - before) <= inputs[:, [0]] * found.scale * 0.6).all()


def test_gptq_leaves_what_it_is_given_as_it_was() -> None:
    weight = np.random.default_rng(0).normal(size=(4, 8))
    found = find_scales(weight, symmetric=True, per_channel=True)
    moments = moments_of(correlated(0))
    before = [x.copy() for x in (weight, found.scale, moments)]
    first = gptq(weight, found, moments=moments, damping=0.01)
    for old, new in zip(before, (weight, found.scale, moments), strict=True):
        np.testing.assert_array_equal(old, new)
    again = gptq(weight, found, moments=moments, damping=0.01)
    np.testing.assert_array_equal(first, again)
