"""Paired statistics of two variants on the same images.

Shape letters: N images, K classes.
"""

from collections.abc import Mapping, Sequence
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtr

from resnet8.core.digits import (
    round_divergence,
    round_divergence_share,
    round_probability_difference,
)
from resnet8.core.evaluation import Probabilities

CONFIDENCE = 0.95
PROBABILITY_FLOOR = 1e-7  # smaller probabilities are raised to it, so that KL stays finite
TOP_IMAGES = 10  # number of images in `top_share`

Correct = NDArray[np.bool_]  # whether the prediction for each image is right
ByClass = Mapping[str, Correct]  # by class, (N of the class,) each
Divergences = NDArray[np.float64]  # (N,) in nats
Interval = tuple[float, float]  # both ends


def wilson_interval(right: int, n: int) -> Interval:
    """95% confidence interval of a fraction, estimated by `right` out of `n`.

    Source: E. B. Wilson (1927), Probable inference, the law of succession, and statistical
    inference, Journal of the American Statistical Association 22, 209-212.
    """
    z = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)
    share = right / n
    middle = (2 * right + z**2) / (2 * (n + z**2))
    reach = z * (4 * n * share * (1 - share) + z**2) ** 0.5 / (2 * (n + z**2))
    return middle - reach if right else 0.0, middle + reach if right < n else 1.0


def difference_interval(baseline: Correct, variant: Correct) -> Interval:
    """95% confidence interval of the accuracy difference, variant minus baseline, as fractions.

    Newcombe's score interval for paired proportions joins the Wilson intervals of both accuracies
    with their correlation. Unlike the normal approximation, it keeps its coverage when few or no
    images change sides.

    Source: R. G. Newcombe (1998), Improved confidence intervals for the difference between
    binomial proportions based on paired data, Statistics in Medicine 17, 2635-2650, method 10.
    """
    n = len(baseline)
    lost, won = count_changes(baseline, variant)
    both = int(np.sum(baseline & variant))
    neither = n - both - lost - won

    old, new = both + lost, both + won  # right predictions
    old_ends, new_ends = wilson_interval(old, n), wilson_interval(new, n)
    old_low, old_high = old / n - old_ends[0], old_ends[1] - old / n  # distances to the ends
    new_low, new_high = new / n - new_ends[0], new_ends[1] - new / n

    spread = old * (n - old) * new * (n - new)
    association = float(both * neither - lost * won)
    if association > 0:
        association = max(association - n / 2, 0.0)  # Newcombe's continuity correction
    phi = association / spread**0.5 if spread else 0.0

    delta = (won - lost) / n
    below = new_low**2 - 2 * phi * new_low * old_high + old_high**2
    above = new_high**2 - 2 * phi * new_high * old_low + old_low**2
    return delta - max(below, 0.0) ** 0.5, delta + max(above, 0.0) ** 0.5


def count_changes(baseline: Correct, variant: Correct) -> tuple[int, int]:
    """Numbers of images lost (right in the baseline only) and won (right in the variant only)."""
    return int(np.sum(baseline & ~variant)), int(np.sum(~baseline & variant))


def mcnemar_p(baseline: Correct, variant: Correct) -> float:
    """Two-sided p-value of McNemar's exact test that both are right equally often.

    Source: Q. McNemar (1947), Psychometrika 12, 153-157, in its exact binomial form.
    """
    lost, won = count_changes(baseline, variant)
    return min(2 * float(bdtr(min(lost, won), lost + won, 0.5)), 1.0)


def correct_p_values(p_values: Sequence[float]) -> list[float]:
    """Corrects the p-values of tests that are made together, by Holm's method.

    Source: S. Holm (1979), A simple sequentially rejective multiple test procedure,
    Scandinavian Journal of Statistics 6, 65-70.
    """
    order = np.argsort(p_values, kind="stable")
    factors = np.arange(len(p_values), 0, -1)
    corrected = np.empty(len(p_values))
    corrected[order] = np.maximum.accumulate(factors * np.asarray(p_values)[order]).clip(max=1)
    return [float(p) for p in corrected]


