"""Compares two variants that saw the same images: paired statistics.

Shape letters: N images, K classes.
"""

from collections.abc import Mapping, Sequence
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from resnet8.core.digits import divergence, divergence_share, probability_difference
from resnet8.core.evaluation import Probabilities

CONFIDENCE = 0.95
# Probabilities below it count as this much, so that a zero does not make KL infinite.
PROBABILITY_FLOOR = 1e-7
TOP_IMAGES = 10  # with the largest divergence, whose share is told

Correct = NDArray[np.bool_]
ByClass = Mapping[str, Correct]  # (N of the class,) each
Divergences = NDArray[np.float64]  # (N,) in nats


class Interval(NamedTuple):
    """Both ends of an interval."""

    low: float
    high: float


def wilson_interval(right: int, n: int) -> Interval:
    """95% confidence interval of the fraction of which `right` out of `n` are a sample.

    Source: E. B. Wilson (1927), Probable inference, the law of succession, and statistical
    inference, Journal of the American Statistical Association 22, 209-212.
    """
    z = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)
    share = right / n
    middle = (2 * right + z**2) / (2 * (n + z**2))
    reach = z * (4 * n * share * (1 - share) + z**2) ** 0.5 / (2 * (n + z**2))
    return Interval(middle - reach if right else 0.0, middle + reach if right < n else 1.0)


def difference_interval(baseline: Correct, variant: Correct) -> Interval:
    """95% confidence interval of the accuracy difference, variant minus baseline.

    Newcombe's score interval for paired proportions: Wilson intervals of both accuracies,
    joined with their correlation. Unlike the normal approximation it stays honest when few
    images, or none, change sides.

    Args:
        baseline: (N,) whether each image was right.
        variant: (N,) likewise, for the same images.

    Returns:
        Both ends as fractions.

    Source: R. G. Newcombe (1998), Improved confidence intervals for the difference between
    binomial proportions based on paired data, Statistics in Medicine 17, 2635-2650, method 10.
    """
    n = len(baseline)
    both = int(np.sum(baseline & variant))
    lost = int(np.sum(baseline & ~variant))
    won = int(np.sum(~baseline & variant))
    neither = n - both - lost - won

    old, new = both + lost, both + won  # right answers
    wilson_old, wilson_new = wilson_interval(old, n), wilson_interval(new, n)
    old_low, old_high = old / n - wilson_old.low, wilson_old.high - old / n
    new_low, new_high = new / n - wilson_new.low, wilson_new.high - new / n

    spread = old * (n - old) * new * (n - new)
    association = float(both * neither - lost * won)
    if association > 0:
        association = max(association - n / 2, 0.0)  # Newcombe's continuity correction
    phi = association / spread**0.5 if spread else 0.0

    delta = (won - lost) / n
    below = new_low**2 - 2 * phi * new_low * old_high + old_high**2
    above = new_high**2 - 2 * phi * new_high * old_low + old_low**2
    return Interval(delta - max(below, 0.0) ** 0.5, delta + max(above, 0.0) ** 0.5)


def mcnemar_p(baseline: Correct, variant: Correct) -> float:
    """Two-sided p-value of McNemar's exact test that both are right equally often.

    Args:
        baseline: (N,) whether each image was right.
        variant: (N,) likewise, for the same images.

    Source: Q. McNemar (1947), Psychometrika 12, 153-157, in its exact binomial form.
    """
    lost = int(np.sum(baseline & ~variant))
    won = int(np.sum(~baseline & variant))
    n = lost + won
    splits = as_uneven = 1  # of 2**n: with k on the smaller side, and with k or less
    for k in range(1, min(lost, won) + 1):
        splits = splits * (n - k + 1) // k
        as_uneven += splits
    return min(2 * as_uneven / (1 << n), 1.0)


def correct_p_values(p_values: Sequence[float]) -> list[float]:
    """Corrects p-values of tests that are made together, by Holm's method, in their order.

    Source: S. Holm (1979), A simple sequentially rejective multiple test procedure,
    Scandinavian Journal of Statistics 6, 65-70.
    """
    count, highest = len(p_values), 0.0
    corrected = [1.0] * count
    for rank, i in enumerate(np.argsort(p_values, kind="stable")):
        highest = max(highest, min(1.0, (count - rank) * p_values[i]))
        corrected[i] = highest
    return corrected


