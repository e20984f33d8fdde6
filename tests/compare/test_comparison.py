"""Paired statistics, against independent implementations."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize, stats
from sklearn.metrics import accuracy_score
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.proportion import proportion_confint

from resnet8.compare.comparison import (
    CONFIDENCE,
    PROBABILITY_FLOOR,
    compare,
    difference_interval,
    kl_by_image,
    kl_divergence,
    mcnemar_p,
    top_share,
    wilson_interval,
)
from resnet8.core.digits import NOISE

COUNTS = st.integers(0, 60)


def paired(both: int, lost: int, won: int, neither: int) -> tuple[np.ndarray, np.ndarray]:
    """Right or wrong, before and after, with these counts."""
    pairs = [(1, 1)] * both + [(1, 0)] * lost + [(0, 1)] * won + [(0, 0)] * neither
    old, new = np.array(pairs, bool).T
    return old, new


@given(st.integers(1, 10_000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_interval_agrees_with_statsmodels(counts: tuple[int, int]) -> None:
    right, n = counts
    expected = proportion_confint(right, n, alpha=1 - CONFIDENCE, method="wilson")
    assert wilson_interval(right, n) == pytest.approx(expected, abs=1e-12)


def tango_interval(lost: int, won: int, n: int) -> tuple[float, float]:
    """Tango's (1998) score interval, by inverting its test numerically."""
    z = stats.norm.ppf(0.5 + CONFIDENCE / 2)

    def statistic(delta: float) -> float:
        a, b, c = 2 * n, -won - lost + (2 * n - won + lost) * delta, -lost * delta * (1 - delta)
        q = (np.sqrt(b * b - 4 * a * c) - b) / (2 * a)
        return (won - lost - n * delta) / np.sqrt(n * (2 * q + delta * (1 - delta)))

    middle = (won - lost) / n
    low = optimize.brentq(lambda d: statistic(d) - z, -0.999, middle - 1e-9)
    high = optimize.brentq(lambda d: statistic(d) + z, middle + 1e-9, 0.999)
    return low, high


@pytest.mark.parametrize(("lost", "won"), [(70, 60), (150, 20), (5, 9), (300, 310), (1, 0)])
def test_difference_interval_is_close_to_tangos_on_10000_images(lost: int, won: int) -> None:
    old, new = paired(8650 - lost, lost, won, 1350 - won)
    # Two score methods of different construction; a tenth of a percentage point would show.
    assert difference_interval(old, new) == pytest.approx(
        tango_interval(lost, won, 10_000), abs=2e-4
    )


def test_difference_interval_is_close_to_a_paired_bootstrap() -> None:
    old, new = paired(8500, 200, 120, 1180)
    resampled = stats.bootstrap(
        (new.astype(float) - old,),
        np.mean,
        n_resamples=2000,
        method="percentile",
        rng=np.random.default_rng(0),
    ).confidence_interval
    # 2,000 resamples place an end within about a twentieth of the interval's width.
    assert difference_interval(old, new) == pytest.approx(resampled, abs=3e-4)


def test_difference_interval_covers_the_truth_in_95_of_100_samples() -> None:
    rng = np.random.default_rng(0)
    truth, covered, trials = -0.01, 0, 1000
    for _ in range(trials):
        counts = rng.multinomial(1000, [0.85, 0.03, 0.02, 0.10])
        low, high = difference_interval(*paired(*counts))
        covered += low <= truth <= high
    # Binomial noise of 1,000 trials: standard deviation 0.7%.
    assert 0.925 <= covered / trials <= 0.98


@given(st.tuples(COUNTS, COUNTS, COUNTS, COUNTS).filter(any))
def test_difference_interval_holds_the_difference_and_mirrors_with_its_sides(
    counts: tuple[int, int, int, int],
) -> None:
    old, new = paired(*counts)
    low, high = difference_interval(old, new)
    assert -1 - 1e-9 <= low <= new.mean() - old.mean() + 1e-9
    assert new.mean() - old.mean() - 1e-9 <= high <= 1 + 1e-9
    assert difference_interval(new, old) == pytest.approx((-high, -low))
    assert low < high  # also where nothing changed


@given(st.tuples(COUNTS, COUNTS, COUNTS, COUNTS).filter(any))
def test_mcnemar_p_agrees_with_statsmodels(counts: tuple[int, int, int, int]) -> None:
    both, lost, won, neither = counts
    expected = mcnemar([[both, lost], [won, neither]], exact=True).pvalue if lost + won else 1.0
    assert mcnemar_p(*paired(*counts)) == pytest.approx(min(expected, 1.0))


