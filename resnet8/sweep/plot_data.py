"""Tables of a sweep that DVC draws itself, one row for each mark."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from resnet8.core.grid import Settings
from resnet8.sweep.selection import Row
from resnet8.sweep.settings import group


class Draw(NamedTuple):
    """Result of one draw of calibration images with the usual settings.

    images: number of calibration images.
    """

    variant: str
    images: int
    seed: int
    accuracy_percent: float
    agreement_percent: float
    kl_divergence: float


class Choice(NamedTuple):
    """Size and accuracy of a setting, as means over its draws.

    settings: differences from the usual settings.
    low_percent, high_percent: the worst and the best draw's accuracy.
    on_front: True on the Pareto front of size and accuracy.
    """

    variant: str
    settings: str
    file_kb: float
    accuracy_percent: float
    low_percent: float
    high_percent: float
    agreement_percent: float
    kl_divergence: float
    on_front: bool


def list_draws(rows: Iterable[Row], usual: Settings) -> list[Draw]:
    """Lists the draws with the usual settings, for every number of images."""
    return [
        Draw(
            setting.variant,
            setting.images,
            seed,
            round(100 * result.top1_accuracy, 4),
            round(100 * result.agreement, 4),
            result.kl_divergence,
        )
        for setting in group(rows, usual)
        if not setting.changes
        for seed, result in sorted(setting.results.items())
    ]


def list_choices(summary: Mapping[str, Any]) -> list[Choice]:
    """Lists all settings of a summary."""
    return [
        Choice(
            row["variant"],
            row["description"],
            row["file_bytes"] / 1000,
            round(100 * row["top1_accuracy"]["mean"], 4),
            round(100 * row["top1_accuracy"]["low"], 4),
            round(100 * row["top1_accuracy"]["high"], 4),
            round(100 * row["agreement"]["mean"], 4),
            row["kl_divergence"]["mean"],
            row["on_front"],
        )
        for row in summary["settings"]
    ]
