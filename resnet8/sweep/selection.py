"""Selects the finished runs of a grid, measured with this or an earlier version."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from resnet8.core.errors import ArtifactError
from resnet8.core.grid import Run, Settings
from resnet8.sweep.identity import Identity
from resnet8.sweep.record import Key, key_of
from resnet8.sweep.result import Result


class Setting(NamedTuple):
    """The finished runs that differ only in their seed, one for each draw of calibration images.

    variant: the quantized variant.
    changes: settings that differ from those of the pipeline, besides the number of images.
    images: number of calibration images.
    is_default: True if these are the settings of the pipeline.
    results: by seed.
    n_earlier: number of results that an earlier version of code or libraries measured.
    """

    variant: str
    changes: tuple[str, ...]
    images: int
    is_default: bool
    results: dict[int, Result]
    n_earlier: int = 0


class Selection(NamedTuple):
    """The finished runs of a grid, and counts of other runs in the record.

    settings: in the order of the grid.
    n_other_model: number of runs of another model.
    n_other_data: number of runs of this model on other data.
    """

    settings: list[Setting]
    n_other_model: int = 0
    n_other_data: int = 0

    @property
    def n_finished(self) -> int:
        return sum(len(x.results) for x in self.settings)

    @property
    def n_earlier(self) -> int:
        return sum(x.n_earlier for x in self.settings)


def select(
    finished: Mapping[Key, Result],
    runs: Iterable[Run],
    identity: Identity,
    *,
    usual: Settings,
    n_images: int,
) -> Selection:
    """Selects the finished runs of a grid: those of this version, or else of an earlier one.

    Args:
        finished: results in the record, by key.
        runs: of the grid.
        identity: of the grid's runs.
        usual: the settings of the pipeline.
        n_images: number of test images.

    Raises:
        ArtifactError: a run of the grid was measured on another number of images.
    """

    def closeness(key: Key) -> tuple[bool, bool]:
        return key.shared.code == identity.code, key.shared.libraries == identity.libraries

    # The last of a run counts: of this version, else with the same code, else the same libraries.
    latest = {key.task: key for key in sorted(finished, key=closeness)}
    draws: dict[tuple[str, tuple[str, ...], int, bool], dict[int, Key]] = {}
    for run in runs:
        if key := latest.get(key_of(run, identity).task):
            size, seed = run.settings.calibrate.size, run.settings.calibrate.seed
            changes = Settings(calibrate=usual.calibrate, fit=run.settings.fit).differences(usual)
            is_default = not changes and size == usual.calibrate.size
            draws.setdefault((run.variant, tuple(changes), size, is_default), {})[seed] = key
    settings = [
        Setting(
            *setting,
            results={seed: finished[key] for seed, key in keys.items()},
            n_earlier=sum(key.shared != identity for key in keys.values()),
        )
        for setting, keys in draws.items()
    ]
    if wrong := {x.n_images for setting in settings for x in setting.results.values()} - {n_images}:
        raise ArtifactError(
            f"The record's runs on these data must be on the {n_images} images of the test set, "
            f"got n_images {min(wrong)}. Restore it with `git restore sweep/runs.csv`, or empty "
            "it: its runs are then made again."
        )
    same = [key.shared.data for key in finished if key.shared.model_sha256 == identity.model_sha256]
    return Selection(
        settings,
        n_other_model=len(finished) - len(same),
        n_other_data=sum(data != identity.data for data in same),
    )


def note(selection: Selection, *, n_runs: int) -> str:
    """Describes missing, outdated and excluded runs of a grid, and how to renew them."""
    n_finished, n_earlier = selection.n_finished, selection.n_earlier
    sentences = []
    if not n_runs:
        sentences += ["The grid has no runs."]
    elif not n_finished:
        them = "it" if n_runs == 1 else f"all {n_runs}"
        sentences += [
            "No run of the grid is finished for this model and these data; `make sweep` makes "
            f"{them}."
        ]
    elif n_finished < n_runs:
        sentences += [f"{n_finished} of {n_runs} runs are finished; `make sweep` makes the others."]
    if n_earlier:
        which = f"{n_earlier} of them " if n_earlier < n_finished else ""
        them = "it" if n_earlier == 1 else "them"
        sentences += [
            f"{_count(n_finished)}, {which}measured with an earlier version; "
            f"`make sweep` renews {them}."
        ]
    for number, others in (
        (selection.n_other_model, "of another model"),
        (selection.n_other_data, "on other data"),
    ):
        if number:
            are = "is" if number == 1 else "are"
            sentences += [f"{_count(number)} of the record {are} {others}, and not shown."]
    return " ".join(sentences)


def _count(number: int) -> str:
    return f"{number} run{'' if number == 1 else 's'}"
