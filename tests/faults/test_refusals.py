"""Runs that end early: Ctrl-C, outputs that cannot be written, and another run at work."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.faults.projects import (
    assert_recovers,
    assert_refused,
    copy,
    events,
    fault,
    finish,
    left_over,
    lock,
    log_path,
    repro,
    start,
    temporaries,
    wait_until,
)

pytestmark = pytest.mark.faults


@pytest.mark.parametrize(
    ("stage", "moment", "module"),
    [
        ("calibrate", "import", "numpy"),
        ("convert_onnx", "import", "tensorflow"),
        ("plots", "import", "matplotlib.style"),
        ("fetch", "after-publication", ""),
        ("evaluate@onnx_fp32", "before-publication", ""),
    ],
)
def test_ctrl_c_ends_run_and_stage_with_one_message(
    tmp_path: Path, finished: Path, stage: str, moment: str, module: str
) -> None:
    folder = copy(finished, tmp_path / "project", stage)
    before = lock(folder)
    ended = repro(folder, **fault(folder, stage, "ctrl-c", moment, FAULT_IMPORT=module))
    assert "ctrl-c" in [event for log in events(folder).values() for event in log]
    assert_refused(ended, code="130|-2")
    assert ended.output.splitlines().count("interrupted") == 1
    assert left_over(ended.process) == []
    assert temporaries(folder) == []
    assert lock(folder) == before
    assert_recovers(folder, finished)


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Makes a folder read-only: by a mount for root, whom file modes do not stop."""
    if os.geteuid():
        folder.chmod(0o555)
        yield
        folder.chmod(0o755)
        return
    for options in (["--bind"], ["-o", "remount,ro,bind"]):
        subprocess.run(["mount", *options, str(folder), str(folder)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


@pytest.mark.parametrize(
    ("stage", "place", "removed"),
    [
        ("calibrate", "data/calibration", "*"),
        ("evaluate@onnx_fp32", "metrics", "onnx_fp32.json"),
        ("calibrate", "data/calibration", "nothing"),  # DVC itself cannot remove them
    ],
)
def test_a_file_that_cannot_be_written_or_removed_is_named(
    tmp_path: Path, finished: Path, stage: str, place: str, removed: str
) -> None:
    folder = copy(finished, tmp_path / "project", stage)
    for path in (folder / place).glob(removed):
        path.unlink()
    before = content(folder / place)
    with read_only(folder / place):
        ended = repro(folder)
    assert ended.code == 255
    assert f"{place}/" in ended.output
    if removed != "nothing":
        assert_refused(ended, f"({place}/")
        assert "error: Read-only file sys" in ended.output or "error: Permission" in ended.output
    assert content(folder / place) == before
    assert temporaries(folder) == []
    assert_recovers(folder, finished)


def test_a_write_protected_file_is_replaced(tmp_path: Path, finished: Path) -> None:
    folder = copy(finished, tmp_path / "project", "calibrate")
    (folder / "data/calibration/images.npy").chmod(0o444)
    assert_recovers(folder, finished)


def test_the_second_run_is_refused_and_the_first_ends_as_if_alone(
    tmp_path: Path, finished: Path
) -> None:
    folder, sign = copy(finished, tmp_path / "project", "calibrate", "compare"), tmp_path / "sign"
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
