"""Intervals over images and draws hold what they should."""

import numpy as np
import pytest
from scipy import stats

from resnet8.sweep.crossed import estimate

CONFIDENCE = 0.95


def test_one_draw_is_a_paired_interval_over_images() -> None:
    values = np.random.default_rng(0).integers(-1, 2, (1, 500)).astype(np.int8)
    found = estimate(values, confidence=CONFIDENCE)
    low, high = stats.norm.interval(
        CONFIDENCE, values.mean(), values[0].std(ddof=1) / np.sqrt(values.size)
    )
    assert found == pytest.approx((values.mean(), low, high))


def test_the_same_for_all_images_is_a_t_interval_over_draws() -> None:
    draws = np.array([0, 1, 1, 0, 1, -1], np.int8)
    values = np.repeat(draws[:, None], 400, axis=1)
    found = estimate(values, confidence=CONFIDENCE)
    low, high = stats.t.interval(CONFIDENCE, len(draws) - 1, draws.mean(), stats.sem(draws))
    assert found == pytest.approx((draws.mean(), low, high))


def test_no_difference_anywhere_has_no_width() -> None:
    found = estimate(np.zeros((3, 100), np.int8), confidence=CONFIDENCE)
    assert found == (0, 0, 0)
    assert not found.differs


@pytest.mark.parametrize("n_draws", [2, 3, 5])
def test_interval_covers_the_truth_at_least_as_often_as_it_says(n_draws: int) -> None:
    # Effects of images, of draws, and of both together, rounded to lost, same and won.
    rng, repeats, n_images = np.random.default_rng(7), 400, 400
    effects = {"image": 0.35, "draw": 0.02, "both": 0.15}
    truth_values = simulate(rng, 400, 4000, effects)
    truth = truth_values.mean()
    covered = 0
    for _ in range(repeats):
        found = estimate(simulate(rng, n_draws, n_images, effects), confidence=CONFIDENCE)
        covered += found.low <= truth <= found.high
    # Three standard deviations of the count below 95%.
    assert covered / repeats > CONFIDENCE - 3 * np.sqrt(CONFIDENCE * 0.05 / repeats)


def simulate(
    rng: np.random.Generator, n_draws: int, n_images: int, effects: dict[str, float]
) -> np.ndarray:
    noise = effects["image"] * rng.normal(size=(1, n_images))
    noise = noise + effects["draw"] * rng.normal(size=(n_draws, 1))
    noise = noise + effects["both"] * rng.normal(size=(n_draws, n_images))
    return np.clip(np.rint(noise), -1, 1).astype(np.int8)
