"""Summary of a sweep: sufficient calibration images, best settings, file sizes."""

from collections.abc import Callable, Mapping, Sequence
from itertools import takewhile
from statistics import fmean, stdev
from typing import Any, NamedTuple

from resnet8.compare.chance import is_chance
from resnet8.core.grid import Settings
from resnet8.sweep.crossed import Estimate
from resnet8.sweep.result import Result
from resnet8.sweep.selection import Selection, note
from resnet8.sweep.settings import (
    Setting,
    common_seeds,
    compare_accuracy,
    compare_agreement,
    compare_divergence,
    group,
)

CONFIDENCE = 0.95
BASELINE_KEYS = ("n_images", "baseline_accuracy", "baseline_is_chance")
# Figures of a result that vary over draws, as the summary names them.
FIGURES: dict[str, Callable[[Result], float]] = {
    "top1_accuracy": lambda result: result.top1_accuracy,
    "agreement": lambda result: result.agreement,
    "kl_divergence": lambda result: result.kl_divergence,
}


class Enough(NamedTuple):
    """Smallest number of calibration images beyond which more change nothing measurable.

    variant: the quantized variant.
    largest: the number of images with which smaller numbers are compared.
    seeds: number of draws compared.
    images: the number for accuracy and agreement, None where the last step still changes one.
    accuracy_room_pp, agreement_room_pp: the furthest end, in percentage points, of the intervals
        from `images` on: a change that might not have been noticed.
    divergence_images: the number for KL divergence, which notices more.
    """

    variant: str
    largest: int
    seeds: int
    images: int | None
    accuracy_room_pp: float | None
    agreement_room_pp: float | None
    divergence_images: int | None


def summarize(
    selection: Selection, usual: Settings, *, n_runs: int, chance: float
) -> dict[str, Any]:
    """Summarizes the finished runs of a grid.

    Args:
        selection: the finished runs of the grid.
        usual: the settings of the pipeline, the default of each comparison.
        n_runs: number of runs in the grid.
        chance: accuracy of the best constant prediction.

    Returns:
        Content of a JSON file: fractions, `*_pp` in percentage points, `kl_divergence` in
        nats, `file_bytes`; 95% intervals, not corrected for their number.
    """
    rows = selection.rows
    settings = sorted(group(rows, usual), key=lambda x: (x.variant, x.changes, x.images))
    enough = [x for x in map(find_enough, _by_size(settings)) if x]
    n_earlier = sum(row.is_earlier for row in rows)
    baseline = _describe_baseline(rows[0].result, chance) if rows else dict.fromkeys(BASELINE_KEYS)
    return {
        "n_runs": n_runs,
        "n_finished": len(rows),
        "n_earlier": n_earlier,
        "n_other_model": selection.n_other_model,
        "n_other_data": selection.n_other_data,
        "note": note(selection, n_runs=n_runs),
        **baseline,
        "answer": _explain_chance(baseline) if baseline["baseline_is_chance"] else answer(enough),
        "enough": [x._asdict() for x in enough],
        "settings": _describe_settings(settings, usual),
    }


