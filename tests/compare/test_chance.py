"""Which baselines are not better than chance, and what is said of them."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from statsmodels.stats.proportion import proportion_confint

from resnet8.compare.chance import (
    chance_accuracy,
    chance_warning,
    describe_chance,
    is_chance,
)

BALANCED = np.arange(1000) % 10


def first_right(n: int) -> np.ndarray:
    return np.arange(len(BALANCED)) < n


def test_chance_is_the_share_of_the_most_frequent_class() -> None:
    assert chance_accuracy(np.array([0, 1, 2, 1])) == 0.5
    assert chance_accuracy(BALANCED) == 0.1


@given(st.lists(st.integers(0, 9), min_size=1))
def test_chance_is_never_below_a_random_guess(labels: list[int]) -> None:
    assert chance_accuracy(np.array(labels)) >= 1 / len(set(labels)) - 1e-12


@given(st.integers(1, 2000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_is_chance_where_the_intervals_low_end_is_at_most_chance(counts: tuple[int, int]) -> None:
    right, n = counts
    low, _ = proportion_confint(right, n, method="wilson")
    assert is_chance(right, n, chance=low + 1e-9)
    assert not is_chance(right, n, chance=low - 1e-9)


@pytest.mark.parametrize(
    ("n_right", "expected"),
    [(0, True), (13, True), (100, True), (115, True), (150, False), (872, False)],
)
def test_a_baseline_is_chance_within_noise_of_it_and_below(n_right: int, expected: bool) -> None:
    found = describe_chance(first_right(n_right), BALANCED)
    assert found == {"baseline_is_chance": expected, "chance_accuracy": 0.1}


def test_an_accuracy_that_many_images_tell_from_chance_may_be_chance_on_few() -> None:
    assert not is_chance(1500, 10_000, chance=0.1)
    assert is_chance(3, 20, chance=0.1)


def test_a_constant_answer_is_chance_however_often_it_is_right() -> None:
    labels = np.array([3] * 900 + [5] * 100)
    assert describe_chance(labels == 3, labels)["baseline_is_chance"]


def comparison(**changes: Any) -> dict[str, Any]:
    return {
        "baseline": "keras_fp32", "n_images": 1000, "baseline_is_chance": True,
        "chance_accuracy": 0.1, "variants": {"keras_fp32": {"top1_accuracy": 0.112}},
    } | changes  # fmt: skip


def test_warning_has_both_shares_and_what_follows() -> None:
    assert chance_warning(comparison()) == (
        "keras_fp32 is not measurably better than chance: it is right on 11.20% of 1,000 test "
        "images, and the most frequent class alone makes up 10.00%. Accuracies compared with it "
        "do not say what quantization costs."
    )


def test_warning_is_empty_for_a_baseline_that_is_better() -> None:
    assert chance_warning(comparison(baseline_is_chance=False)) == ""
