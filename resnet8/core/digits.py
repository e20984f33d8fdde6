"""Rounds figures to digits that do not depend on the CPU.

Float runtimes sum in different orders, so their results differ by noise. Figures keep the digits
far above this noise; smaller figures are replaced by a bound.
"""

import math

NOISE = 1e-5  # largest difference of float32 results, as a share of the largest value


def upper_bound(difference: float, *, largest: float = 1.0) -> float:
    """Returns an upper bound of a difference, rounded up to one digit; 0 if there is none.

    Before rounding, the bound is `largest`, the largest of the compared values, times a power of
    ten that is at least `NOISE`.
    """
    if not difference:
        return 0.0
    if not largest:
        largest = 1.0
    # 1e-9 keeps rounding errors from moving a whole number to its neighbour.
    power = math.ceil(math.log10(max(difference / largest, NOISE)) - 1e-9)
    bound = largest * 10.0**power
    place = math.floor(math.log10(bound) + 1e-9)
    return float(f"{math.ceil(bound / 10.0**place - 1e-9)}e{place}")


def round_probability_difference(difference: float) -> float:
    """Rounds a difference of probabilities to four decimals; below 0.001, returns a bound."""
    return round(difference, 4) if difference >= 0.001 else upper_bound(difference)


def round_divergence(kl: float) -> float:
    """Rounds a KL divergence in nats to six decimals."""
    return round(kl, 6) + 0.0  # no -0.0


def round_divergence_share(share: float | None, *, kl: float) -> float | None:
    """Rounds some images' share of a KL divergence in nats to three decimals.

    It is None below ten units of the divergence's last decimal, where noise decides which images
    contribute most.
    """
    return None if share is None or kl < 1e-5 else round(share, 3)


def significant(number: float | None, digits: int) -> float | None:
    """Rounds a number to significant digits."""
    return None if number is None else float(f"{number:.{digits}g}")
