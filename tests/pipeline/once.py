"""Projects that take minutes to make: made once for all workers, and to be left as they are."""

import fcntl
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from samples.demo import make_project
from tests.parameters import TEST_PARAMS
from tests.pipeline.commands import ROOT, mirror, repro, run, stages_run

CACHE = str(ROOT / ".dvc" / "cache")


def make_once(
    tmp_path_factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]
) -> Path:
    """Makes the project of a name unless a worker of this session has; others wait for it."""
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    folder, made = shared / name, shared / f"{name}.made"
    with (shared / f"{name}.guard").open("w") as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)
        if not made.exists():
            make(folder)
            made.touch()
    return folder


def take_over_results(folder: Path) -> None:
    """Takes the checkout's results over as another clone does: `dvc.lock` and metrics/ by Git, all
    else by `dvc pull`, here from the checkout's cache.
    """
    shutil.copy(ROOT / "dvc.lock", folder)
    shutil.copytree(ROOT / "metrics", folder / "metrics")
    for command in (["remote", "add", "--default", "checkout", CACHE], ["pull", "--quiet"]):
        done = run(folder, "dvc", *command)
        assert done.returncode == 0, done.stdout


@pytest.fixture(scope="session")
def cifar10(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project without Git in which the pipeline has run on CIFAR-10.

    With RESNET8_RECOMPUTED, which says that `make recompute` has just run, its results are taken
    over. DVC compares code, parameters and data with what they were made from, and makes what is
    not theirs.
    """

    def make(folder: Path) -> None:
        make_project(folder, TEST_PARAMS)
        if recomputed := bool(os.environ.get("RESNET8_RECOMPUTED")):
            take_over_results(folder)
        done = repro(folder, RESNET8_MIRROR=mirror())
        assert done.returncode == 0, done.stdout
        assert recomputed or "evaluate@keras_fp32" in stages_run(done.stdout)

    return make_once(tmp_path_factory, "cifar10", make)
