"""The whole run killed, in every stage, as by a machine that goes down."""

import signal
from pathlib import Path

import pytest

from tests.faults.projects import (
    STAGES,
    assert_recovers,
    copy,
    events,
    fault,
    forget,
    locked_stages,
    new_project,
    repro,
    temporaries,
    wait_for_end,
)

pytestmark = pytest.mark.faults


def kill(folder: Path, stage: str, moment: str) -> None:
    ended = repro(folder, **fault(folder, stage, "kill-group", moment))
    assert ended.code == -signal.SIGKILL, ended.output
    wait_for_end(ended.process)


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project that goes from kill to kill: each run is also the one after the last kill."""
    return new_project(tmp_path_factory.mktemp("groups") / "project")


@pytest.mark.parametrize("stage", STAGES)
def test_a_run_killed_before_and_after_a_publication_gets_further_next_time(
    chain: Path, stage: str
) -> None:
    kill(chain, stage, "before-publication")
    assert len(temporaries(chain)) == 1
    kill(chain, stage, "after-publication")
    assert locked_stages(chain) == STAGES[: STAGES.index(stage)]


def test_the_run_after_all_kills_ends_as_if_undisturbed(chain: Path, finished: Path) -> None:
    kills = [event for found in events(chain).values() for event in found if "kill" in event]
    assert kills == ["kills-group"] * 2 * len(STAGES)
    assert locked_stages(finished) == STAGES
    assert_recovers(chain, finished)


@pytest.mark.parametrize("stage", ["fetch", "inspect_layers", "plots"])
def test_one_run_recovers_a_stage_with_a_folder_of_outputs(
    tmp_path: Path, finished: Path, stage: str
) -> None:
    folder = copy(finished, tmp_path / "project")
    forget(folder, stage)
    kill(folder, stage, "after-publication")
    assert_recovers(folder, finished)