def kl_by_image(baseline: Probabilities, variant: Probabilities) -> Divergences:
    """(N,) Kullback-Leibler divergences of `variant` from `baseline`, both (N, K), in nats."""
    p, q = (np.maximum(x.astype(np.float64), PROBABILITY_FLOOR) for x in (baseline, variant))
    p, q = (x / x.sum(axis=1, keepdims=True) for x in (p, q))
    divergences: Divergences = np.sum(p * np.log(p / q), axis=1)
    return divergences


def kl_divergence(baseline: Probabilities, variant: Probabilities) -> float:
    """Mean Kullback-Leibler divergence of `variant` from `baseline`, both (N, K), in nats."""
    return float(kl_by_image(baseline, variant).mean())


def top_share(values: Divergences) -> float | None:
    """Share of the `TOP_IMAGES` largest of (N,) values in their sum; None if the sum is zero."""
    total = float(values.sum())
    return float(np.sort(values)[-TOP_IMAGES:].sum()) / total if total else None


def compare(
    baseline: Probabilities,
    variant: Probabilities,
    labels: NDArray[np.int64],
    *,
    label_names: Sequence[str],
) -> dict[str, Any]:
    """Compares the predictions of a variant, (N, K), with those of the baseline.

    Returns:
        The entries of `compare_correct`; the share of images with the same top-1 class; the mean
        KL divergence in nats, its standard error over the images (None for one image) and the
        share of the ten largest divergences in their sum (None if it is near zero).
    """
    old, new = baseline.argmax(axis=1), variant.argmax(axis=1)
    right_before = split_by_class(old == labels, labels, label_names)
    right_now = split_by_class(new == labels, labels, label_names)
    divergences = kl_by_image(baseline, variant)
    n, kl = len(labels), float(divergences.mean())
    largest = float(np.max(np.abs(baseline - variant)))
    return {
        **compare_correct(right_before, right_now),
        "agreement": float(np.mean(old == new)),
        "kl_divergence": round_divergence(kl),
        "kl_standard_error": (
            round_divergence(float(divergences.std(ddof=1)) / n**0.5) if n > 1 else None
        ),
        "kl_top10_share": round_divergence_share(top_share(divergences), kl=kl),
        "max_abs_probability_diff": round_probability_difference(largest),
    }


def compare_correct(baseline: ByClass, variant: ByClass) -> dict[str, Any]:
    """Compares the right predictions of a variant with those of the baseline.

    Returns:
        Accuracies as fractions; deltas and ends of intervals (`*_pp`) in percentage points,
        variant minus baseline; numbers of images lost (right in the baseline only) and won.
    """
    old, new = join_classes(baseline), join_classes({name: variant[name] for name in baseline})
    delta, low, high = _difference_pp(old, new)
    lost, won = count_changes(old, new)
    per_class = {name: _difference_pp(x, variant[name]) for name, x in baseline.items()}
    return {
        "top1_accuracy": float(new.mean()),
        "accuracy_delta_pp": delta,
        "ci95_low_pp": low,
        "ci95_high_pp": high,
        "mcnemar_p": float(f"{mcnemar_p(old, new):.6g}"),
        "images_lost": lost,
        "images_won": won,
        "per_class_delta_pp": {name: row[0] for name, row in per_class.items()},
        "per_class_ci95_pp": {name: list(row[1:]) for name, row in per_class.items()},
    }


def split_by_class(
    correct: Correct, labels: NDArray[np.int64], label_names: Sequence[str]
) -> dict[str, Correct]:
    """Splits (N,) values by the K classes, without classes that have no images."""
    split = {name: correct[labels == k] for k, name in enumerate(label_names)}
    return {name: values for name, values in split.items() if len(values)}


def join_classes(by_class: ByClass) -> Correct:
    """Joins the values of all classes to (N,) values, class after class."""
    return np.concatenate(list(by_class.values()))


def _difference_pp(old: Correct, new: Correct) -> tuple[float, float, float]:
    """The accuracy difference and its interval in percentage points, with four decimals."""
    lost, won = count_changes(old, new)
    low, high = difference_interval(old, new)
    # Adding 0.0 turns -0.0 into 0.0.
    delta, low, high = (round(100 * x, 4) + 0.0 for x in ((won - lost) / len(old), low, high))
    return delta, low, high
