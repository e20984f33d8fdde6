"""Codes of weights against what can be worked out by hand."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

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


def test_find_scales_gives_each_output_its_own() -> None:
    scale, zero_point = find_scales(
        np.array([[1.0, -2.0], [4.0, 3.0]]), symmetric=True, per_channel=True
    )
    np.testing.assert_allclose(scale, [2 / 127, 4 / 127], rtol=RTOL_FLOAT32)
    assert (scale.dtype, zero_point) == (np.float32, 0)


def test_find_scales_gives_all_outputs_the_same_without_per_channel() -> None:
    scale, zero_point = find_scales(
        np.array([[1.0, -2.0], [4.0, 3.0]]), symmetric=True, per_channel=False
    )
    np.testing.assert_allclose(scale, [4 / 127, 4 / 127], rtol=RTOL_FLOAT32)
    assert zero_point == 0


def test_find_scales_spends_all_codes_on_an_asymmetric_range() -> None:
    # From -1 to 4.1 in 255 steps of 0.02; code -128 is -1, so that 0 is code -78.
    scale, zero_point = find_scales(
        np.array([[-1.0, 2.0], [4.1, 3.0]]), symmetric=False, per_channel=False
    )
    np.testing.assert_allclose(scale, [0.02, 0.02], rtol=RTOL_FLOAT32)
    assert zero_point == -78


@pytest.mark.parametrize(
    ("weights", "zero_point"), [([[1.0, 2.0]], -128), ([[-1.0, -2.0]], 127)], ids=["above", "below"]
)
def test_find_scales_keeps_zero_in_an_asymmetric_range(weights: Any, zero_point: int) -> None:
    scale, found = find_scales(np.array(weights), symmetric=False, per_channel=False)
    np.testing.assert_allclose(scale, [2 / 255], rtol=RTOL_FLOAT32)
    assert found == zero_point


@pytest.mark.parametrize("symmetric", [True, False])
def test_find_scales_gives_weights_that_are_all_zero_a_scale(symmetric: bool) -> None:
    scale, zero_point = find_scales(np.zeros((2, 3)), symmetric=symmetric, per_channel=symmetric)
    assert scale.tolist() == [1.0, 1.0]
    codes = nearest(np.zeros((2, 3)), scale, zero_point, symmetric=symmetric)
    assert (codes == zero_point).all()


def test_find_scales_gives_a_channel_of_zeros_a_scale_beside_others() -> None:
    scale, _ = find_scales(np.array([[0.0, 0.0], [1.0, 1.27]]), symmetric=True, per_channel=True)
    np.testing.assert_allclose(scale, [1.0, 0.01], rtol=RTOL_FLOAT32)


@pytest.mark.parametrize(
    ("symmetric", "per_channel"), [(True, True), (True, False), (False, False)]
)
@QUICK
@given(weight=MATRICES)
def test_nearest_is_within_half_a_step(weight: Any, symmetric: bool, per_channel: bool) -> None:
    scale, zero_point = find_scales(weight, symmetric=symmetric, per_channel=per_channel)
    codes = nearest(weight, scale, zero_point, symmetric=symmetric)
    assert codes.dtype == np.int8
    restored = (codes.astype(np.float64) - zero_point) * scale[:, None]
    room = 0.5 * scale[:, None] + 128 * scale[:, None] * RTOL_FLOAT32
    assert (np.abs(restored - weight) <= room).all()


def test_nearest_reaches_the_smallest_weight_where_zero_is_code_0_of_an_asymmetric_range() -> None:
    weight = np.array([[-128.0, 127.0]])
    scale, zero_point = find_scales(weight, symmetric=False, per_channel=False)
    assert (scale.tolist(), zero_point) == ([1.0], 0)
    assert nearest(weight, scale, zero_point, symmetric=False).tolist() == [[-128, 127]]


def test_nearest_leaves_out_the_smallest_code_of_symmetric_weights() -> None:
    codes = nearest(np.array([[-3.0, -1.0, 0.0, 1.0, 3.0]]), np.array([0.01], np.float32), 0)
    assert codes.tolist() == [[-127, -100, 0, 100, 127]]


def test_nearest_rounds_halves_to_even_as_the_runtimes_do() -> None:
    codes = nearest(np.array([[0.5, 1.5, 2.5, -0.5, -1.5]]), np.ones(1, np.float32), 0)
    assert codes.tolist() == [[0, 2, 2, 0, -2]]


@QUICK
@given(weight=MATRICES, seed=st.integers(0, 2**32 - 1))
def test_gptq_is_nearest_where_inputs_tell_nothing_of_each_other(weight: Any, seed: int) -> None:
    scale, zero_point = find_scales(weight, symmetric=True, per_channel=True)
    moments = np.diag(np.random.default_rng(seed).uniform(0.1, 10, weight.shape[1]))
    codes = gptq(weight, scale, zero_point, moments=moments, damping=0.01)
    assert (codes == nearest(weight, scale, zero_point)).all()


def test_gptq_is_nearest_where_nothing_was_seen() -> None:
    weight = np.random.default_rng(0).normal(size=(3, 5))
    scale, zero_point = find_scales(weight, symmetric=True, per_channel=True)
    codes = gptq(weight, scale, zero_point, moments=np.zeros((5, 5)), damping=0.01)
    assert (codes == nearest(weight, scale, zero_point)).all()


def test_gptq_makes_up_for_the_first_weight_with_the_second() -> None:
    # 0.4 is rounded to 0; what is best for the second weight is then
    # 0.4 + 0.4 * <x0 x1> / <x1 x1> = 0.6, which is rounded to 1.
    codes = gptq(
        np.array([[0.4, 0.4]]),
        np.ones(1, np.float32),
        0,
        moments=np.array([[1.0, 0.5], [0.5, 1.0]]),
        damping=1e-9,
    )
    assert codes.tolist() == [[0, 1]]


def test_gptq_begins_with_the_largest_input() -> None:
    # The second weight is rounded first, to 0; best for the first is then
    # 0.4 + 0.4 * <x0 x1> / <x0 x0> = 0.8. The other way round it would be [[0, 0]].
    codes = gptq(
        np.array([[0.4, 0.4]]),
        np.ones(1, np.float32),
        0,
        moments=np.array([[1.0, 1.0], [1.0, 4.0]]),
        damping=1e-9,
    )
    assert codes.tolist() == [[1, 0]]


def test_gptq_counts_in_steps_of_the_scale_from_the_zero_point() -> None:
    codes = gptq(
        np.array([[0.04, 0.04]]),
        np.full(1, 0.1, np.float32),
        -5,
        moments=np.array([[1.0, 0.5], [0.5, 1.0]]),
        damping=1e-9,
    )
    assert codes.tolist() == [[-5, -4]]


@pytest.mark.parametrize("seed", range(20))
def test_gptq_errs_less_than_nearest_on_correlated_inputs(seed: int) -> None:
    weight = np.random.default_rng(100 + seed).normal(size=(6, 8))
    scale, zero_point = find_scales(weight, symmetric=True, per_channel=True)
    scale *= 8  # few codes, so that rounding matters
    inputs = correlated(seed)

    def error(codes: Any) -> float:
        rounded = (codes.astype(np.float64) - zero_point) * scale[:, None]
        return float(np.sum((inputs @ (rounded - weight).T) ** 2))

    codes = gptq(weight, scale, zero_point, moments=moments_of(inputs), damping=0.01)
    assert error(codes) < error(nearest(weight, scale, zero_point))


def test_gptq_rounds_each_output_for_itself() -> None:
    weight = np.random.default_rng(0).normal(size=(4, 8))
    scale, zero_point = find_scales(weight, symmetric=True, per_channel=True)
    moments = moments_of(correlated(0))
    together = gptq(weight, scale, zero_point, moments=moments, damping=0.01)
    alone = [
        gptq(weight[[row]], scale[[row]], zero_point, moments=moments, damping=0.01)
        for row in range(4)
    ]
    assert (together == np.concatenate(alone)).all()


def test_gptq_gives_codes_of_8_bits_also_where_it_makes_up_for_much() -> None:
    weight = np.random.default_rng(0).normal(size=(4, 8))
    scale, zero_point = find_scales(weight, symmetric=True, per_channel=True)
    codes = gptq(weight, scale / 3, zero_point, moments=moments_of(correlated(0)), damping=1e-3)
    assert codes.dtype == np.int8
    assert (codes.min(), codes.max()) == (-127, 127)


def test_gptq_takes_an_input_that_was_never_seen() -> None:
    inputs = correlated(0)
    inputs[:, 3] = 0
    weight = np.random.default_rng(0).normal(size=(4, 8))
    scale, zero_point = find_scales(weight, symmetric=True, per_channel=True)
    codes = gptq(weight, scale, zero_point, moments=moments_of(inputs), damping=0.01)
    assert (codes[:, 3] == nearest(weight, scale, zero_point)[:, 3]).all()


def test_gptq_takes_inputs_that_are_multiples_of_each_other() -> None:
    inputs = np.outer(np.arange(1.0, 9.0), [1.0, 2.0, 3.0])
    weight = np.random.default_rng(0).normal(size=(2, 3))
    scale, zero_point = find_scales(weight, symmetric=True, per_channel=True)
    codes = gptq(weight, scale, zero_point, moments=moments_of(inputs), damping=0.01)
    before, after = inputs @ weight.T, inputs @ (codes * scale[:, None].astype(np.float64)).T
    # All errors but that of the smallest input, half a step, are made up for.
    assert (np.abs(after - before) <= inputs[:, [0]] * scale * 0.6).all()


def test_gptq_leaves_what_it_is_given_as_it_was() -> None:
    weight = np.random.default_rng(0).normal(size=(4, 8))
    scale, zero_point = find_scales(weight, symmetric=True, per_channel=True)
    moments = moments_of(correlated(0))
    before = [x.copy() for x in (weight, scale, moments)]
    first = gptq(weight, scale, zero_point, moments=moments, damping=0.01)
    for old, new in zip(before, (weight, scale, moments), strict=True):
        np.testing.assert_array_equal(old, new)
    again = gptq(weight, scale, zero_point, moments=moments, damping=0.01)
    np.testing.assert_array_equal(first, again)
