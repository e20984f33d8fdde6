"""Intervals over images and draws are those of textbooks where one alone varies, and cover."""

import numpy as np
import pytest
from scipy import stats

from resnet8.sweep.crossed import CONFIDENCE, estimate


def test_one_draw_is_a_paired_interval_over_images() -> None:
    values = np.random.default_rng(0).integers(-1, 2, (1, 500)).astype(np.int8)
    low, high = stats.norm.interval(
        CONFIDENCE, values.mean(), values[0].std(ddof=1) / np.sqrt(values.size)
    )
    assert estimate(values) == pytest.approx((values.mean(), low, high))


@pytest.mark.parametrize("n_images", [1, 400])
def test_equal_images_give_a_t_interval_over_draws(n_images: int) -> None:
    draws = np.array([0, 1, 1, 0, 1, -1], np.int8)
    low, high = stats.t.interval(CONFIDENCE, len(draws) - 1, draws.mean(), stats.sem(draws))
    values = np.repeat(draws[:, None], n_images, axis=1)
    assert estimate(values) == pytest.approx((draws.mean(), low, high))


def test_no_difference_has_no_width_and_a_single_value_any() -> None:
    assert estimate(np.zeros((3, 100), np.int8)) == (0, 0, 0)
    assert not estimate(np.zeros((3, 100), np.int8)).differs
    assert estimate(np.array([[2.0]])) == (2, -np.inf, np.inf)


@pytest.mark.parametrize("n_draws", [2, 3, 5])
def test_interval_covers_the_truth_at_least_as_often_as_it_says(n_draws: int) -> None:
    # Effects of images, of draws, and of both together, rounded to lost, same and won.
    rng, repeats, n_images = np.random.default_rng(7), 400, 400
    truth = simulate(rng, 400, 4000).mean()
    covered = 0
    for _ in range(repeats):
        interval = estimate(simulate(rng, n_draws, n_images))
        covered += interval.low <= truth <= interval.high
    # Three standard deviations of the count below 95%.
    assert covered / repeats > CONFIDENCE - 3 * np.sqrt(CONFIDENCE * 0.05 / repeats)


def simulate(rng: np.random.Generator, n_draws: int, n_images: int) -> np.ndarray:
    noise = 0.35 * rng.normal(size=(1, n_images))
    noise = noise + 0.02 * rng.normal(size=(n_draws, 1))
    noise = noise + 0.15 * rng.normal(size=(n_draws, n_images))
    return np.clip(np.rint(noise), -1, 1).astype(np.int8)
