"""Selects the finished runs of a grid, measured with this or an earlier version."""

from collections.abc import Mapping
from typing import NamedTuple

from resnet8.core.errors import ArtifactError
from resnet8.sweep.grid import Run
from resnet8.sweep.identity import Identity
from resnet8.sweep.record import Key
from resnet8.sweep.result import Result


class Row(NamedTuple):
    """A finished run of the grid.

    is_earlier: True if an earlier version of the code or the libraries measured it.
    """

    run: Run
    result: Result
    is_earlier: bool = False


class Selection(NamedTuple):
    """Finished runs of a grid in the record, and counts of other runs.

    rows: its finished runs.
    n_other_model: runs of the record that are of another model.
    n_other_data: runs of the record that are of this model and other data.
    """

    rows: list[Row]
    n_other_model: int
    n_other_data: int


def select(
    finished: Mapping[Key, Result],
    runs: Mapping[Key, Run],
    identity: Identity,
    *,
    n_images: int,
) -> Selection:
    """Selects the finished runs of a grid: of this version, or else of an earlier one.

    Args:
        finished: results in the record, by key.
        runs: the grid's runs, by key.
        identity: model, data and versions of the grid's runs.
        n_images: number of test images.

    Raises:
        ArtifactError: a run of the grid was measured on another number of images.
    """

    def closeness(key: Key) -> tuple[bool, bool]:
        return key.code == identity.code, key.libraries == identity.libraries

    # The last of a run counts: of this version, else with the same code, else the same libraries.
    latest = {key.task: key for key in sorted(finished, key=closeness)}
    rows = [
        Row(run, finished[latest[key.task]], is_earlier=latest[key.task] != key)
        for key, run in runs.items()
        if key.task in latest
    ]
    if wrong := {row.result.n_images for row in rows} - {n_images}:
        raise ArtifactError(
            f"The record's runs on these data must be on the {n_images} images of the test set, "
            f"got n_images {min(wrong)}. Bring it back with `git restore sweep/runs.csv`, or empty "
            "it: its runs are then made again."
        )
    same = [key.data for key in finished if key.model_sha256 == identity.model_sha256]
    return Selection(
        rows,
        n_other_model=len(finished) - len(same),
        n_other_data=sum(data != identity.data for data in same),
    )


def note(selection: Selection, *, n_runs: int) -> str:
    """Describes missing, outdated and excluded runs, and how to renew them."""
    n_finished = len(selection.rows)
    n_earlier = sum(row.is_earlier for row in selection.rows)
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
