"""Digits of the figures that are written: none that the CPU decides.

Float runtimes add in their own order, so their results differ from each other by noise. Written
are the digits that are far above it, or a bound.
"""

import math

NOISE = 1e-5  # what float32 results differ by, at most, as a share of the largest value
_KL_DECIMALS = 6
_SHARE_DECIMALS = 3
_DIFFERENCE_DECIMALS = 4


def upper_bound(difference: float, *, largest: float = 1.0) -> float:
    """Returns a bound of a difference: a power of ten, at least `NOISE`, as a share of `largest`.

    Args:
        difference: at least 0.
        largest: of the values that differ.

    Returns:
        The bound, rounded up to one digit; 0 where there is no difference.
    """
    if not difference:
        return 0.0
    largest = largest or 1.0
    share = math.ceil(math.log10(max(difference / largest, NOISE)) - 1e-9)
    bound = largest * 10.0**share
    digit = math.floor(math.log10(bound) + 1e-9)
    return float(f"{math.ceil(bound / 10.0**digit - 1e-9)}e{digit}")


def probability_difference(difference: float) -> float:
    """A difference between probabilities: four decimals, or a bound where it is below 0.001."""
    large = difference >= 10 * 10**-_DIFFERENCE_DECIMALS
    return round(difference, _DIFFERENCE_DECIMALS) if large else upper_bound(difference)


def divergence(kl: float) -> float:
    """A KL divergence in nats: six decimals."""
    return round(kl, _KL_DECIMALS) + 0.0  # no -0.0


def divergence_share(share: float | None, *, kl: float) -> float | None:
    """A share of a KL divergence: three decimals, where noise is far below the divergence.

    Args:
        share: some images' part of the sum over all images.
        kl: the divergence in nats; below ten units of its last decimal, noise of the runtimes
            decides which images have the largest part, and there is no share.
    """
    large = kl >= 10 * 10**-_KL_DECIMALS
    return round(share, _SHARE_DECIMALS) if share is not None and large else None


def significant(number: float | None, digits: int) -> float | None:
    """A number with so many significant digits."""
    return None if number is None else float(f"{number:.{digits}g}")
