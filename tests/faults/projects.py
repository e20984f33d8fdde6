"""Projects whose runs are disturbed: a small model, few images and few types, to be quick."""

import importlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import psutil
import pytest
import yaml
from dvc.repo import Repo

from samples.demo import SAMPLE_PARAMS, make_project
from tests.pipeline.commands import environment, set_params
from tests.pipeline.once import make_once

Disturbed = TypeVar("Disturbed")
HOOKS = Path(__file__).with_name("hooks")
PATIENCE_SECONDS = 3600  # for events that always come, however busy the machine is
# What makes runs quick: few images, and one type of each framework.
FEW: dict[str, Any] = {
    "calibrate": {"size": 100},
    "quantize_onnx": {"types": ["int8"]},
    "inspect": {"images": 20, "sensitivity_images": 10, "verified_images": 25},
}


PERSISTENT = ("validate", "fetch")  # with outputs that DVC does not remove before it runs them
# One stage for each kind of outputs. All stages write them through resnet8.core.files.
REPRESENTATIVE = (
    "fetch",  # a folder that persists
    "convert_onnx",  # scratch files; a model, and a metric in Git
    "calibrate",  # several arrays
    "fit",  # a folder
    "quantize_torch@int8",  # a file that PyTorch writes
    "evaluate@onnx_fp32",  # predictions, and metrics in Git
    "compare",  # a folder of DVC metrics
    "plots",  # pictures
    "report",  # one text file
)


class Ended(NamedTuple):
    """Exit code of a command, or minus the signal; its output; its process."""

    code: int
    output: str
    process: int


def save_small_model(path: Path) -> None:
    """Saves an untrained model with fewer layers than the sample's and as many weights: stages
    need less time, and as much disk space.
    """
    keras = importlib.import_module("keras")  # takes seconds, and one worker needs it
    layers = keras.layers
    keras.utils.set_random_seed(0)
    inputs = keras.Input((32, 32, 3))
    x = layers.BatchNormalization()(layers.Conv2D(4, 3, strides=4, padding="same")(inputs))
    x = layers.ReLU()(x)
    y = layers.BatchNormalization()(layers.Conv2D(4, 3, padding="same")(x))
    x = layers.Flatten()(layers.ReLU()(layers.Add()([x, y])))
    x = layers.Dense(10, activation="softmax")(layers.Dense(300, activation="relu")(x))
    keras.Model(inputs, x).save(path)


def new_project(folder: Path, model: Path) -> Path:
    """Makes a project of the sample with another model, few images and few types."""
    make_project(folder, SAMPLE_PARAMS)
    set_params(folder, **FEW, fetch={"model": str(model)})
    return folder


class Running(NamedTuple):
    """A running command, and the file of its output, stderr included."""

    process: subprocess.Popen[bytes]
    output: Path


def start(folder: Path, *command: str, **extra: str) -> Running:
    """Starts a command in a session of its own, which identifies its processes."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # background jobs ignore it
    with tempfile.NamedTemporaryFile(dir=folder.parent, prefix="output-", delete=False) as output:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment(
                DVC_SITE_CACHE_DIR=str(notes_of(folder)), PYTHONPATH=str(HOOKS), **extra
            ),
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    return Running(process, Path(output.name))


def finish(running: Running) -> Ended:
    code = running.process.wait(PATIENCE_SECONDS)
    return Ended(code, running.output.read_text(), running.process.pid)


def repro(folder: Path, *arguments: str, **extra: str) -> Ended:
    command = (sys.executable, "-m", "dvc", "repro", *arguments)
    return finish(start(folder, *command, **extra))


def fault(folder: Path, stage: str, deed: str, moment: str, **extra: str) -> dict[str, str]:
    """The environment in which a stage is disturbed; see hooks/sitecustomize.py."""
    return {
        "FAULT_STAGE": stage,
        "FAULT_DEED": deed,
        "FAULT_MOMENT": moment,
        "FAULT_LOG": str(log_path(folder)),
        **extra,
    }


def log_path(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}-log")


def events(folder: Path) -> dict[int, list[str]]:
    """Events in disturbed stages, by process."""
    by_process: dict[int, list[str]] = {}
    for line in log_path(folder).read_text().splitlines():
        process, event = line.split()[:2]
        by_process.setdefault(int(process), []).append(event)
    return by_process


def notes_of(folder: Path) -> Path:
    """Folder of DVC's notes on a project's files: outside of the project, as by default."""
    return folder.with_name(f"{folder.name}-dvc")


def dvc_status(folder: Path) -> dict[str, Any]:
    """Changes that `dvc status` reports, by stage, with the notes of the runs before."""
    with Repo(folder, config={"core": {"site_cache_dir": str(notes_of(folder))}}) as repo:
        status: dict[str, Any] = repo.status(targets=[str(folder / "dvc.yaml")])
    return {address.rpartition(":")[2]: changes for address, changes in status.items()}


def temporaries(folder: Path) -> list[str]:
    """Temporary files of running and of killed processes."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob(".*.tmp*"))


