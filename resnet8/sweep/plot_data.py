"""Tables of a sweep that DVC draws itself, one row for each mark."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from resnet8.core.grid import Settings
from resnet8.sweep.selection import Row
from resnet8.sweep.settings import group


class Draw(NamedTuple):
    """What one draw of calibration images gave with the usual settings.

    images: for calibration.
    """

    variant: str
    images: int
    seed: int
    accuracy_percent: float
    agreement_percent: float
    kl_divergence: float


class Choice(NamedTuple):
    """What a setting costs, as the mean over its draws.

    settings: how it differs from the usual ones.
    low_percent, high_percent: the worst and the best draw's accuracy.
    on_front: whether no other is as small and as accurate.
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
    """The draws with the usual settings, for every number of images."""
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
    """All settings of a summary."""
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
