"""`dvc` killed alone: the stage that it leaves running must not touch the next run."""

import signal
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.faults.projects import (
    REPRESENTATIVE,
    STAGES,
    Ended,
    assert_recovers,
    copy,
    events,
    fault,
    forget,
    lock,
    locked_stages,
    new_project,
    repro,
    temporaries,
    wait_for_end,
)
from tests.pipeline.commands import set_params

pytestmark = pytest.mark.faults


def kill_dvc(folder: Path, stage: str, deed: str, moment: str, **extra: str) -> Ended:
    """Ends as soon as DVC does; its stage goes on."""
    ended = repro(folder, **fault(folder, stage, deed, moment, **extra))
    assert ended.code == -signal.SIGKILL, f"DVC not killed {moment} of {stage}: {ended.output}"
    return ended


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory, small_model: Path) -> Path:
    """A project that goes from kill to kill, each run beside the orphan of the one before."""
    folder = tmp_path_factory.mktemp("orphans") / "project"
    return new_project(folder, fetch={"model": str(small_model)})


class Orphaned(NamedTuple):
    """Events of orphans, each until it ended, and the files that they left half written."""

    events: list[list[str]]
    temporaries: list[str]


@pytest.fixture(scope="module")
def orphan_up_to(chain: Path, finished: Path) -> Callable[[str], Orphaned]:
    """Orphans one stage after another, as DVC runs them; what came of the last one."""
    stages = iter(x for x in locked_stages(finished) if x in REPRESENTATIVE)
    found: dict[str, Orphaned] = {}

    def up_to(stage: str) -> Orphaned:
        assert stage in locked_stages(finished)
        while stage not in found:
            following = next(stages)
            first = kill_dvc(chain, following, "kill-dvc", "before-writing")
            second = kill_dvc(chain, following, "kill-dvc", "after-publication")
            for ended in (first, second):
                wait_for_end(ended.process)
            found[following] = Orphaned(list(events(chain).values())[-2:], temporaries(chain))
        return found[stage]

    return up_to


@pytest.mark.parametrize("stage", REPRESENTATIVE)
def test_an_orphan_publishes_nothing_and_ends(
    orphan_up_to: Callable[[str], Orphaned], stage: str
) -> None:
    orphaned = orphan_up_to(stage)
    assert orphaned.events == [["kills-dvc"], ["published", "kills-dvc"]]
    assert orphaned.temporaries == []


def test_the_run_after_all_orphans_ends_as_if_undisturbed(chain: Path, finished: Path) -> None:
    assert len(events(chain)) == 2 * len(REPRESENTATIVE)
    assert set(locked_stages(finished)) == set(STAGES)
    assert_recovers(chain, finished)


@pytest.mark.parametrize("shell", ["bash", "dash", "lingering"])
def test_an_orphan_that_notices_late_does_not_mix_with_other_parameters(
    tmp_path: Path, finished: Path, shell: str
) -> None:
    folder, clean = (copy(finished, tmp_path / name) for name in ("project", "clean"))
    for project in (folder, clean):
        forget(project, "calibrate")
    sign = tmp_path / "sign"
    path = tmp_path / shell
    path.write_text('#!/bin/sh\neval "$2"\nexit $?\n')  # as -c does, but stays meanwhile
    path.chmod(0o755)
    extra = {"SHELL": str(path) if shell == "lingering" else f"/bin/{shell}"}

    orphan = kill_dvc(
        folder, "calibrate", "kill-dvc-and-linger", "before-writing", FAULT_SIGN=str(sign), **extra
    )
    for project in (folder, clean):
        set_params(project, calibrate={"seed": 1})
        assert repro(project, "calibrate").code == 0
    sign.touch()
    wait_for_end(orphan.process)

    assert list(events(folder).values()) == [["kills-dvc", "waits"]]
    assert lock(folder) == lock(clean)
    for path in (clean / "data/calibration").iterdir():
        assert (folder / path.relative_to(clean)).read_bytes() == path.read_bytes()
    assert temporaries(folder) == []
