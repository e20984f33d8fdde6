"""Selection of finished runs, and the note about the others."""

from typing import Any

import pytest

from resnet8.core.errors import ArtifactError
from resnet8.core.grid import Run
from resnet8.sweep.record import Key, key_of
from resnet8.sweep.result import Result
from resnet8.sweep.selection import Selection, note, select
from tests.sweep.results import IDENTITY, N_IMAGES, USUAL, make_result, make_run, make_selection

RUNS = [make_run(), make_run(calibrate__seed=1)]
EARLIER = {
    "libraries": IDENTITY._replace(libraries="numpy==1.0"),
    "code": IDENTITY._replace(code="earlier"),
    "both": IDENTITY._replace(code="earlier", libraries="numpy==1.0"),
}


def record(*lines: tuple[Run, Any, int]) -> dict[Key, Result]:
    """Runs with their identity and how many images they lose."""
    return {key_of(run, identity): make_result(lost=range(n)) for run, identity, n in lines}


def selected(finished: dict[Key, Result]) -> Selection:
    return select(finished, RUNS, IDENTITY, usual=USUAL, n_images=N_IMAGES)


def lost(finished: dict[Key, Result]) -> tuple[dict[int, int], int]:
    """Lost images by seed, and how many runs are of an earlier version."""
    selection = selected(finished)
    assert len(selection.settings) <= 1
    draws = {seed: x for setting in selection.settings for seed, x in setting.results.items()}
    return {seed: len(result.lost) for seed, result in draws.items()}, selection.n_earlier


def test_runs_on_another_number_of_images_are_refused() -> None:
    with pytest.raises(ArtifactError, match="must be on the 1000 images of the test set, got n_im"):
        selected({key_of(RUNS[0], IDENTITY): make_result(n_images=500)})


def test_runs_of_this_and_of_earlier_versions_are_selected_but_none_outside_the_grid() -> None:
    assert lost(record((RUNS[0], IDENTITY, 1), (make_run(calibrate__seed=9), IDENTITY, 1))) == (
        {0: 1}, 0,
    )  # fmt: skip
    for earlier in EARLIER.values():
        assert lost(record((RUNS[0], earlier, 1), (RUNS[1], IDENTITY, 2))) == ({0: 1, 1: 2}, 1)


def test_closest_version_of_a_run_is_selected_in_every_order_of_the_record() -> None:
    versions = [IDENTITY, *EARLIER.values()]  # the closest first
    lines = [(RUNS[0], identity, n) for n, identity in enumerate(versions)]
    for n in range(len(lines)):
        expected = ({0: n}, int(n > 0))
        assert lost(record(*lines[n:])) == lost(record(*reversed(lines[n:]))) == expected


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
def test_runs_of_another_model_other_data_or_settings_are_not_selected(
    change: dict[str, Any], counts: tuple[int, int]
) -> None:
    assert selected(record((RUNS[0], IDENTITY._replace(**change), 1))) == Selection([], *counts)


NOTHING = "No run of the grid is finished for this model and these data; `make sweep` makes "


@pytest.mark.parametrize(
    ("n_finished", "n_earlier", "n_runs", "others", "expected"),
    [
        (4, 0, 4, {}, ""),
        (4, 4, 4, {}, "4 runs, measured with an earlier version; `make sweep` renews them."),
        (1, 1, 1, {}, "1 run, measured with an earlier version; `make sweep` renews it."),
        (
            4, 3, 4, {},
            "4 runs, 3 of them measured with an earlier version; `make sweep` renews them.",
        ),
        (3, 0, 4, {}, "3 of 4 runs are finished; `make sweep` makes the others."),
        (
            2, 1, 4, {},
            "2 of 4 runs are finished; `make sweep` makes the others. 2 runs, 1 of them measured "
            "with an earlier version; `make sweep` renews it.",
        ),
        (0, 0, 4, {}, f"{NOTHING}all 4."),
        (0, 0, 1, {}, f"{NOTHING}it."),
        (0, 0, 0, {}, "The grid has no runs."),
        (
            0, 0, 4, {"n_other_model": 278},
            f"{NOTHING}all 4. 278 runs of the record are of another model, and not shown.",
        ),
        (4, 0, 4, {"n_other_data": 1}, "1 run of the record is on other data, and not shown."),
    ],
)  # fmt: skip
def test_note_describes_missing_outdated_and_excluded_runs(
    n_finished: int, n_earlier: int, n_runs: int, others: dict[str, int], expected: str
) -> None:
    rows = [(make_run(calibrate__seed=n), make_result()) for n in range(n_finished)]
    assert note(make_selection(rows, n_earlier=n_earlier, **others), n_runs=n_runs) == expected