def kl_by_image(baseline: Probabilities, variant: Probabilities) -> Divergences:
    """(N,) Kullback-Leibler divergences of `variant` from `baseline`, both (N, K), in nats."""
    p, q = (np.maximum(x.astype(np.float64), PROBABILITY_FLOOR) for x in (baseline, variant))
    p, q = (x / x.sum(axis=1, keepdims=True) for x in (p, q))
    divergences: Divergences = np.sum(p * np.log(p / q), axis=1)
    return divergences


def kl_divergence(baseline: Probabilities, variant: Probabilities) -> float:
    """Mean Kullback-Leibler divergence of `variant` from `baseline`, both (N, K), in nats."""
    return float(kl_by_image(baseline, variant).mean())


def standard_error(values: Divergences) -> float | None:
    """Standard error of the mean of (N,) values, one of each image; None for a single image."""
    n = len(values)
    return float(values.std(ddof=1)) / n**0.5 if n > 1 else None


def top_share(values: Divergences) -> float | None:
    """Share of the sum that the `TOP_IMAGES` largest of (N,) values have; None of a zero sum."""
    total = float(values.sum())
    return float(np.sort(values)[-TOP_IMAGES:].sum()) / total if total else None


def compare(
    baseline: Probabilities,
    variant: Probabilities,
    labels: NDArray[np.int64],
    *,
    label_names: Sequence[str],
) -> dict[str, Any]:
    """Says what a variant costs against the baseline.

    Args:
        baseline: (N, K) probabilities.
        variant: (N, K) probabilities for the same images.
        labels: (N,) class indices.
        label_names: K names.

    Returns:
        Accuracies as fractions, deltas and interval ends (`*_pp`) in percentage points,
        variant minus baseline; counts of images lost (right only before) and won. The mean KL
        divergence in nats has its standard error over the images (None for one image) and the
        share that the ten largest divergences have of their sum (None where it is near zero).
    """
    old_class, new_class = baseline.argmax(axis=1), variant.argmax(axis=1)
    classes = {name: labels == k for k, name in enumerate(label_names) if (labels == k).any()}
    old, new = (
        {name: (found == labels)[chosen] for name, chosen in classes.items()}
        for found in (old_class, new_class)
    )
    divergences = kl_by_image(baseline, variant)
    kl, kl_error = float(divergences.mean()), standard_error(divergences)
    return {
        **compare_correct(old, new),
        "agreement": float(np.mean(old_class == new_class)),
        "kl_divergence": divergence(kl),
        "kl_standard_error": None if kl_error is None else divergence(kl_error),
        "kl_top10_share": divergence_share(top_share(divergences), kl=kl),
        "max_abs_probability_diff": probability_difference(
            float(np.max(np.abs(baseline - variant)))
        ),
    }


def compare_correct(baseline: ByClass, variant: ByClass) -> dict[str, Any]:
    """Says what a variant costs, as far as right and wrong answers tell.

    Args:
        baseline: whether each image was right, by class.
        variant: for the same images.

    Returns:
        The part of `compare` that needs no probabilities.
    """
    old, new = join_classes(baseline), join_classes({name: variant[name] for name in baseline})
    interval = difference_interval(old, new)
    per_class = {name: _interval_pp(x, variant[name]) for name, x in baseline.items()}
    return {
        "top1_accuracy": float(new.mean()),
        "accuracy_delta_pp": _pp(_delta(old, new)),
        "ci95_low_pp": _pp(interval.low),
        "ci95_high_pp": _pp(interval.high),
        "mcnemar_p": float(f"{mcnemar_p(old, new):.6g}"),
        "images_lost": int(np.sum(old & ~new)),
        "images_won": int(np.sum(~old & new)),
        "per_class_delta_pp": {name: row["delta_pp"] for name, row in per_class.items()},
        "per_class_ci95_pp": {
            name: [row["low_pp"], row["high_pp"]] for name, row in per_class.items()
        },
    }


def join_classes(by_class: ByClass) -> Correct:
    """(N,) whether each image was right, class after class."""
    return np.concatenate(list(by_class.values()))


def _delta(old: Correct, new: Correct) -> float:
    return (int(new.sum()) - int(old.sum())) / len(old)


def _pp(fraction: float) -> float:
    # Four decimals of a percentage point: a hundredth of one image in 10,000. The sum
    # turns -0.0 into 0.0.
    return round(100 * fraction, 4) + 0.0


def _interval_pp(old: Correct, new: Correct) -> dict[str, float]:
    interval = difference_interval(old, new)
    return {
        "delta_pp": _pp(_delta(old, new)),
        "low_pp": _pp(interval.low),
        "high_pp": _pp(interval.high),
    }
