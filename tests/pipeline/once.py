"""Projects that take minutes to make: made once for all workers, and to be left as they are."""

import fcntl
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from samples.demo import make_project
from tests.parameters import TEST_PARAMS
from tests.pipeline.commands import mirror, repro, stages_run


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


@pytest.fixture(scope="session")
def cifar10(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project without Git in which the pipeline has run on CIFAR-10."""

    def make(folder: Path) -> None:
        make_project(folder, TEST_PARAMS)
        done = repro(folder, RESNET8_MIRROR=mirror())
        assert done.returncode == 0, done.stdout
        assert "evaluate@keras_fp32" in stages_run(done.stdout)

    return make_once(tmp_path_factory, "cifar10", make)
