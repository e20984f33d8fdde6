"""Finds the number of calibration images beyond which more change nothing measurable.

Shape letters: N images.
"""

from collections.abc import Callable, Iterable, Sequence
from itertools import takewhile
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resnet8.core.files import Json
from resnet8.sweep.crossed import Estimate, estimate
from resnet8.sweep.result import Result
from resnet8.sweep.selection import Setting

Figure = Callable[[Result], NDArray[Any]]


def accuracy(result: Result) -> NDArray[np.int8]:
    """(N,) accuracy minus the baseline's: 1 for an image won, -1 for one lost, else 0."""
    values = np.zeros(result.n_images, np.int8)
    values[result.won] = 1
    values[result.lost] = -1
    return values


def agreement(result: Result) -> NDArray[np.int8]:
    """(N,) agreement with the baseline minus 1: 0 for the same predicted class, else -1."""
    values = np.zeros(result.n_images, np.int8)
    values[[*result.won, *result.lost, *result.other]] = -1
    return values


def divergence(result: Result) -> NDArray[np.float64]:
    """(1,) KL divergence in nats."""
    return np.array([result.kl_divergence])


def common_seeds(new: Setting, old: Setting) -> list[int]:
    """Returns the seeds that both settings were measured with."""
    return sorted(set(new.results) & set(old.results))


def compare(new: Setting, old: Setting, figure: Figure) -> Estimate:
    """Estimates how much larger a figure of `new` is, image by image and draw by draw."""
    seeds = common_seeds(new, old)
    return estimate(np.stack([figure(new.results[x]) - figure(old.results[x]) for x in seeds]))


def find_enough(settings: Iterable[Setting]) -> dict[str, Any] | None:
    """Finds the number of images beyond which no result differs measurably from the largest one's.

    Args:
        settings: of one variant, with the usual settings except for the number of images.

    Returns:
        A row of metrics/sweep.json; None if there is nothing to compare. `images` is the number
        for accuracy and agreement, None if the last step still changes one; `*_room_pp` the
        largest distance from zero of their intervals from there on, in percentage points: a
        change that might have gone unnoticed. `divergence_images` is the number for KL divergence,
        which is more sensitive.
    """
    *smaller, largest = sorted(settings, key=lambda x: x.images)
    smaller = [x for x in reversed(smaller) if common_seeds(x, largest)]
    if not smaller:
        return None

    def settled(*figures: Figure) -> list[tuple[int, list[Estimate]]]:
        """Returns the numbers of images, largest first, that show no difference in any figure."""
        rows = [(x.images, [compare(largest, x, figure) for figure in figures]) for x in smaller]
        return list(takewhile(lambda row: not any(x.differs for x in row[1]), rows))

    same, finest = settled(accuracy, agreement), settled(divergence)
    return {
        "variant": largest.variant,
        "largest": largest.images,
        "seeds": min(len(common_seeds(x, largest)) for x in smaller),
        "images": same[-1][0] if same else None,
        "accuracy_room_pp": _room_pp([estimates[0] for _, estimates in same]),
        "agreement_room_pp": _room_pp([estimates[1] for _, estimates in same]),
        "divergence_images": finest[-1][0] if finest else None,
    }


def _room_pp(estimates: Sequence[Estimate]) -> float | None:
    """Returns the largest distance of an interval from zero, in percentage points."""
    ends = [end for x in estimates for end in (-x.low, x.high)]
    return round(100 * max(ends), 4) if ends else None


def answer(enough: Sequence[Json]) -> str | None:
    """Returns a sentence on the number of images that is enough; None without a comparison."""
    if not enough:
        return None
    largest, seeds = (min(row[name] for row in enough) for name in ("largest", "seeds"))
    basis = f"95%, {seeds} draw{'s' if seeds > 1 else ''}"
    if unsettled := [row["variant"] for row in enough if row["images"] is None]:
        return (
            f"More calibration still changes something measurable at {largest:,} images "
            f"({', '.join(unsettled)}; {basis}): add a larger calibrate.size to the grid."
        )
    images, accuracy_pp, agreement_pp = (
        max(row[name] for row in enough)
        for name in ("images", "accuracy_room_pp", "agreement_room_pp")
    )
    finest = [row["divergence_images"] for row in enough]
    settles = f"still changes at {largest:,}."
    if all(finest):
        settles = f"settles from {max(finest):,} images on."
    return (
        f"Beyond {images:,} images more calibration changes nothing measurable: up to {largest:,} "
        f"images accuracy moves by at most {accuracy_pp:.2f} percentage points and agreement with "
        f"the baseline by at most {agreement_pp:.2f} ({basis}). KL divergence, the finest measure, "
        f"{settles}"
    )
