"""The whole run killed in stages of every kind, as by a machine that goes down."""

import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.projects import (
    PERSISTENT,
    REPRESENTATIVE,
    assert_recovers,
    copy,
    events,
    fault,
    locked_stages,
    one_after_another,
    repro,
    temporaries,
    wait_for_end,
)

pytestmark = pytest.mark.faults
MOMENTS = ("before-publication", "after-publication")
Killed = tuple[tuple[str, ...], int]  # stages that dvc.lock records, number of temporary files


def kill(folder: Path, stage: str, moment: str) -> Killed:
    ended = repro(folder, **fault(folder, stage, "kill-group", moment))
    assert ended.code == -signal.SIGKILL, f"{stage} not killed {moment}: {ended.output}"
    wait_for_end(ended.process)
    return locked_stages(folder), len(temporaries(folder))


@pytest.fixture(scope="module")
def kill_up_to(chain: Path, finished: Path) -> Callable[[str], list[Killed]]:
    return one_after_another(finished, lambda stage: [kill(chain, stage, x) for x in MOMENTS])


@pytest.mark.parametrize("stage", REPRESENTATIVE)
def test_a_run_killed_before_and_after_a_publication_gets_further_next_time(
    kill_up_to: Callable[[str], list[Killed]], finished: Path, stage: str
) -> None:
    order = locked_stages(finished)
    (before, n_temporaries), (after, _) = kill_up_to(stage)
    assert n_temporaries == 1
    assert before == after == order[: order.index(stage)]


def test_the_run_after_all_kills_ends_as_if_undisturbed(chain: Path, finished: Path) -> None:
    kills = [event for log in events(chain).values() for event in log if "kill" in event]
    assert kills == ["kills-group"] * len(MOMENTS) * len(REPRESENTATIVE)
    assert_recovers(chain, finished)


@pytest.mark.parametrize("stage", PERSISTENT)
def test_one_run_recovers_a_stage_whose_former_outputs_stayed(
    tmp_path: Path, finished: Path, stage: str
) -> None:
    folder = copy(finished, tmp_path / "project", stage)
    kill(folder, stage, "after-publication")
    assert_recovers(folder, finished)
