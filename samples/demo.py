"""Runs the whole pipeline on the sample in a separate folder: `python -m samples.demo`.

The folder becomes a DVC project without Git, with a copy of the code and the parameters of
samples/params.yaml. The checkout does not change.
"""

import argparse
import os
import shutil
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TextIO

from dvc.exceptions import DvcException
from dvc.repo import Repo

from resnet8.compare.tables import print_headline
from resnet8.core.errors import PipelineError
from resnet8.core.files import read_json
from resnet8.core.processes import run_stage
from resnet8.decision.words import in_lines
from samples.steps import Steps, find_reason

ROOT = Path(__file__).parents[1]
COPIED = (
    ".dvc/plots",
    ".dvcignore",
    "constraints.txt",
    "dvc.yaml",
    "requirements.txt",
    "resnet8",
    "samples",
    "stages",
    "sweep/dvc.yaml",
)
SAMPLE_PARAMS = Path(__file__).with_name("params.yaml")
POLL_SECONDS = 0.2
INTERRUPTED_SECONDS = 10.0  # for DVC to end after Ctrl-C


def make_project(folder: Path, params: Path) -> None:
    """Makes a DVC project without Git from the pipeline's code and a parameter file.

    Keeps outputs and the DVC cache of an earlier run in the folder.

    Raises:
        PipelineError: the folder is neither empty nor an earlier demo.
    """
    made_before = (folder / "samples" / "demo.py").is_file() and folder.resolve() != ROOT
    if folder.exists() and any(folder.iterdir()) and not made_before:
        raise PipelineError(f"{folder} must be empty or an earlier demo, got another folder.")
    for name in COPIED:
        source, copy = ROOT / name, folder / name
        if source.is_dir():
            shutil.rmtree(copy, ignore_errors=True)
            shutil.copytree(source, copy, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, copy)
    shutil.copyfile(params, folder / "params.yaml")
    linked = folder / "data" / "linked"
    linked.mkdir(parents=True, exist_ok=True)
    (linked / ".gitkeep").touch()
    (folder / "sweep" / "runs.csv").touch()
    config = (ROOT / ".dvc" / "config").read_text(encoding="utf-8")
    config = config.replace("[core]\n", "[core]\n    no_scm = true\n")
    (folder / ".dvc" / "config").write_text(config, encoding="utf-8")


def repro(folder: Path, log: Path) -> None:
    """Runs `dvc repro` in a folder with this process's Python, and shows its stages.

    Args:
        folder: a DVC project.
        log: file for the output of DVC and the stages.

    Raises:
        PipelineError: a stage or DVC failed.
    """
    stages = {}
    with suppress(DvcException), Repo(folder) as repo:  # DVC reports the error below
        stages = {x.name: x.desc for x in repo.index.stages if x.path_in_repo == "dvc.yaml"}
    # Stages call `python`, which must be this environment's.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    command = [sys.executable, "-m", "dvc", "repro"]
    steps = Steps(stages, sys.stdout)
    with log.open("wb") as out, log.open(encoding="utf-8", errors="replace") as written:
        process = subprocess.Popen(  # noqa: S603
            command, cwd=folder, env={**os.environ, "PATH": path}, stdout=out, stderr=out
        )
        try:
            follow(process, written, steps)
        except KeyboardInterrupt:  # the terminal also sends it to DVC and its stage
            with suppress(subprocess.TimeoutExpired):
                process.wait(INTERRUPTED_SECONDS)
            process.terminate()
            raise
    steps.finish("failed" if process.returncode else "")
    if process.returncode:
        reason = find_reason(log.read_text(encoding="utf-8", errors="replace"))
        raise PipelineError(f"{reason}\nLog: {log}")


def follow(process: subprocess.Popen[bytes], log: TextIO, steps: Steps) -> None:
    """Follows the log of a DVC process until the process ends."""
    unfinished = ""
    while True:
        ended = process.poll() is not None
        *lines, unfinished = (unfinished + log.read()).split("\n")
        for line in lines:
            steps.read(line)
        if ended:
            return
        steps.show()
        time.sleep(POLL_SECONDS)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("build/demo"))
    folder = parser.parse_args(argv).out

    make_project(folder, SAMPLE_PARAMS)
    log = folder / "demo.log"
    print(f"Running the pipeline on the sample, with samples/params.yaml. Output of DVC: {log}.")
    repro(folder, log)

    comparison, decision = (
        read_json(folder / "metrics" / f"{name}.json") for name in ("comparison", "decision")
    )
    print("", *in_lines(decision, comparison), "", sep="\n")
    print_headline(comparison)
    print(f"Numbers: {folder}/metrics/, models: {folder}/artifacts/models/.")
    print(f"Open the report in a browser: {folder}/artifacts/report/index.html")


if __name__ == "__main__":
    run_stage(main)
