"""The whole run killed in stages of every kind, as by a machine that goes down."""

import signal
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.faults.projects import (
    REPRESENTATIVE,
    STAGES,
    assert_recovers,
    copy,
    events,
    fault,
    forget,
    locked_stages,
    new_project,
    outputs,
    repro,
    temporaries,
    wait_for_end,
)

pytestmark = pytest.mark.faults
# Stages with outputs that DVC does not remove before it runs them again.
PERSISTENT = [
    name
    for name, entry in STAGES.items()
    if any(options.get("persist") for options in outputs(entry).values())
]
MOMENTS = ("before-publication", "after-publication")


class Killed(NamedTuple):
    """State after a kill: the stages that DVC takes for done, and files half written."""

    locked: tuple[str, ...]
    temporaries: list[str]


def kill(folder: Path, stage: str, moment: str) -> Killed:
    ended = repro(folder, **fault(folder, stage, "kill-group", moment))
    assert ended.code == -signal.SIGKILL, f"{stage} not killed {moment}: {ended.output}"
    wait_for_end(ended.process)
    return Killed(locked_stages(folder), temporaries(folder))


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory, small_model: Path) -> Path:
    """A project that goes from kill to kill: each run is also the one after the last kill."""
    folder = tmp_path_factory.mktemp("groups") / "project"
    return new_project(folder, fetch={"model": str(small_model)})


@pytest.fixture(scope="module")
def kill_up_to(chain: Path, finished: Path) -> Callable[[str], list[Killed]]:
    """Kills in one stage after another, as DVC runs them; what the kills in the last one left."""
    stages = iter(x for x in locked_stages(finished) if x in REPRESENTATIVE)
    found: dict[str, list[Killed]] = {}

    def up_to(stage: str) -> list[Killed]:
        assert stage in locked_stages(finished)
        while stage not in found:
            following = next(stages)
            found[following] = [kill(chain, following, moment) for moment in MOMENTS]
        return found[stage]

    return up_to


@pytest.mark.parametrize("stage", REPRESENTATIVE)
def test_a_run_killed_before_and_after_a_publication_gets_further_next_time(
    kill_up_to: Callable[[str], list[Killed]], finished: Path, stage: str
) -> None:
    order = locked_stages(finished)
    before, after = kill_up_to(stage)
    assert len(before.temporaries) == 1
    assert before.locked == after.locked == order[: order.index(stage)]


def test_the_run_after_all_kills_ends_as_if_undisturbed(chain: Path, finished: Path) -> None:
    kills = [event for found in events(chain).values() for event in found if "kill" in event]
    assert kills == ["kills-group"] * len(MOMENTS) * len(REPRESENTATIVE)
    assert set(locked_stages(finished)) == set(STAGES)
    assert_recovers(chain, finished)


@pytest.mark.parametrize("stage", PERSISTENT)
def test_one_run_recovers_a_stage_whose_former_outputs_stayed(
    tmp_path: Path, finished: Path, stage: str
) -> None:
    folder = copy(finished, tmp_path / "project")
    forget(folder, stage)
    kill(folder, stage, "after-publication")
    assert_recovers(folder, finished)