@pytest.mark.parametrize(("lost", "won"), [(0, 1), (1, 30), (400, 700), (980, 1020)])
def test_mcnemar_p_is_that_of_exact_arithmetic(lost: int, won: int) -> None:
    splits = sum(math.comb(lost + won, k) for k in range(lost + 1))
    expected = min(1.0, 2 * splits / 2 ** (lost + won))
    assert mcnemar_p(*paired(5, lost, won, 5)) == pytest.approx(expected, rel=1e-9)


def test_kl_by_image_agrees_with_scipy() -> None:
    rng = np.random.default_rng(0)
    old, new = (rng.dirichlet([1] * 5, 20) for _ in range(2))
    expected = [stats.entropy(p, q) for p, q in zip(old, new, strict=True)]
    # PROBABILITY_FLOOR is far below the smallest of these probabilities.
    assert kl_by_image(old, new) == pytest.approx(expected, rel=1e-9)


def test_kl_divergence_is_finite_where_a_probability_is_zero() -> None:
    p, q = np.array([[0.5, 0.5], [0.9, 0.1]]), np.array([[1.0, 0.0], [0.9, 0.1]])
    expected = 0.5 * np.log(0.5) + 0.5 * np.log(0.5 / PROBABILITY_FLOOR)
    assert kl_divergence(p, q) == pytest.approx(expected / 2, rel=1e-4)


def test_top_share_is_that_of_ten_images() -> None:
    assert top_share(np.array([3.0] * 5 + [1.0] * 30 + [3.0] * 5)) == 0.5
    assert top_share(np.array([1.0, 2.0, 5.0])) == 1.0
    assert top_share(np.zeros(20)) is None


RNG = np.random.default_rng(0)
TRUTH = RNG.integers(0, 3, 300)
OLD = RNG.dirichlet([1, 1, 1], 300).astype(np.float32)
NEW = (0.8 * OLD + 0.2 * RNG.dirichlet([1, 1, 1], 300)).astype(np.float32)


def compared(old: np.ndarray, new: np.ndarray, labels: np.ndarray = TRUTH) -> dict[str, Any]:
    return compare(old, new, labels, label_names=["a", "b", "c"])


def test_compare_gives_deltas_as_variant_minus_baseline_in_points() -> None:
    metrics = compared(OLD, NEW)
    for rows, delta in [
        (TRUTH >= 0, metrics["accuracy_delta_pp"]),
        *((k == TRUTH, metrics["per_class_delta_pp"]["abc"[k]]) for k in range(3)),
    ]:
        before, after = (accuracy_score(TRUTH[rows], x[rows].argmax(1)) for x in (OLD, NEW))
        assert delta == pytest.approx(100 * (after - before), abs=1e-4)
    assert metrics["images_won"] - metrics["images_lost"] == round(3 * metrics["accuracy_delta_pp"])
    assert metrics["ci95_low_pp"] < metrics["accuracy_delta_pp"] < metrics["ci95_high_pp"]


def test_compare_gives_agreement_divergence_and_the_largest_difference() -> None:
    metrics = compared(OLD, NEW)
    assert metrics["agreement"] == np.mean(OLD.argmax(1) == NEW.argmax(1))
    assert metrics["max_abs_probability_diff"] == pytest.approx(np.abs(OLD - NEW).max(), abs=5e-5)
    by_image = sorted(stats.entropy(p, q) for p, q in zip(OLD, NEW, strict=True))
    # Six and three decimals are written.
    assert metrics["kl_standard_error"] == pytest.approx(stats.sem(by_image), abs=1e-6)
    assert metrics["kl_top10_share"] == pytest.approx(sum(by_image[-10:]) / sum(by_image), abs=6e-4)


def test_compare_with_itself_shows_no_difference() -> None:
    metrics = compared(OLD, OLD)
    assert (metrics["accuracy_delta_pp"], metrics["mcnemar_p"]) == (0.0, 1.0)
    assert metrics["agreement"] == 1.0
    assert (metrics["kl_divergence"], metrics["images_lost"], metrics["images_won"]) == (0.0, 0, 0)
    assert (metrics["kl_standard_error"], metrics["kl_top10_share"]) == (0.0, None)
    assert compared(OLD[:1], NEW[:1], TRUTH[:1])["kl_standard_error"] is None  # of one image


@pytest.mark.parametrize("distance", [1e-6, 3e-3, 0.01, 0.2])
def test_compare_writes_no_digit_of_kl_that_noise_of_a_runtime_decides(distance: float) -> None:
    rng = np.random.default_rng(1)
    old, other = (rng.dirichlet([1] * 10, 1000) for _ in range(2))
    labels = np.zeros(1000, np.int64)
    written = set()
    for _ in range(5):
        noise = 1 + NOISE * rng.uniform(-1, 1, old.shape)
        new = ((1 - distance) * old + distance * other) * noise
        metrics = compare(old, new, labels, label_names="0123456789")
        written.add(tuple(v for k, v in metrics.items() if k.startswith("kl_")))
    assert len(written) == 1, written
