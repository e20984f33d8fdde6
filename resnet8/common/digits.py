"""How many digits of a figure are written: none that the CPU decides.

Float runtimes add in their own order, so their results differ from each other by noise. Written
are the digits that are far above it, or a bound.
"""

import math

NOISE = 1e-5  # what float32 results differ by, at most, as a share of the largest value
_KL_DECIMALS = 6
_DIFFERENCE_DECIMALS = 4


def upper_bound(difference: float, *, floor: float = NOISE) -> float:
    """A power of ten that a difference does not exceed, at least `floor`; 0 where there is none."""
    if not difference:
        return 0.0
    return float(f"1e{math.ceil(math.log10(max(difference, floor)) - 1e-9)}")


def probability_difference(difference: float) -> float:
    """A difference between probabilities: four decimals, or a bound where it is below 0.001."""
    large = difference >= 10 * 10**-_DIFFERENCE_DECIMALS
    return round(difference, _DIFFERENCE_DECIMALS) if large else upper_bound(difference)


def divergence(kl: float) -> float:
    """A KL divergence in nats: six decimals."""
    return round(kl, _KL_DECIMALS) + 0.0  # no -0.0


def significant(number: float | None, digits: int) -> float | None:
    """A number with so many significant digits."""
    return None if number is None else float(f"{number:.{digits}g}")
