"""Two runs at once in one project."""

import sys
from pathlib import Path

import pytest

from tests.faults.projects import (
    assert_recovers,
    copy,
    fault,
    finish,
    forget,
    lock,
    log_path,
    repro,
    start,
    wait_until,
)

pytestmark = pytest.mark.faults


def test_the_second_run_is_refused_and_the_first_ends_as_if_alone(
    tmp_path: Path, finished: Path
) -> None:
    folder = copy(finished, tmp_path / "project")
    forget(folder, "calibrate", "compare")
    sign = tmp_path / "sign"
    disturbed = fault(folder, "calibrate", "wait", "before-publication", FAULT_SIGN=str(sign))
    first = start(folder, sys.executable, "-m", "dvc", "repro", **disturbed)
    wait_until(lambda: log_path(folder).exists() and "waits" in log_path(folder).read_text())
    before = lock(folder)

    second = repro(folder)

    assert second.code == 255, second.output
    assert "is busy, it is being blocked by" in second.output
    assert f"(PID {first.process.pid})" in second.output
    assert lock(folder) == before
    sign.touch()
    assert finish(first).code == 0
    assert lock(folder) == lock(finished)
    assert_recovers(folder, finished)
