"""Written digits are those that no CPU decides."""

import pytest

from resnet8.core.digits import (
    divergence,
    divergence_share,
    probability_difference,
    significant,
    upper_bound,
)


@pytest.mark.parametrize(
    ("difference", "bound"),
    [
        (0.0, 0.0),
        (3e-8, 1e-5),
        (1e-5, 1e-5),
        (1.1e-5, 1e-4),
        (1e-4, 1e-4),
        (0.02, 0.1),
        (3.0, 10.0),
    ],
)
def test_upper_bound_is_the_power_of_ten_above(difference: float, bound: float) -> None:
    assert upper_bound(difference) == bound


@pytest.mark.parametrize("noise", [4.17e-6, 3.46e-6, 2.9e-6, 9.9e-6])
def test_upper_bound_is_the_same_for_all_noise(noise: float) -> None:
    assert upper_bound(noise) == 1e-5


@pytest.mark.parametrize(
    ("difference", "largest", "bound"),
    [
        (3e-4, 50.0, 5e-4),
        (1e-4, 17.5, 2e-4),
        (0.02, 17.5, 0.2),
        (1e-9, 0.02, 2e-7),
        (1e-7, 0.0, 1e-5),
    ],
)
def test_upper_bound_is_a_share_of_the_largest_value(
    difference: float, largest: float, bound: float
) -> None:
    assert upper_bound(difference, largest=largest) == bound


@pytest.mark.parametrize(
    ("difference", "written"),
    [(0.29981655, 0.2998), (0.29981679, 0.2998), (0.0012345, 0.0012), (9e-4, 1e-3), (2e-6, 1e-5)],
)
def test_probability_difference_has_four_decimals_or_is_a_bound(
    difference: float, written: float
) -> None:
    assert probability_difference(difference) == written


def test_divergence_has_six_decimals_and_no_negative_zero() -> None:
    assert divergence(0.00100115049) == 0.001001
    assert str(divergence(-1e-12)) == "0.0"


def test_divergence_share_has_three_decimals() -> None:
    assert divergence_share(0.129293, kl=0.001) == 0.129


@pytest.mark.parametrize(("share", "kl"), [(0.0413, 3.4e-13), (0.1, 9.9e-6), (None, 0.0)])
def test_divergence_share_is_none_where_noise_decides_it(share: float | None, kl: float) -> None:
    assert divergence_share(share, kl=kl) is None


def test_significant_keeps_none() -> None:
    assert significant(None, 3) is None
    assert significant(1234.5, 2) == 1200.0
