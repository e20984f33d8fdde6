"""DVC's own files: a byte changed in its cache, and notes torn by a kill or a full disk."""

import shutil
import sys
from pathlib import Path

import pytest
import yaml

from tests.faults.projects import (
    assert_recovers,
    copy,
    dvc_status,
    finish,
    lock,
    repro,
    start,
)
from tests.pipeline.commands import ROOT, flip_a_byte, run, stages_run

pytestmark = pytest.mark.faults


def object_of(folder: Path, name: str) -> Path:
    """The object in the cache that holds an output."""
    outs = [out for x in yaml.safe_load(lock(folder))["stages"].values() for out in x["outs"]]
    (md5,) = {out["md5"] for out in outs if out["path"] == name}
    return folder / ".dvc" / "cache" / "files" / "md5" / md5[:2] / md5[2:]


def verify(folder: Path) -> str:
    done = run(ROOT, sys.executable, "-m", "tools.verify_cache", "--project", str(folder))
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_dvc_does_not_detect_a_damaged_cache(tmp_path: Path, finished: Path) -> None:
    # The reason for tools.verify_cache: if this fails, DVC detects the damage.
    folder = copy(finished, tmp_path / "project")
    images = folder / "data" / "calibration" / "images.npy"
    flip_a_byte(object_of(folder, "data/calibration/images.npy"))
    images.unlink()
    assert repro(folder).code == 0
    assert images.read_bytes() != (finished / images.relative_to(folder)).read_bytes()
    assert dvc_status(folder) == {}


@pytest.mark.parametrize(
    ("name", "checked_out"),
    [
        ("data/calibration/images.npy", True),
        ("artifacts/models/onnx_int8.onnx", False),
        ("artifacts/figures", False),
        ("data/raw", False),
    ],
)
def test_a_verified_cache_and_one_run_bring_the_undamaged_file_back(
    tmp_path: Path, finished: Path, name: str, checked_out: bool
) -> None:
    folder = copy(finished, tmp_path / "project")
    damaged = object_of(folder, name)
    damaged = damaged if damaged.is_file() else damaged.with_suffix(".dir")
    flip_a_byte(damaged)
    shutil.rmtree(folder / name) if (folder / name).is_dir() else (folder / name).unlink()
    if checked_out:
        assert finish(start(folder, sys.executable, "-m", "dvc", "checkout")).code == 0
    assert str(damaged) in verify(folder)
    assert not damaged.exists()
    assert_recovers(folder, finished)
    for path in filter(Path.is_file, (finished / name).rglob("*")):
        assert (folder / path.relative_to(finished)).read_bytes() == path.read_bytes()
    assert "all objects are intact" in verify(folder)


# Notes, which DVC writes in place.


def test_without_a_torn_lock_file_results_come_back_from_the_cache(
    tmp_path: Path, finished: Path
) -> None:
    folder = copy(finished, tmp_path / "project")
    (folder / "dvc.lock").write_bytes(lock(finished)[: len(lock(finished)) // 3] + b"\n][")
    refused = repro(folder, "fit")
    assert refused.code == 255
    assert "dvc.lock" in refused.output
    (folder / "dvc.lock").unlink()
    again = repro(folder, "fit")
    assert again.code == 0, again.output
    # Their outputs persist, or are in Git and not in the cache.
    assert stages_run(again.output) <= {"validate", "fetch", "convert_onnx"}
    before, after = (yaml.safe_load(lock(x))["stages"] for x in (finished, folder))
    assert after.items() <= before.items()
    assert "fit" in after


def test_without_its_torn_list_of_locks_dvc_goes_on(tmp_path: Path, finished: Path) -> None:
    folder = copy(finished, tmp_path / "project")
    (folder / ".dvc" / "tmp" / "rwlock").write_bytes(b"")
    refused = repro(folder)
    assert refused.code == 255
    assert "Unable to read RWLock-file '.dvc/tmp/rwlock'" in refused.output
    (folder / ".dvc" / "tmp" / "rwlock").unlink()
    assert_recovers(folder, finished)
