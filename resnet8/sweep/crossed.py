"""Uncertainty of means over images and over draws of calibration images; both are samples.

Shape letters: S draws (seeds), N images.
"""

import math
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

CONFIDENCE = 0.95
Values = NDArray[np.int8] | NDArray[np.float64]


class Estimate(NamedTuple):
    """A mean with both ends of its 95% interval."""

    mean: float
    low: float
    high: float

    @property
    def differs(self) -> bool:
        """True if zero is outside the interval."""
        return not self.low <= 0 <= self.high


def variances(values: Values) -> tuple[float, float]:
    """Variances of the mean of (S, N) values that come from the images and from the draws.

    Each is the variance of the means of images or draws; the interaction is counted in both. A
    single image or draw adds none.

    Source: A. B. Owen (2007), The pigeonhole bootstrap, Annals of Applied Statistics 1, 386-411,
    on the variance of means over two crossed samples.
    """

    def of_mean(sample: NDArray[np.float64]) -> float:
        return float(sample.var(ddof=1)) / len(sample) if len(sample) > 1 else 0.0

    return of_mean(values.mean(axis=0)), of_mean(values.mean(axis=1))


def estimate(values: Values) -> Estimate:
    """Estimates the mean of (S, N) values, or of (S, 1) values that draws have as a whole.

    The interval adds both parts of `variances`, so it is too wide rather than too narrow. The
    few draws take Student's quantile. With one draw, it is about images alone, and of a single
    value it is infinite.
    """
    n_draws, mean, tail = len(values), float(values.mean()), (1 + CONFIDENCE) / 2
    of_images, of_draws = variances(values)
    squared = NormalDist().inv_cdf(tail) ** 2 * of_images
    if n_draws > 1:
        squared += float(stdtrit(n_draws - 1, tail)) ** 2 * of_draws
    reach = squared**0.5 if values.size > 1 else math.inf
    return Estimate(mean, mean - reach, mean + reach)