def answer(enough: Sequence[Enough]) -> str | None:
    """Returns a sentence on how many images are enough; None without a comparison."""
    if not enough:
        return None
    largest, seeds = min(x.largest for x in enough), min(x.seeds for x in enough)
    basis = f"95%, {seeds} draw{'s' if seeds > 1 else ''}"
    found = [x.images for x in enough if x.images is not None]
    if len(found) < len(enough):
        still = ", ".join(x.variant for x in enough if x.images is None)
        return (
            f"More calibration still changes something measurable at {largest:,} images "
            f"({still}; {basis}): add a larger calibrate.size to the grid."
        )
    accuracy = max(x.accuracy_room_pp or 0.0 for x in enough)
    agreement = max(x.agreement_room_pp or 0.0 for x in enough)
    settled = [x.divergence_images for x in enough if x.divergence_images is not None]
    finest = (
        f"settles from {max(settled):,} images on"
        if len(settled) == len(enough)
        else f"still changes at {largest:,}"
    )
    return (
        f"Beyond {max(found):,} images more calibration changes nothing measurable: up to "
        f"{largest:,} images accuracy moves by at most {accuracy:.2f} percentage points and "
        f"agreement with the baseline by at most {agreement:.2f} ({basis}). KL divergence, the "
        f"finest measure, {finest}."
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
    counted = (compare_accuracy, compare_agreement)
    same = _same_as(largest, smaller, counted)
    images = min((x.images for x in same), default=None)
    rooms = [
        round(max(100 * _furthest(compare(largest, x, confidence=CONFIDENCE)) for x in same), 4)
        if same
        else None
        for compare in counted
    ]
    divergence = _same_as(largest, smaller, (compare_divergence,))
    return Enough(
        variant=largest.variant,
        largest=largest.images,
        seeds=min(len(common_seeds(x, largest)) for x in smaller),
        images=images,
        accuracy_room_pp=rooms[0],
        agreement_room_pp=rooms[1],
        divergence_images=min((x.images for x in divergence), default=None),
    )


def _same_as(
    largest: Setting, smaller: Sequence[Setting], comparisons: Sequence[Callable[..., Estimate]]
) -> list[Setting]:
    """Returns the settings, from the most images down, until one differs from `largest`."""

    def differs(x: Setting) -> bool:
        return any(compare(largest, x, confidence=CONFIDENCE).differs for compare in comparisons)

    return list(takewhile(lambda x: not differs(x), reversed(smaller)))


def _furthest(found: Estimate) -> float:
    return max(abs(found.low), abs(found.high))


def find_front(points: Sequence[tuple[float, float]]) -> list[bool]:
    """Returns whether each point is on the Pareto front of size and accuracy.

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
    """Groups the usual settings by variant; they differ in their number of images."""
    usual = [x for x in settings if not x.changes]
    variants = dict.fromkeys(x.variant for x in usual)
    return [[x for x in usual if x.variant == variant] for variant in variants]


def _describe_settings(settings: Sequence[Setting], usual: Settings) -> list[dict[str, Any]]:
    defaults = {
        x.variant: x for x in settings if not x.changes and x.images == usual.calibrate.size
    }
    rows = [
        {
            "variant": setting.variant,
            "changes": list(setting.changes),
            "description": ", ".join([*setting.changes, f"{setting.images:,} images"]),
            "images": setting.images,
            "seeds": sorted(setting.results),
            "n_earlier": setting.n_earlier,
            "is_default": defaults.get(setting.variant) is setting,
            "file_bytes": round(fmean(x.file_bytes for x in setting.results.values())),
            **{name: _spread(setting, figure) for name, figure in FIGURES.items()},
            **_against(setting, defaults.get(setting.variant)),
        }
        for setting in settings
    ]
    for runtime in ("onnx", "torch"):  # their files are of different formats
        own = [row for row in rows if row["variant"].startswith(runtime)]
        points = [(row["file_bytes"], row["top1_accuracy"]["mean"]) for row in own]
        for row, on_front in zip(own, find_front(points), strict=True):
            row["on_front"] = on_front
    return rows


def _spread(setting: Setting, figure: Callable[[Result], float]) -> dict[str, float | None]:
    """Returns mean, standard deviation, minimum and maximum over the draws."""
    values = [figure(result) for _, result in sorted(setting.results.items())]
    return {
        "mean": round(fmean(values), 8),
        "deviation": round(stdev(values), 8) if len(values) > 1 else None,
        "low": round(min(values), 8),
        "high": round(max(values), 8),
    }


def _against(setting: Setting, default: Setting | None) -> dict[str, Any]:
    """Estimates accuracy and agreement relative to the default settings."""
    if default is None or setting is default or not common_seeds(setting, default):
        return {"accuracy_above_default_pp": None, "agreement_above_default_pp": None}
    return {
        "accuracy_above_default_pp": _pp(compare_accuracy(setting, default, confidence=CONFIDENCE)),
        "agreement_above_default_pp": _pp(
            compare_agreement(setting, default, confidence=CONFIDENCE)
        ),
    }


def _pp(found: Estimate) -> dict[str, float]:
    return {name: round(100 * value, 4) + 0.0 for name, value in found._asdict().items()}


def _describe_baseline(result: Result, chance: float) -> dict[str, Any]:
    n_images, right = result.n_images, result.baseline_right
    found = (n_images, right / n_images, is_chance(right, n_images, chance=chance))
    return dict(zip(BASELINE_KEYS, found, strict=True))


def _explain_chance(baseline: Mapping[str, Any]) -> str:
    return (
        f"The baseline is not measurably better than chance (right on "
        f"{100 * baseline['baseline_accuracy']:.2f}% of {baseline['n_images']:,} test images), so "
        "no accuracy says how many calibration images are enough, or which settings are better."
    )
