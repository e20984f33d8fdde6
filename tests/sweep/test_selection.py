"""Selection of finished runs, of this or an earlier version."""

from typing import Any

import pytest

from resnet8.core.errors import ArtifactError
from resnet8.core.grid import Run
from resnet8.sweep.record import Key, key_of
from resnet8.sweep.result import Result
from resnet8.sweep.selection import Selection, select
from tests.sweep.results import IDENTITY, N_IMAGES, USUAL, make_result, make_run

RUNS = [make_run(), make_run(calibrate__seed=1)]
CODE = IDENTITY._replace(code="earlier")
LIBRARIES = IDENTITY._replace(libraries="numpy==1.0")
BOTH = CODE._replace(libraries="numpy==1.0")


def record(*lines: tuple[Run, Any, int]) -> dict[Key, Result]:
    """Runs with their identity and how many images they lose."""
    return {key_of(run, identity): make_result(lost=range(n)) for run, identity, n in lines}


def selected(finished: dict[Key, Result]) -> Selection:
    return select(finished, RUNS, IDENTITY, usual=USUAL, n_images=N_IMAGES)


def lost(finished: dict[Key, Result]) -> tuple[dict[int, int], int]:
    """Lost images by seed, and how many runs are of an earlier version."""
    (setting,) = selected(finished).settings
    return {seed: len(x.lost) for seed, x in setting.results.items()}, setting.n_earlier


def test_runs_on_another_number_of_images_are_refused() -> None:
    with pytest.raises(ArtifactError, match="must be on the 1000 images of the test set, got n_im"):
        selected({key_of(RUNS[0], IDENTITY): make_result(n_images=500)})


def test_runs_of_this_and_of_earlier_versions_are_selected_but_none_outside_the_grid() -> None:
    outside = (make_run(calibrate__seed=9), IDENTITY, 1)
    assert lost(record((RUNS[0], IDENTITY, 1), outside)) == ({0: 1}, 0)
    for earlier in (CODE, LIBRARIES, BOTH):
        assert lost(record((RUNS[0], earlier, 1), (RUNS[1], IDENTITY, 2))) == ({0: 1, 1: 2}, 1)


def test_closest_version_of_a_run_is_selected_in_every_order_of_the_record() -> None:
    # The closest first: with the same code, before with the same libraries.
    lines = [(RUNS[0], x, n) for n, x in enumerate((IDENTITY, LIBRARIES, CODE, BOTH))]
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
