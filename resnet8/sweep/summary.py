"""Summary of a sweep: sufficient calibration images, best settings, file sizes."""

from collections.abc import Mapping, Sequence
from statistics import fmean, stdev
from typing import Any

from resnet8.compare.chance import is_chance
from resnet8.core.files import Json
from resnet8.core.variants import Variant
from resnet8.sweep.enough import (
    Figure,
    accuracy,
    agreement,
    answer,
    common_seeds,
    compare,
    find_enough,
)
from resnet8.sweep.selection import Selection, Setting

# Figures of a result that vary over draws.
FIGURES = ("top1_accuracy", "agreement", "kl_divergence")
# Columns of the tables that DVC plots.
DRAW_COLUMNS = (
    "variant", "images", "seed", "accuracy_percent", "agreement_percent", "kl_divergence",
)  # fmt: skip
CHOICE_COLUMNS = (
    "variant", "settings", "file_kb", "accuracy_percent", "low_percent", "high_percent",
    "agreement_percent", "kl_divergence", "on_front",
)  # fmt: skip


def summarize(selection: Selection, *, n_runs: int, chance: float) -> dict[str, Any]:
    """Summarizes the finished runs of a grid of `n_runs`.

    `chance` is the accuracy of the best constant prediction.

    Returns:
        Content of a JSON file: fractions, `*_pp` in percentage points, `kl_divergence` in
        nats, `file_bytes`; 95% intervals, not corrected for their number.
    """
    settings = sorted(selection.settings, key=lambda x: (x.variant, x.changes, x.images))
    by_size: dict[str, list[Setting]] = {}
    for setting in settings:
        if not setting.changes:
            by_size.setdefault(setting.variant, []).append(setting)
    enough = [x for x in map(find_enough, by_size.values()) if x]
    counts = {
        "n_runs": n_runs,
        "n_finished": sum(len(x.results) for x in settings),
        "n_earlier": sum(x.n_earlier for x in settings),
        "n_other_model": selection.n_other_model,
        "n_other_data": selection.n_other_data,
    }
    baseline = _describe_baseline(settings, chance)
    return {
        **counts,
        "note": _note(**counts),
        **baseline,
        "answer": _explain_chance(baseline) if baseline["baseline_is_chance"] else answer(enough),
        "enough": enough,
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


def list_choices(summary: Json) -> list[tuple[object, ...]]:
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


def _note(
    *, n_runs: int, n_finished: int, n_earlier: int, n_other_model: int, n_other_data: int
) -> str:
    """Describes missing, outdated and excluded runs of a grid, and how to renew them."""
    sentences = []
    if not n_runs:
        sentences.append("The grid has no runs.")
    elif not n_finished:
        sentences.append(
            "No run of the grid is finished for this model and these data; `make sweep` makes all "
            f"{n_runs}."
        )
    elif n_finished < n_runs:
        sentences.append(
            f"{n_finished} of {n_runs} runs are finished; `make sweep` makes the others."
        )
    if n_earlier:
        sentences.append(
            f"Measured with an earlier version: {n_earlier} of {n_finished} finished runs; "
            "`make sweep` renews them."
        )
    if n_other_model:
        sentences.append(f"Runs of another model in the record, not shown: {n_other_model}.")
    if n_other_data:
        sentences.append(f"Runs on other data in the record, not shown: {n_other_data}.")
    return " ".join(sentences)


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
            **{name: _spread(setting, name) for name in FIGURES},
            "accuracy_above_default_pp": _above(setting, defaults, accuracy),
            "agreement_above_default_pp": _above(setting, defaults, agreement),
        }
        for setting in settings
    ]
    for row in rows:
        row["on_front"] = not any(_beats(other, row) for other in rows)
    return rows


def _spread(setting: Setting, name: str) -> dict[str, float | None]:
    """Returns mean, standard deviation, minimum and maximum of a figure over the draws."""
    values = [getattr(result, name) for _, result in sorted(setting.results.items())]
    return {
        "mean": round(fmean(values), 8),
        "deviation": round(stdev(values), 8) if len(values) > 1 else None,
        "low": round(min(values), 8),
        "high": round(max(values), 8),
    }


def _above(
    setting: Setting, defaults: Mapping[str, Setting], figure: Figure
) -> dict[str, float] | None:
    """Estimates a figure relative to the variant's default settings, in percentage points."""
    default = defaults.get(setting.variant, setting)
    if setting is default or not common_seeds(setting, default):
        return None
    ends = compare(setting, default, figure)._asdict()
    return {name: round(100 * value, 4) + 0.0 for name, value in ends.items()}


def _beats(other: Json, row: Json) -> bool:
    """Returns whether another setting is as good in size and accuracy, and better in one of them.

    Files of different runtimes have different formats, so they are not compared.
    """
    if Variant(other["variant"]).runtime != Variant(row["variant"]).runtime:
        return False
    size, mean = row["file_bytes"], row["top1_accuracy"]["mean"]
    other_size, other_mean = other["file_bytes"], other["top1_accuracy"]["mean"]
    return other_size <= size and other_mean >= mean and (other_size, other_mean) != (size, mean)


def _describe_baseline(settings: Sequence[Setting], chance: float) -> dict[str, Any]:
    result = next((x for setting in settings for x in setting.results.values()), None)
    if result is None:
        return dict.fromkeys(("n_images", "baseline_accuracy", "baseline_is_chance"))
    n_images, right = result.n_images, result.baseline_right
    return {
        "n_images": n_images,
        "baseline_accuracy": right / n_images,
        "baseline_is_chance": is_chance(right, n_images, chance=chance),
    }


def _explain_chance(baseline: Json) -> str:
    return (
        f"The baseline is not measurably better than chance (right on "
        f"{100 * baseline['baseline_accuracy']:.2f}% of {baseline['n_images']:,} test images), so "
        "no accuracy says how many calibration images are enough, or which settings are better."
    )
