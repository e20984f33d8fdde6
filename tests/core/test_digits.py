"""Rounding to digits that are the same on all CPUs."""

import pytest

from resnet8.core.digits import (
    round_divergence,
    round_divergence_share,
    round_probability_difference,
    significant,
    upper_bound,
)


@pytest.mark.parametrize(
    ("differences", "largest", "bound"),
    [
        ([0.0], 1.0, 0.0),
        ([3e-8, 1e-5, 4.17e-6, 3.46e-6, 2.9e-6, 9.9e-6], 1.0, 1e-5),  # the same for all noise
        ([1.1e-5, 1e-4], 1.0, 1e-4),
        ([0.02], 1.0, 0.1),
        ([3.0], 1.0, 10.0),
        ([3e-4], 50.0, 5e-4),
        ([1e-4], 17.5, 2e-4),
        ([0.02], 17.5, 0.2),
        ([1e-9], 0.02, 2e-7),
        ([1e-7], 0.0, 1e-5),
    ],
)
def test_upper_bound_is_the_largest_value_times_a_power_of_ten_above(
    differences: list[float], largest: float, bound: float
) -> None:
    assert {upper_bound(x, largest=largest) for x in differences} == {bound}


@pytest.mark.parametrize(
    ("difference", "written"),
    [(0.29981655, 0.2998), (0.29981679, 0.2998), (0.0012345, 0.0012), (9e-4, 1e-3), (2e-6, 1e-5)],
)
def test_probability_difference_has_four_decimals_or_is_a_bound(
    difference: float, written: float
) -> None:
    assert round_probability_difference(difference) == written


@pytest.mark.parametrize(
    ("share", "kl", "written"),
    [(0.129293, 1e-3, 0.129), (0.0413, 3.4e-13, None), (0.1, 9.9e-6, None), (None, 0.0, None)],
)
def test_divergence_share_has_three_decimals_and_is_none_where_noise_decides_it(
    share: float | None, kl: float, written: float | None
) -> None:
    assert round_divergence_share(share, kl=kl) == written


def test_other_figures_have_fixed_digits_and_no_negative_zero() -> None:
    assert round_divergence(0.00100115049) == 0.001001
    assert str(round_divergence(-1e-12)) == "0.0"
    assert (significant(None, 3), significant(1234.5, 2)) == (None, 1200.0)
