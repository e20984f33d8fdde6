"""`dvc` killed alone: the stage that it leaves running must not touch the next run."""

import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.projects import (
    REPRESENTATIVE,
    Ended,
    assert_recovers,
    copy,
    events,
    fault,
    lock,
    one_after_another,
    repro,
    temporaries,
    wait_for_end,
)
from tests.pipeline.commands import set_params

pytestmark = pytest.mark.faults
Orphaned = tuple[list[list[str]], list[str]]  # events of each orphan, temporary files


def kill_dvc(folder: Path, stage: str, deed: str, moment: str, **extra: str) -> Ended:
    """Runs a stage until DVC is killed; the stage goes on."""
    ended = repro(folder, **fault(folder, stage, deed, moment, **extra))
    assert ended.code == -signal.SIGKILL, f"DVC not killed {moment} of {stage}: {ended.output}"
    return ended


@pytest.fixture(scope="module")
def orphan_up_to(chain: Path, finished: Path) -> Callable[[str], Orphaned]:
    def orphan(stage: str) -> Orphaned:
        moments = ("before-writing", "after-publication")
        for ended in [kill_dvc(chain, stage, "kill-dvc", moment) for moment in moments]:
            wait_for_end(ended.process)
        return list(events(chain).values())[-2:], temporaries(chain)

    return one_after_another(finished, orphan)


@pytest.mark.parametrize("stage", REPRESENTATIVE)
def test_an_orphan_publishes_nothing_and_ends(
    orphan_up_to: Callable[[str], Orphaned], stage: str
) -> None:
    assert orphan_up_to(stage) == ([["kills-dvc"], ["published", "kills-dvc"]], [])


def test_the_run_after_all_orphans_ends_as_if_undisturbed(chain: Path, finished: Path) -> None:
    assert len(events(chain)) == 2 * len(REPRESENTATIVE)
    assert_recovers(chain, finished)


@pytest.mark.parametrize("shell", ["bash", "dash", "lingering"])
def test_an_orphan_that_notices_late_does_not_mix_with_other_parameters(
    tmp_path: Path, finished: Path, shell: str
) -> None:
    folder, clean = (copy(finished, tmp_path / name, "calibrate") for name in ("project", "clean"))
    sign, path = tmp_path / "sign", tmp_path / shell
    path.write_text('#!/bin/sh\neval "$2"\nexit $?\n')  # as -c does, but stays meanwhile
    path.chmod(0o755)
    extra = {"SHELL": str(path) if shell == "lingering" else f"/bin/{shell}"}
    extra["FAULT_SIGN"] = str(sign)
    orphan = kill_dvc(folder, "calibrate", "kill-dvc-and-linger", "before-writing", **extra)
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
