"""Rows of a record that are shown, and the note about them."""

from typing import Any

import pytest

from resnet8.core.errors import ArtifactError
from resnet8.sweep.grid import Run
from resnet8.sweep.record import Key, key_of
from resnet8.sweep.result import Result
from resnet8.sweep.selection import Row, note, select
from tests.sweep.results import IDENTITY, N_IMAGES, make_result, make_run, make_selection

RUNS = [make_run(), make_run(calibrate__seed=1)]
KEYS = {key_of(run, IDENTITY): run for run in RUNS}
EARLIER = {
    "code": IDENTITY._replace(code="earlier"),
    "libraries": IDENTITY._replace(libraries="numpy==1.0"),
    "both": IDENTITY._replace(code="earlier", libraries="numpy==1.0"),
}


def record(*lines: tuple[Run, Any, int]) -> dict[Key, Result]:
    """Runs with their identity and how many images they lose."""
    return {key_of(run, identity): make_result(lost=range(n)) for run, identity, n in lines}


def shown(finished: dict[Key, Result]) -> list[tuple[int, int, bool]]:
    """Seed, lost images, and whether an earlier version made the run."""
    rows = select(finished, KEYS, IDENTITY, n_images=N_IMAGES).rows
    return [(x.run.settings.calibrate.seed, len(x.result.lost), x.is_earlier) for x in rows]


def test_runs_on_another_number_of_images_are_refused() -> None:
    finished = {key_of(RUNS[0], IDENTITY): make_result(n_images=500)}
    with pytest.raises(ArtifactError, match="must be on the 1000 images of the test set, got n_im"):
        select(finished, KEYS, IDENTITY, n_images=N_IMAGES)


def test_runs_of_this_version_are_shown() -> None:
    assert shown(record((RUNS[0], IDENTITY, 1))) == [(0, 1, False)]


@pytest.mark.parametrize("version", EARLIER)
def test_runs_of_an_earlier_version_are_shown_as_such(version: str) -> None:
    finished = record((RUNS[0], EARLIER[version], 1), (RUNS[1], IDENTITY, 2))
    assert shown(finished) == [(0, 1, True), (1, 2, False)]


def test_the_closest_version_of_a_run_is_shown_in_every_order_of_the_record() -> None:
    lines = [
        (RUNS[0], IDENTITY, 4), (RUNS[0], EARLIER["libraries"], 3),
        (RUNS[0], EARLIER["code"], 2), (RUNS[0], EARLIER["both"], 1),
    ]  # fmt: skip
    for n in range(len(lines)):
        (row,) = shown(record(*lines[n:]))
        assert row == (0, 4 - n, n > 0)
        assert shown(record(*reversed(lines[n:]))) == [row]


@pytest.mark.parametrize(
    ("change", "counts"),
    [
        ({"model_sha256": "cd" * 32}, (1, 0)),
        ({"data": "other"}, (0, 1)),
        ({"model_sha256": "cd" * 32, "data": "other"}, (1, 0)),
        ({"opset": 18}, (0, 0)),
        ({"batch_size": 1}, (0, 0)),
        ({"baseline": "onnx_fp32"}, (0, 0)),
    ],
)
def test_runs_of_another_model_other_data_or_settings_are_not_shown(
    change: dict[str, Any], counts: tuple[int, int]
) -> None:
    found = select(
        record((RUNS[0], IDENTITY._replace(**change), 1)), KEYS, IDENTITY, n_images=N_IMAGES
    )
    assert (found.rows, found[1:]) == ([], counts)


def test_runs_that_are_not_in_the_grid_are_not_shown() -> None:
    assert shown(record((make_run(calibrate__seed=9), IDENTITY, 1))) == []


def say(n_current: int = 0, n_earlier: int = 0, *, n_runs: int = 4, **others: int) -> str:
    flags = [False] * n_current + [True] * n_earlier
    rows = [Row(make_run(calibrate__seed=n), make_result(), flag) for n, flag in enumerate(flags)]
    return note(make_selection(rows, **others), n_runs=n_runs)


def test_note_says_nothing_where_all_runs_are_there_and_of_this_version() -> None:
    assert say(4) == ""


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (say(0, 4), "4 runs, measured with an earlier version; `make sweep` renews them."),
        (
            say(0, 1, n_runs=1),
            "1 run, measured with an earlier version; `make sweep` renews it.",
        ),
        (
            say(1, 3),
            "4 runs, 3 of them measured with an earlier version; `make sweep` renews them.",
        ),
        (say(3), "3 of 4 runs are finished; `make sweep` makes the others."),
        (
            say(1, 1),
            "2 of 4 runs are finished; `make sweep` makes the others. 2 runs, 1 of them measured "
            "with an earlier version; `make sweep` renews it.",
        ),
        (
            say(),
            "No run of the grid is finished for this model and these data; `make sweep` makes all "
            "4.",
        ),
        (
            say(n_runs=1),
            "No run of the grid is finished for this model and these data; `make sweep` makes it.",
        ),
        (say(n_runs=0), "The grid has no runs."),
        (
            say(n_other_model=278),
            "No run of the grid is finished for this model and these data; `make sweep` makes all "
            "4. 278 runs of the record are of another model, and not shown.",
        ),
        (say(4, n_other_data=1), "1 run of the record is on other data, and not shown."),
    ],
)
def test_note_says_what_is_shown_what_is_not_and_what_to_do(found: str, expected: str) -> None:
    assert found == expected
