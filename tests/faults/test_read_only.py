"""Outputs that cannot be written."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.faults.projects import assert_recovers, copy, forget, repro, temporaries

pytestmark = pytest.mark.faults


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Root may write everywhere but to a file system that is mounted read-only."""
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
    ("stage", "place"),
    [("calibrate", "data/calibration"), ("evaluate@onnx_fp32", "metrics")],
)
def test_a_stage_names_a_file_that_it_cannot_write(
    tmp_path: Path, finished: Path, stage: str, place: str
) -> None:
    folder = copy(finished, tmp_path / "project")
    forget(folder, stage)
    for path in (folder / place).iterdir():
        if path.is_file() and place == "data/calibration":
            path.unlink()
    (folder / "metrics" / "onnx_fp32.json").unlink()
    before = content(folder / place)
    with read_only(folder / place):
        ended = repro(folder)
    assert ended.code == 255, ended.output
    assert f"({place}/" in ended.output
    assert "error: Read-only file system (" in ended.output or "error: Permission" in ended.output
    assert "exited with 1\n" in ended.output
    assert "Traceback" not in ended.output
    assert content(folder / place) == before
    assert temporaries(folder) == []
    assert_recovers(folder, finished)


def test_results_that_cannot_be_removed_stay_and_dvc_says_so(
    tmp_path: Path, finished: Path
) -> None:
    folder = copy(finished, tmp_path / "project")
    forget(folder, "calibrate")
    before = content(folder / "data/calibration")
    with read_only(folder / "data/calibration"):
        ended = repro(folder)
    assert ended.code == 255, ended.output
    assert "data/calibration/" in ended.output
    assert content(folder / "data/calibration") == before
    assert_recovers(folder, finished)


def test_a_write_protected_file_is_replaced(tmp_path: Path, finished: Path) -> None:
    folder = copy(finished, tmp_path / "project")
    forget(folder, "calibrate")
    (folder / "data/calibration/images.npy").chmod(0o444)
    assert_recovers(folder, finished)
