"""Summary of a sweep: sufficient calibration images, best settings, file sizes."""

from collections.abc import Callable, Mapping, Sequence
from statistics import fmean, stdev
from typing import Any

from resnet8.compare.chance import is_chance
from resnet8.sweep.enough import (
    Figure,
    accuracy,
    agreement,
    answer,
    common_seeds,
    compare,
    find_enough,
)
from resnet8.sweep.result import Result
from resnet8.sweep.selection import Selection, Setting, note

BASELINE_KEYS = ("n_images", "baseline_accuracy", "baseline_is_chance")
# Figures of a result that vary over draws, as the summary names them.
FIGURES: dict[str, Callable[[Result], float]] = {
    "top1_accuracy": lambda result: result.top1_accuracy,
    "agreement": lambda result: result.agreement,
    "kl_divergence": lambda result: result.kl_divergence,
}
# Columns of the tables that DVC plots.
DRAW_COLUMNS = (
    "variant", "images", "seed", "accuracy_percent", "agreement_percent", "kl_divergence",
)  # fmt: skip
CHOICE_COLUMNS = (
    "variant", "settings", "file_kb", "accuracy_percent", "low_percent", "high_percent",
    "agreement_percent", "kl_divergence", "on_front",
)  # fmt: skip


def summarize(selection: Selection, *, n_runs: int, chance: float) -> dict[str, Any]:
    """Summarizes the finished runs of a grid.

    Args:
        selection: the finished runs of the grid.
        n_runs: number of runs in the grid.
        chance: accuracy of the best constant prediction.

    Returns:
        Content of a JSON file: fractions, `*_pp` in percentage points, `kl_divergence` in
        nats, `file_bytes`; 95% intervals, not corrected for their number.
    """
    settings = sorted(selection.settings, key=lambda x: (x.variant, x.changes, x.images))
    usual = [x for x in settings if not x.changes]
    by_size = [
        [x for x in usual if x.variant == y] for y in dict.fromkeys(x.variant for x in usual)
    ]
    enough = [x for x in map(find_enough, by_size) if x]
    baseline = _describe_baseline(settings, chance)
    return {
        "n_runs": n_runs,
        "n_finished": selection.n_finished,
        "n_earlier": selection.n_earlier,
        "n_other_model": selection.n_other_model,
        "n_other_data": selection.n_other_data,
        "note": note(selection, n_runs=n_runs),
        **baseline,
        "answer": _explain_chance(baseline) if baseline["baseline_is_chance"] else answer(enough),
        "enough": [x._asdict() for x in enough],
        "settings": _describe_settings(settings),
    }


def list_draws(settings: Sequence[Setting]) -> list[tuple[object, ...]]:
    """Lists the draws with the usual settings and any number of images, as `DRAW_COLUMNS`."""
    return [
        (
            setting.variant,
            setting.images,
            seed,
            round(100 * result.top1_accuracy, 4),
            round(100 * result.agreement, 4),
            result.kl_divergence,
        )
        for setting in settings
        if not setting.changes
        for seed, result in sorted(setting.results.items())
    ]


def list_choices(summary: Mapping[str, Any]) -> list[tuple[object, ...]]:
    """Lists all settings of a summary, with means over their draws, as `CHOICE_COLUMNS`."""
    return [
        (
            row["variant"],
            row["description"],
            row["file_bytes"] / 1000,
            *(round(100 * row["top1_accuracy"][end], 4) for end in ("mean", "low", "high")),
            round(100 * row["agreement"]["mean"], 4),
            row["kl_divergence"]["mean"],
            row["on_front"],
        )
        for row in summary["settings"]
    ]


def find_front(points: Sequence[tuple[float, float]]) -> list[bool]:
    """Returns True for each point on the Pareto front of size and accuracy.

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


def _describe_settings(settings: Sequence[Setting]) -> list[dict[str, Any]]:
    defaults = {x.variant: x for x in settings if x.is_default}
    rows: list[dict[str, Any]] = [
        {
            "variant": setting.variant,
            "changes": list(setting.changes),
            "description": ", ".join([*setting.changes, f"{setting.images:,} images"]),
            "images": setting.images,
            "seeds": sorted(setting.results),
            "n_earlier": setting.n_earlier,
            "is_default": setting.is_default,
            "file_bytes": round(fmean(x.file_bytes for x in setting.results.values())),
            **{name: _spread(setting, figure) for name, figure in FIGURES.items()},
            "accuracy_above_default_pp": _above(setting, default, accuracy),
            "agreement_above_default_pp": _above(setting, default, agreement),
        }
        for setting in settings
        for default in [defaults.get(setting.variant)]
    ]
    for runtime in ("onnx", "torch"):  # their files are of different formats
        same = [row for row in rows if row["variant"].startswith(runtime)]
        points = [(row["file_bytes"], row["top1_accuracy"]["mean"]) for row in same]
        for row, on_front in zip(same, find_front(points), strict=True):
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


def _above(setting: Setting, default: Setting | None, figure: Figure) -> dict[str, float] | None:
    """Estimates a figure relative to the default settings, in percentage points."""
    if default is None or setting is default or not common_seeds(setting, default):
        return None
    ends = compare(setting, default, figure)._asdict()
    return {name: round(100 * value, 4) + 0.0 for name, value in ends.items()}


def _describe_baseline(settings: Sequence[Setting], chance: float) -> dict[str, Any]:
    if not settings:
        return dict.fromkeys(BASELINE_KEYS)
    result = next(iter(settings[0].results.values()))
    n_images, right = result.n_images, result.baseline_right
    values = (n_images, right / n_images, is_chance(right, n_images, chance=chance))
    return dict(zip(BASELINE_KEYS, values, strict=True))


def _explain_chance(baseline: Mapping[str, Any]) -> str:
    return (
        f"The baseline is not measurably better than chance (right on "
        f"{100 * baseline['baseline_accuracy']:.2f}% of {baseline['n_images']:,} test images), so "
        "no accuracy says how many calibration images are enough, or which settings are better."
    )
