"""What a sweep says: how many images are enough, which settings are best, at what size of file."""

from collections.abc import Callable, Iterable, Sequence
from statistics import fmean
from typing import Any, NamedTuple

from resnet8.common.grid import Run, Settings
from resnet8.sweeping.crossed import Estimate
from resnet8.sweeping.result import Result
from resnet8.sweeping.settings import (
    Setting,
    common_seeds,
    compare_accuracy,
    compare_agreement,
    group,
    spread,
)

CONFIDENCE = 0.95
# Figures of a result that vary over draws, as the summary names them.
FIGURES: dict[str, Callable[[Result], float]] = {
    "top1_accuracy": lambda result: result.top1_accuracy,
    "agreement": lambda result: result.agreement,
    "kl_divergence": lambda result: result.kl_divergence,
}


class Enough(NamedTuple):
    """From how many calibration images on more of them change nothing measurable.

    variant: of which.
    images: the number, None where the grid's largest still changes something.
    largest: number of images that smaller ones are compared with.
    seeds: draws of each.
    room_pp: the furthest ends, in percentage points, of the intervals of accuracy and agreement
        from `images` on: what would not have been noticed.
    """

    variant: str
    images: int | None
    largest: int
    seeds: int
    room_pp: float | None


def summarize(
    rows: Iterable[tuple[Run, Result]], usual: Settings, *, n_runs: int
) -> dict[str, Any]:
    """Sums up the finished runs of a grid.

    Args:
        rows: runs and results.
        usual: the settings of the pipeline, with which others are compared.
        n_runs: that the grid has.

    Returns:
        What goes into a JSON file: fractions, `*_pp` in percentage points, `kl_divergence` in
        nats, `file_bytes`; intervals of comparisons hold for all settings of a variant together.
    """
    rows = list(rows)
    settings = sorted(group(rows, usual), key=lambda x: (x.variant, x.changes, x.images))
    enough = [x for x in map(find_enough, _by_size(settings)) if x]
    return {
        "n_runs": n_runs,
        "n_finished": len(rows),
        "n_images": rows[0][1].n_images if rows else None,
        "baseline_accuracy": _baseline_accuracy(rows[0][1]) if rows else None,
        "answer": answer(enough),
        "enough": [x._asdict() for x in enough],
        "settings": _describe_settings(settings, usual),
    }


def answer(enough: Sequence[Enough]) -> str | None:
    """The sentence that says how many images are enough; None where no run tells."""
    if not enough:
        return None
    largest, seeds = min(x.largest for x in enough), min(x.seeds for x in enough)
    basis = f"95%, {seeds} draw{'s' if seeds > 1 else ''}"
    found = [x.images for x in enough]
    if None in found:
        still = ", ".join(x.variant for x in enough if x.images is None)
        return (
            f"More calibration still changes something measurable at {largest:,} images "
            f"({still}; {basis}): add a larger calibrate.size to the grid."
        )
    room = max(x.room_pp or 0.0 for x in enough)
    return (
        f"Beyond {max(x for x in found if x):,} images more calibration changes nothing "
        f"measurable: up to {largest:,} images, neither accuracy nor agreement with the baseline "
        f"moves by more than {room:.2f} percentage points ({basis})."
    )


def find_enough(settings: Sequence[Setting]) -> Enough | None:
    """Compares each number of images with the largest.

    Args:
        settings: of one variant, with the usual settings but for the number of images.

    Returns:
        The smallest number from which on no comparison shows a difference; None where there is
        nothing to compare.
    """
    *smaller, largest = sorted(settings, key=lambda x: x.images)
    smaller = [x for x in smaller if common_seeds(x, largest)]
    if not smaller:
        return None
    images, room = None, 0.0
    for setting in reversed(smaller):
        found = [
            compare(largest, setting, confidence=CONFIDENCE)
            for compare in (compare_accuracy, compare_agreement)
        ]
        if any(x.differs for x in found):
            break
        images = setting.images
        room = max(room, *(abs(end) for x in found for end in (x.low, x.high)))
    n_seeds = min(len(common_seeds(x, largest)) for x in smaller)
    known = round(100 * room, 4) if images else None
    return Enough(largest.variant, images, largest.images, n_seeds, known)


def find_front(points: Sequence[tuple[float, float]]) -> list[bool]:
    """Which points no other beats: none is as small and as accurate, and better in one.

    Args:
        points: (size, accuracy) of each.
    """
    return [
        not any(
            other[0] <= size and other[1] >= accuracy and other != (size, accuracy)
            for other in points
        )
        for size, accuracy in points
    ]


def _by_size(settings: Sequence[Setting]) -> list[list[Setting]]:
    """The usual settings with different numbers of images, by variant."""
    usual = [x for x in settings if not x.changes]
    variants = dict.fromkeys(x.variant for x in usual)
    return [[x for x in usual if x.variant == variant] for variant in variants]


def _describe_settings(settings: Sequence[Setting], usual: Settings) -> list[dict[str, Any]]:
    points = [
        (fmean(x.file_bytes for x in setting.results.values()), _mean_accuracy(setting))
        for setting in settings
    ]
    defaults = {
        x.variant: x for x in settings if not x.changes and x.images == usual.calibrate.size
    }
    return [
        {
            "variant": setting.variant,
            "changes": list(setting.changes),
            "description": ", ".join([*setting.changes, f"{setting.images:,} images"]),
            "images": setting.images,
            "seeds": sorted(setting.results),
            "is_default": defaults.get(setting.variant) is setting,
            "file_bytes": round(size),
            "on_front": on_front,
            **{name: _spread(setting, figure) for name, figure in FIGURES.items()},
            **_against(setting, defaults.get(setting.variant), settings),
        }
        for setting, (size, _), on_front in zip(settings, points, find_front(points), strict=True)
    ]


def _mean_accuracy(setting: Setting) -> float:
    return fmean(x.top1_accuracy for x in setting.results.values())


def _spread(setting: Setting, figure: Callable[[Result], float]) -> dict[str, float | None]:
    found = spread([figure(result) for _, result in sorted(setting.results.items())])
    return {
        name: None if value is None else round(value, 8) for name, value in found._asdict().items()
    }


def _against(
    setting: Setting, default: Setting | None, settings: Sequence[Setting]
) -> dict[str, Any]:
    """Accuracy and agreement above the default's, with intervals for all settings together.

    Source: the Bonferroni correction, C. E. Bonferroni (1936), Teoria statistica delle classi e
    calcolo delle probabilita.
    """
    if default is None or setting is default or not common_seeds(setting, default):
        return {"accuracy_above_default_pp": None, "agreement_above_default_pp": None}
    n_others = sum(x.variant == setting.variant for x in settings) - 1
    confidence = 1 - (1 - CONFIDENCE) / n_others
    return {
        "accuracy_above_default_pp": _pp(compare_accuracy(setting, default, confidence=confidence)),
        "agreement_above_default_pp": _pp(
            compare_agreement(setting, default, confidence=confidence)
        ),
    }


def _pp(found: Estimate) -> dict[str, float]:
    return {name: round(100 * value, 4) + 0.0 for name, value in found._asdict().items()}


def _baseline_accuracy(result: Result) -> float:
    right = round(result.top1_accuracy * result.n_images) + len(result.lost) - len(result.won)
    return right / result.n_images
