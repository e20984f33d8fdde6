"""A disk without room: a small tmpfs that a stage finds full when it wants to write."""

import hashlib
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from samples.dataset import SAMPLE_MODEL
from tests.faults.projects import (
    assert_recovers,
    assert_refused,
    copy,
    fault,
    repro,
    temporaries,
)
from tests.pipeline.commands import set_params
from tests.upstream import replied, serving

pytestmark = pytest.mark.faults


@contextmanager
def small_disk(folder: Path, megabytes: float) -> Iterator[Path]:
    """Mounts a tmpfs on a new folder; where that is not allowed, the test is skipped."""
    folder.mkdir()
    size = f"size={int(megabytes * 1024)}k"
    mount = ["mount", "-t", "tmpfs", "-o", size, "tmpfs", str(folder)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"a tmpfs needs root, or `unshare -rm` around it: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "disk", 160) as folder:
        yield folder


@pytest.mark.parametrize(
    ("stage", "name"),
    [
        ("convert_onnx", "artifacts/models/onnx_fp32.onnx"),
        ("convert_torch", "artifacts/models/torch_fp32.pt2"),
        ("fit", "artifacts/quantization/"),
        ("evaluate_onnx@int8", "artifacts/predictions/onnx_int8.npy"),
        ("plots", "artifacts/figures/"),
        ("report", "artifacts/report/index.html"),
    ],
)
def test_a_stage_names_the_lack_of_room_and_the_next_run_recovers(
    disk: Path, finished: Path, stage: str, name: str
) -> None:
    folder, ballast = copy(finished, disk / "project", stage), disk / "ballast"
    disturbed = fault(folder, stage, "fill-disk", "before-writing", FAULT_BALLAST=str(ballast))
    ended = repro(folder, **disturbed)
    assert ballast.exists()
    assert_refused(ended, f"error: No space left on device ({name}")
    assert temporaries(folder) == []
    ballast.unlink()
    assert_recovers(folder, finished)


def test_a_download_names_the_lack_of_room_and_the_next_run_recovers(
    disk: Path, finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, ballast = copy(finished, disk / "project"), disk / "ballast"
    digest = hashlib.sha256(SAMPLE_MODEL.read_bytes()).hexdigest()
    disturbed = fault(folder, "fetch", "fill-disk", "before-writing", FAULT_BALLAST=str(ballast))
    with serving(monkeypatch, replied("200 OK", SAMPLE_MODEL.read_bytes())) as server:
        address = f"{server.url}/model.h5"
        set_params(folder, fetch={"model": address, "model_sha256": digest})
        ended = repro(folder, "fetch", **disturbed)
        ballast.unlink()
        assert temporaries(folder) == []
        assert repro(folder, "fetch").code == 0
    assert_refused(ended, "error: No space left on device (data/raw/model.h5)")
    assert (folder / "data/raw/model.h5").read_bytes() == SAMPLE_MODEL.read_bytes()


@pytest.mark.parametrize("megabytes", [0.06, 0.6])  # for nothing, and for half of two models
def test_a_conversion_without_room_for_scratch_names_the_folder(
    tmp_path: Path, finished: Path, megabytes: float
) -> None:
    folder = copy(finished, tmp_path / "project", "convert_onnx")
    with small_disk(tmp_path / "scratch", megabytes) as scratch:
        ended = repro(folder, TMPDIR=str(scratch))
        # After a traceback that ONNX Runtime may log.
        assert f"error: No space left on device ({scratch}" in ended.output
        assert (ended.code, "exited with 1\n" in ended.output) == (255, True), ended.output
        assert [path.name for path in scratch.iterdir() if path.is_dir()] == []
    assert not (folder / "artifacts/models/onnx_fp32.onnx").exists()
    assert_recovers(folder, finished)
