"""Baselines that are not better than chance."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from statsmodels.stats.proportion import proportion_confint

from resnet8.compare.chance import chance_accuracy, chance_warning, describe_chance, is_chance


@given(st.lists(st.integers(0, 9), min_size=1))
def test_chance_is_the_share_of_the_most_frequent_class(labels: list[int]) -> None:
    expected = max(labels.count(k) for k in labels) / len(labels)
    assert chance_accuracy(np.array(labels)) == expected


@given(st.integers(1, 2000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_is_chance_if_the_low_end_of_the_interval_is_at_most_chance(
    counts: tuple[int, int],
) -> None:
    low, _ = proportion_confint(*counts, method="wilson")
    assert is_chance(*counts, chance=low + 1e-9)
    assert not is_chance(*counts, chance=low - 1e-9)


def test_description_has_chance_and_the_warning_both_accuracies() -> None:
    labels = np.array([3] * 900 + [5] * 100)
    description = describe_chance(labels == 3, labels)  # a constant prediction
    assert description == {"baseline_is_chance": True, "chance_accuracy": 0.9}
    comparison = description | {
        "baseline": "keras_fp32", "n_images": 1000,
        "variants": {"keras_fp32": {"top1_accuracy": 0.112}},
    }  # fmt: skip
    warning = chance_warning(comparison)
    assert "right on 11.20% of 1,000 test images" in warning
    assert "class alone makes up 90.00%" in warning
    assert chance_warning(comparison | {"baseline_is_chance": False}) == ""


@pytest.mark.parametrize(("n_right", "expected"), [(0, True), (115, True), (150, False)])
def test_a_baseline_is_chance_within_noise_of_it_and_below(n_right: int, expected: bool) -> None:
    labels = np.arange(1000) % 10
    description = describe_chance(np.arange(1000) < n_right, labels)
    assert description == {"baseline_is_chance": expected, "chance_accuracy": 0.1}
