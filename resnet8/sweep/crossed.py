"""Uncertainty of means over images and over draws of calibration images, both a sample.

Shape letters: S draws (seeds), N images.
"""

import math
from collections.abc import Sequence
from statistics import NormalDist, fmean, variance
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit


class Estimate(NamedTuple):
    """A mean with both ends of its interval."""

    mean: float
    low: float
    high: float

    @property
    def differs(self) -> bool:
        """Whether zero is outside."""
        return not self.low <= 0 <= self.high


def variances(values: NDArray[np.int8] | NDArray[np.float64]) -> tuple[float, float]:
    """Variances that the mean of (S, N) values has from its images and from its draws.

    Images and draws each add the variance of their own means; what belongs to neither alone is
    counted in both. A single draw adds none.

    Source: A. B. Owen (2007), The pigeonhole bootstrap, Annals of Applied Statistics 1, 386-411,
    on the variance of means over two crossed samples.
    """
    n_draws, n_images = values.shape
    of_images = float(values.mean(axis=0).var(ddof=1)) / n_images
    of_draws = float(values.mean(axis=1).var(ddof=1)) / n_draws if n_draws > 1 else 0.0
    return of_images, of_draws


def estimate(values: NDArray[np.int8], *, confidence: float) -> Estimate:
    """The mean of what each image gave with each draw.

    Both parts of `variances` are counted, so that the interval is rather too wide. Draws are few,
    so their part takes Student's quantile. With one draw the interval is about images alone.

    Args:
        values: (S, N), such as 1 for an image won against another setting and -1 for one lost.
        confidence: of the interval.
    """
    n_draws = len(values)
    tail = (1 + confidence) / 2
    of_images, of_draws = variances(values)
    squared = NormalDist().inv_cdf(tail) ** 2 * of_images
    if n_draws > 1:
        squared += float(stdtrit(n_draws - 1, tail)) ** 2 * of_draws
    mean, reach = float(values.mean()), squared**0.5
    return Estimate(mean, mean - reach, mean + reach)


def estimate_mean(values: Sequence[float], confidence: float) -> Estimate:
    """The mean of one value for each draw, with Student's interval: endless for a single draw."""
    n_draws, mean = len(values), fmean(values)
    if n_draws < 2:
        return Estimate(mean, -math.inf, math.inf)
    quantile = float(stdtrit(n_draws - 1, (1 + confidence) / 2))
    reach = quantile * (variance(values) / n_draws) ** 0.5
    return Estimate(mean, mean - reach, mean + reach)
