"""Selects the finished runs of a grid, measured with this or an earlier version."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from resnet8.core.errors import ArtifactError
from resnet8.core.grid import Run, Settings
from resnet8.sweep.identity import Identity
from resnet8.sweep.record import Key, key_of
from resnet8.sweep.result import Result


@dataclass
class Setting:
    """The finished runs that differ only in their seed, one for each draw of calibration images."""

    variant: str
    changes: tuple[str, ...]  # from the settings of the pipeline, besides the number of images
    images: int  # number of calibration images
    is_default: bool  # True if these are the settings of the pipeline
    results: dict[int, Result] = field(default_factory=dict)  # by seed
    n_earlier: int = 0  # results that an earlier version of code or libraries measured


class Selection(NamedTuple):
    """The finished runs of a grid, and counts of other runs in the record."""

    settings: list[Setting]  # in the order of the grid
    n_other_model: int
    n_other_data: int  # of this model on other data


def select(
    finished: Mapping[Key, Result],
    runs: Iterable[Run],
    identity: Identity,
    *,
    usual: Settings,
    n_images: int,
) -> Selection:
    """Selects the finished runs of a grid: those of this version, or else of an earlier one.

    The grid's `runs` share `identity`. `usual` are the settings of the pipeline, and there are
    `n_images` test images.

    Raises:
        ArtifactError: a run of the grid was measured on another number of images.
    """

    def closeness(key: Key) -> tuple[bool, bool]:
        return key.shared.code == identity.code, key.shared.libraries == identity.libraries

    # The last of a run counts: of this version, else with the same code, else the same libraries.
    latest = {key.task: key for key in sorted(finished, key=closeness)}
    settings: dict[tuple[str, tuple[str, ...], int], Setting] = {}
    for run in runs:
        key = latest.get(key_of(run, identity).task)
        if key is None:
            continue
        result, calibrate = finished[key], run.settings.calibrate
        if result.n_images != n_images:
            raise ArtifactError(
                f"The record's runs on these data must be on the {n_images} images of the test "
                f"set, got n_images {result.n_images}. Restore it with `git restore "
                "sweep/runs.csv`, or empty it: its runs are then made again."
            )
        changes = Settings(calibrate=usual.calibrate, fit=run.settings.fit).differences(usual)
        is_default = not changes and calibrate.size == usual.calibrate.size
        place = (run.variant, tuple(changes), calibrate.size)
        setting = settings.setdefault(place, Setting(*place, is_default))
        setting.results[calibrate.seed] = result
        setting.n_earlier += key.shared != identity
    same = [key.shared.data for key in finished if key.shared.model_sha256 == identity.model_sha256]
    return Selection(
        list(settings.values()),
        n_other_model=len(finished) - len(same),
        n_other_data=sum(data != identity.data for data in same),
    )
