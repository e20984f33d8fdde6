"""Codes of weights against what can be worked out by hand."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from resnet8.core.sections import Fit
from resnet8.quantize.layers import Layer
from resnet8.quantize.rounding import gptq, nearest, round_weights
from resnet8.quantize.scales import find_weight_parameters

RTOL_FLOAT32 = 1e-6  # scales are float32, weights are not
LIMITS = (-127, 127)
MATRICES = arrays.arrays(
    np.float64,
    arrays.array_shapes(min_dims=2, max_dims=2, max_side=6),
    elements=st.floats(-100, 100).map(lambda x: round(x, 3)),
)
FORMS = [(True, True), (True, False), (False, False)]


def in_form(symmetric: bool, per_channel: bool) -> Fit:
    return Fit.model_construct(
        weight_symmetric=symmetric, per_channel=per_channel, weight_rounding="nearest"
    )


def correlated(seed: int, *, inputs: int = 8, samples: int = 400) -> Any:
    """Correlated inputs (samples, I)."""
    rng = np.random.default_rng(seed)
    shared = rng.normal(size=(samples, 3)) @ rng.normal(size=(3, inputs))
    return shared + 0.3 * rng.normal(size=(samples, inputs)) + rng.normal(size=inputs)


def products_of(inputs: Any) -> Any:
    return inputs.T @ inputs / len(inputs)


def drawn_steps(seed: int, *, largest: float, shape: tuple[int, int] = (6, 8)) -> Any:
    """Weights (O, I) in steps; the largest of each output has that many."""
    weight = np.random.default_rng(seed).normal(size=shape)
    return weight * largest / np.abs(weight).max(axis=1, keepdims=True)


@pytest.mark.parametrize(
    ("weight", "symmetric", "per_channel", "scale", "zero_point"),
    [
        # From -1 to 4.1 in 255 steps of 0.02; code -128 is -1, and so 0 is code -78.
        ([[-1.0, 2.0], [4.1, 3.0]], False, False, 0.02, -78),
        ([[1.0, 2.0]], False, False, 2 / 255, -128),
        ([[-1.0, -2.0]], False, False, 2 / 255, 127),
        ([[0.0, 0.0]], False, False, 1.0, -128),
        ([[1.0, -2.0], [4.0, 3.0], [0.0, 0.0]], True, True, [2 / 127, 4 / 127, 1.0], [0, 0, 0]),
        ([[1.0, -2.0], [4.0, 3.0], [0.0, 0.0]], True, False, 4 / 127, 0),
    ],
)
def test_find_weight_parameters_by_hand(
    weight: Any, symmetric: bool, per_channel: bool, scale: Any, zero_point: Any
) -> None:
    parameters = find_weight_parameters(np.array(weight), in_form(symmetric, per_channel))
    np.testing.assert_allclose(parameters.scale, scale, rtol=RTOL_FLOAT32)
    np.testing.assert_array_equal(parameters.zero_point, zero_point)
    assert parameters.scale.dtype == np.float32
    assert (parameters.dtype, parameters.axis) == ("int8", 0 if per_channel else None)


@pytest.mark.parametrize(("symmetric", "per_channel"), FORMS)
@settings(max_examples=60)
@given(weight=MATRICES)
def test_round_weights_is_within_half_a_step(
    weight: Any, symmetric: bool, per_channel: bool
) -> None:
    settings_ = in_form(symmetric, per_channel)
    parameters = find_weight_parameters(weight, settings_)
    layer = Layer("x", "Gemm", "input", "x", weight, None, 1, {})
    values = round_weights(layer, parameters, settings_)
    scale = np.broadcast_to(parameters.scale, len(weight)).astype(np.float64)[:, np.newaxis]
    assert (np.abs(values - weight) <= scale * (0.5 + 128 * RTOL_FLOAT32)).all()
    codes = parameters.quantize(values)
    np.testing.assert_array_equal(parameters.dequantize(codes), values)
    assert codes.min() >= (-127 if symmetric else -128)


@pytest.mark.parametrize(
    ("steps", "limits", "expected"),
    [
        ([-128.0, 127.0], (-128, 127), [-128, 127]),
        ([-300.0, -100.0, 0.0, 100.0, 300.0], LIMITS, [-127, -100, 0, 100, 127]),
        ([0.5, 1.5, 2.5, -0.5, -1.5], LIMITS, [0, 2, 2, 0, -2]),  # halves to even
    ],
)
def test_nearest_by_hand(steps: Any, limits: Any, expected: Any) -> None:
    assert nearest(np.array([steps]), limits).tolist() == [expected]


@settings(max_examples=60)
@given(weight=MATRICES, seed=st.integers(0, 2**32 - 1))
def test_gptq_is_nearest_where_inputs_are_uncorrelated(weight: Any, seed: int) -> None:
    products = np.diag(np.random.default_rng(seed).uniform(0.1, 10, weight.shape[1]))
    rounded = gptq(weight, LIMITS, products, damping=0.01)
    np.testing.assert_array_equal(rounded, nearest(weight, LIMITS))


@pytest.mark.parametrize(
    ("products", "expected"),
    [
        # 0.4 is rounded to 0. The best second weight is then
        # 0.4 + 0.4 * <x0 x1> / <x1 x1> = 0.6, which is rounded to 1.
        ([[1.0, 0.5], [0.5, 1.0]], [0, 1]),
        # The larger second input comes first: its weight is rounded to 0. The best first weight
        # is then 0.4 + 0.4 * <x0 x1> / <x0 x0> = 0.8. In the other order, both would be 0.
        ([[1.0, 1.0], [1.0, 4.0]], [1, 0]),
        ([[0.0, 0.0], [0.0, 0.0]], [0, 0]),
    ],
)
def test_gptq_by_hand(products: Any, expected: Any) -> None:
    rounded = gptq(np.full((1, 2), 0.4), LIMITS, np.array(products), damping=1e-9)
    assert rounded.tolist() == [expected]


@pytest.mark.parametrize("seed", range(5))
def test_gptq_errs_less_than_nearest_on_correlated_inputs(seed: int) -> None:
    steps = drawn_steps(100 + seed, largest=127 / 8)  # few codes, so that rounding matters
    inputs = correlated(seed)
    rounded = gptq(steps, LIMITS, products_of(inputs), damping=0.01)
    after, before = (
        np.sum((inputs @ (x - steps).T) ** 2) for x in (rounded, nearest(steps, LIMITS))
    )
    assert after < before
    alone = [gptq(x[np.newaxis], LIMITS, products_of(inputs), damping=0.01) for x in steps]
    np.testing.assert_array_equal(rounded, np.concatenate(alone))


def test_gptq_stays_within_limits_where_it_compensates_for_much() -> None:
    steps = drawn_steps(0, largest=3 * 127)
    rounded = gptq(steps, LIMITS, products_of(correlated(0)), damping=1e-3)
    assert (rounded.min(), rounded.max()) == LIMITS
