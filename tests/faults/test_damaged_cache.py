"""A byte of DVC's cache changed on the disk: same size, same time, same protection."""

import os
import shutil
import stat
import sys
from pathlib import Path

import pytest
import yaml

from tests.faults.projects import (
    Ended,
    assert_recovers,
    copy,
    dvc_status,
    finish,
    lock,
    repro,
    start,
)
from tests.pipeline.commands import ROOT, run

pytestmark = pytest.mark.faults


def object_of(folder: Path, name: str) -> Path:
    """The object in the cache that holds an output."""
    outs = [out for x in yaml.safe_load(lock(folder))["stages"].values() for out in x["outs"]]
    (md5,) = {out["md5"] for out in outs if out["path"] == name}
    return folder / ".dvc" / "cache" / "files" / "md5" / md5[:2] / md5[2:]


def flip_a_byte(path: Path) -> None:
    before = path.stat()
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.chmod(0o644)
    path.write_bytes(content)
    path.chmod(stat.S_IMODE(before.st_mode))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def remove(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink()


def verify(folder: Path) -> Ended:
    done = run(ROOT, sys.executable, "-m", "tools.verify_cache", "--project", str(folder))
    return Ended(done.returncode, done.stdout, 0)


def test_dvc_alone_does_not_notice(tmp_path: Path, finished: Path) -> None:
    # Why there is a command that does. When this fails, DVC has learned it.
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
    remove(folder / name)
    if checked_out:
        assert finish(start(folder, sys.executable, "-m", "dvc", "checkout")).code == 0
    found = verify(folder)
    assert (found.code, str(damaged) in found.output) == (0, True), found.output
    assert not damaged.exists()
    assert_recovers(folder, finished)
    for path in filter(Path.is_file, (finished / name).rglob("*")):
        assert (folder / path.relative_to(finished)).read_bytes() == path.read_bytes()
    assert verify(folder).code == 0


def test_a_sound_cache_is_left_as_it_is(finished: Path) -> None:
    before = sorted((finished / ".dvc" / "cache").rglob("*"))
    found = verify(finished)
    assert (found.code, "all objects are intact" in found.output) == (0, True)
    assert sorted((finished / ".dvc" / "cache").rglob("*")) == before