def forget(folder: Path, *stages: str) -> None:
    """Makes DVC run stages again: changes dvc.lock, and removes the run cache."""
    path = folder / "dvc.lock"
    lock = path.read_text()
    for stage in stages:
        start = lock.index(f"\n  {stage}:\n")
        first = re.compile(r"md5: \w+").search(lock, start)
        lock = f"{lock[: first.start()]}md5: {'ab' * 16}{lock[first.end() :]}"
    path.write_text(lock)
    shutil.rmtree(folder / ".dvc" / "cache" / "runs", ignore_errors=True)


def wait_until(condition: Any) -> None:
    end = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def left_over(session: int) -> list[int]:
    """The processes of a session that still run."""
    running = []
    for process in psutil.pids():
        with suppress(ProcessLookupError, psutil.NoSuchProcess):
            # The session first: the status of all processes takes ten times as long to get.
            alone = os.getsid(process) != session
            if not alone and psutil.Process(process).status() != psutil.STATUS_ZOMBIE:
                running.append(process)
    return running


def wait_for_end(session: int) -> None:
    """Waits until no process of a session runs."""
    wait_until(lambda: not left_over(session))


@pytest.fixture(scope="session")
def small_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One file for all workers: its name is among the parameters, and so in each dvc.lock."""
    return make_once(tmp_path_factory, "small.h5", save_small_model)


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, small_model: Path) -> Path:
    """A project in which the pipeline has run undisturbed; to be copied."""

    def make(folder: Path) -> None:
        done = repro(new_project(folder, small_model))
        assert done.code == 0, done.output

    return make_once(tmp_path_factory, "finished", make)


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory, small_model: Path) -> Path:
    """A project whose runs are disturbed one after another; each starts after the one before."""
    return new_project(tmp_path_factory.mktemp("chain") / "project", small_model)


def copy(project: Path, folder: Path, *forgotten: str) -> Path:
    """Copies a project, and makes DVC run stages again in the copy."""
    shutil.copytree(project, folder, symlinks=True)
    if forgotten:
        forget(folder, *forgotten)
    return folder


def lock(folder: Path) -> bytes:
    return (folder / "dvc.lock").read_bytes()


def assert_refused(ended: Ended, *words: str, code: str = "1") -> None:
    """Checks that a run ended in its stage, with a message that has these words."""
    assert ended.code == 255, ended.output
    for text in words:
        assert text in ended.output
    # A shell that does not replace itself with the stage (dash, say) is ended by the same signal.
    assert re.search(f"exited with ({code})$", ended.output, re.MULTILINE), ended.output
    assert "Traceback" not in ended.output


def assert_recovers(folder: Path, undisturbed: Path) -> None:
    """Checks that one `dvc repro` gives the results of an undisturbed run."""
    done = repro(folder)
    assert done.code == 0, done.output
    assert lock(folder) == lock(undisturbed)
    assert dvc_status(folder) == {}
    assert temporaries(folder) == []


def one_after_another(
    finished: Path, disturb: Callable[[str], Disturbed]
) -> Callable[[str], Disturbed]:
    """Returns a function that disturbs all representative stages up to one, as DVC runs them."""
    stages = iter(x for x in locked_stages(finished) if x in REPRESENTATIVE)
    results: dict[str, Disturbed] = {}

    def up_to(stage: str) -> Disturbed:
        assert stage in locked_stages(finished)
        while stage not in results:
            following = next(stages)
            results[following] = disturb(following)
        return results[stage]

    return up_to


def locked_stages(folder: Path) -> tuple[str, ...]:
    """Stages that dvc.lock records."""
    path = folder / "dvc.lock"
    return tuple(yaml.safe_load(path.read_text())["stages"]) if path.exists() else ()
