"""Settings of a sweep, each measured with several draws of calibration images.

Shape letters: S draws (seeds), N images.
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from resnet8.core.grid import Settings
from resnet8.sweep.crossed import Estimate, estimate, estimate_mean
from resnet8.sweep.grid import describe_changes
from resnet8.sweep.result import Result
from resnet8.sweep.selection import Row


class Setting(NamedTuple):
    """The runs that differ only in their seed.

    variant: the quantized variant.
    changes: settings that differ from those of the pipeline, besides the number of images.
    images: for calibration.
    results: by seed.
    n_earlier: number of results that an earlier version measured.
    """

    variant: str
    changes: tuple[str, ...]
    images: int
    results: dict[int, Result]
    n_earlier: int


def group(rows: Iterable[Row], usual: Settings) -> list[Setting]:
    """Gathers the draws of each setting.

    Args:
        rows: finished runs.
        usual: the settings of the pipeline.
    """
    usual_draw = {f"calibrate.{name}": value for name, value in usual.calibrate}
    found: dict[tuple[str, tuple[str, ...], int], dict[int, Row]] = {}
    for row in rows:
        settings = row.run.settings
        changes = tuple(describe_changes(settings.changed(usual_draw), usual))
        draws = found.setdefault((row.run.variant, changes, settings.calibrate.size), {})
        draws[settings.calibrate.seed] = row
    return [
        Setting(
            *key,
            results={seed: row.result for seed, row in draws.items()},
            n_earlier=sum(row.is_earlier for row in draws.values()),
        )
        for key, draws in found.items()
    ]


def compare_accuracy(new: Setting, old: Setting, *, confidence: float) -> Estimate:
    """Estimates how much more accurate `new` is than `old`, image by image and draw by draw."""
    return _compare(new, old, _right, confidence)


def compare_agreement(new: Setting, old: Setting, *, confidence: float) -> Estimate:
    """Estimates how much more often `new` than `old` predicts the baseline's class."""
    return _compare(new, old, _agrees, confidence)


def compare_divergence(new: Setting, old: Setting, *, confidence: float) -> Estimate:
    """Estimates how much larger the KL divergence of `new` is, in nats, over the draws alone."""
    pairs = [(new.results[x], old.results[x]) for x in common_seeds(new, old)]
    return estimate_mean([a.kl_divergence - b.kl_divergence for a, b in pairs], confidence)


def common_seeds(new: Setting, old: Setting) -> list[int]:
    """Returns the seeds that both settings were measured with."""
    return sorted(set(new.results) & set(old.results))


def _compare(
    new: Setting, old: Setting, measure: Callable[[Result], NDArray[np.int8]], confidence: float
) -> Estimate:
    seeds = common_seeds(new, old)
    values = np.stack([measure(new.results[x]) - measure(old.results[x]) for x in seeds])
    return estimate(values, confidence=confidence)


def _right(result: Result) -> NDArray[np.int8]:
    """(N,) accuracy of each image above the baseline's."""
    values = np.zeros(result.n_images, np.int8)
    values[result.won] = 1
    values[result.lost] = -1
    return values


def _agrees(result: Result) -> NDArray[np.int8]:
    """(N,) 0 where the baseline's class is given, else -1."""
    values = np.zeros(result.n_images, np.int8)
    values[[*result.won, *result.lost, *result.other]] = -1
    return values
