"""Codes of weights against what can be worked out by hand."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from resnet8.core.qparams import QuantizationParameters
from resnet8.core.sections import Fit
from resnet8.quantize.rounding import gptq, nearest
from resnet8.quantize.scales import find_weight_parameters

RTOL_FLOAT32 = 1e-6  # scales are float32, weights are not
QUICK = settings(max_examples=60, deadline=None, database=None, derandomize=True)
MATRICES = arrays.arrays(
    np.float64,
    arrays.array_shapes(min_dims=2, max_dims=2, max_side=6),
    elements=st.floats(-100, 100).map(lambda x: round(x, 3)),
)


def find_scales(
    weight: Any, *, symmetric: bool = True, per_channel: bool = True
) -> QuantizationParameters:
    settings = Fit.model_construct(weight_symmetric=symmetric, per_channel=per_channel)
    return find_weight_parameters(weight, settings)


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


@pytest.mark.parametrize(
    ("weight", "scale", "zero_point"),
    [
        # From -1 to 4.1 in 255 steps of 0.02; code -128 is -1, and so 0 is code -78.
        ([[-1.0, 2.0], [4.1, 3.0]], 0.02, -78),
        ([[1.0, 2.0]], 2 / 255, -128),
        ([[-1.0, -2.0]], 2 / 255, 127),
        ([[0.0, 0.0]], 1.0, -128),
    ],
)
def test_scales_of_asymmetric_weights(weight: Any, scale: float, zero_point: int) -> None:
    found = find_scales(np.array(weight), symmetric=False, per_channel=False)
    assert (found.scale.shape, found.dtype, found.axis) == ((), "int8", None)
    assert float(found.scale) == pytest.approx(scale, rel=RTOL_FLOAT32)
    assert found.zero_point == zero_point


@pytest.mark.parametrize(
    ("per_channel", "scale"), [(True, [2 / 127, 4 / 127, 1.0]), (False, 4 / 127)]
)
def test_scales_of_symmetric_weights(per_channel: bool, scale: Any) -> None:
    weight = np.array([[1.0, -2.0], [4.0, 3.0], [0.0, 0.0]])
    found = find_scales(weight, per_channel=per_channel)
    np.testing.assert_allclose(found.scale, scale, rtol=RTOL_FLOAT32)
    assert not found.zero_point.any()
    assert (found.scale.dtype, found.dtype) == (np.float32, "int8")
    assert found.axis == (0 if per_channel else None)


@pytest.mark.parametrize(
    ("weight", "scale", "symmetric", "codes"),
    [
        ([-128.0, 127.0], 1.0, False, [-128, 127]),
        ([-3.0, -1.0, 0.0, 1.0, 3.0], 0.01, True, [-127, -100, 0, 100, 127]),
        ([0.5, 1.5, 2.5, -0.5, -1.5], 1.0, True, [0, 2, 2, 0, -2]),  # halves to even
    ],
)
def test_nearest_by_hand(weight: Any, scale: float, symmetric: bool, codes: Any) -> None:
    assert nearest(np.array([weight]), one(scale), symmetric=symmetric).tolist() == [codes]


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


@QUICK
@given(weight=MATRICES, seed=st.integers(0, 2**32 - 1))
def test_gptq_is_nearest_where_inputs_tell_nothing_of_each_other(weight: Any, seed: int) -> None:
    found = find_scales(weight)
    moments = np.diag(np.random.default_rng(seed).uniform(0.1, 10, weight.shape[1]))
    codes = gptq(weight, found, products=moments, damping=0.01)
    assert (codes == nearest(weight, found)).all()


@pytest.mark.parametrize(
    ("products", "parameters", "codes"),
    [
        # 0.4 is rounded to 0. The best second weight is then
        # 0.4 + 0.4 * <x0 x1> / <x1 x1> = 0.6, which is rounded to 1.
        ([[1.0, 0.5], [0.5, 1.0]], one(1.0), [0, 1]),
        # The larger second input comes first: its weight is rounded to 0. The best first weight
        # is then 0.4 + 0.4 * <x0 x1> / <x0 x0> = 0.8. In the other order, both would be 0.
        ([[1.0, 1.0], [1.0, 4.0]], one(1.0), [1, 0]),
        # The first case with another scale and zero point.
        ([[1.0, 0.5], [0.5, 1.0]], one(0.1, -5), [-5, -4]),
        ([[0.0, 0.0], [0.0, 0.0]], one(1.0), [0, 0]),
    ],
)
def test_gptq_by_hand(products: Any, parameters: QuantizationParameters, codes: Any) -> None:
    weight = np.full((1, 2), 0.4 * float(parameters.scale))
    found = gptq(weight, parameters, products=np.array(products), damping=1e-9)
    assert found.tolist() == [codes]


@pytest.mark.parametrize("seed", range(5))
def test_gptq_errs_less_than_nearest_on_correlated_inputs(seed: int) -> None:
    weight = np.random.default_rng(100 + seed).normal(size=(6, 8))
    found = find_scales(weight)
    found = found._replace(scale=found.scale * 8)  # few codes, so that rounding matters
    inputs = correlated(seed)

    def error(codes: Any) -> float:
        rounded = restored_from(codes, found)
        return float(np.sum((inputs @ (rounded - weight).T) ** 2))

    codes = gptq(weight, found, products=moments_of(inputs), damping=0.01)
    assert error(codes) < error(nearest(weight, found))


def test_gptq_rounds_each_output_for_itself() -> None:
    weight = np.random.default_rng(0).normal(size=(4, 8))
    found = find_scales(weight)
    moments = moments_of(correlated(0))
    together = gptq(weight, found, products=moments, damping=0.01)
    alone = [
        gptq(weight[[row]], part, products=moments, damping=0.01)
        for row, part in enumerate(found.split(4))
    ]
    assert (together == np.concatenate(alone)).all()


def test_gptq_gives_codes_of_8_bits_also_where_it_makes_up_for_much() -> None:
    weight = np.random.default_rng(0).normal(size=(4, 8))
    found = find_scales(weight)
    third = found._replace(scale=found.scale / 3)
    codes = gptq(weight, third, products=moments_of(correlated(0)), damping=1e-3)
    assert codes.dtype == np.int8
    assert (codes.min(), codes.max()) == (-127, 127)


def test_gptq_takes_inputs_that_are_multiples_of_each_other() -> None:
    inputs = np.outer(np.arange(1.0, 9.0), [1.0, 2.0, 3.0])
    weight = np.random.default_rng(0).normal(size=(2, 3))
    found = find_scales(weight)
    codes = gptq(weight, found, products=moments_of(inputs), damping=0.01)
    before, after = inputs @ weight.T, inputs @ restored_from(codes, found).T
    # All errors but that of the smallest input, half a step, are made up for.
    assert (np.abs(after - before) <= inputs[:, [0]] * found.scale * 0.6).all()
