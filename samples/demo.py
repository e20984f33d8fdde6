"""Runs the whole pipeline on the sample, in a folder of its own: `python -m samples.demo`.

The folder becomes a DVC project without Git, with a copy of the code and the parameters of
samples/params.yaml, so nothing of the checkout changes. It can be looked at and run again there.
"""

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

from resnet8.compare.tables import print_headline
from resnet8.core.errors import PipelineError
from resnet8.core.files import read_json
from resnet8.core.processes import run_stage

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


def make_project(folder: Path, params: Path) -> None:
    """Makes a DVC project without Git out of the pipeline's code and a parameter file.

    Outputs and the DVC cache of an earlier run in the folder stay, so that the next is quick.

    Raises:
        PipelineError: the folder holds something else.
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


def run_dvc(folder: Path, *arguments: str) -> None:
    """Runs DVC in a folder with this process's Python.

    Raises:
        PipelineError: DVC failed; it has said why.
    """
    # Stages call `python`: it must be the one that has the requirements.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    command = [sys.executable, "-m", "dvc", *arguments]
    environment = {**os.environ, "PATH": path}
    if subprocess.run(command, cwd=folder, env=environment, check=False).returncode:  # noqa: S603
        raise PipelineError(f"`dvc {' '.join(arguments)}` failed in {folder}; see above.")


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("build/demo"))
    folder = parser.parse_args(argv).out

    make_project(folder, SAMPLE_PARAMS)
    run_dvc(folder, "repro")
    print_headline(read_json(folder / "metrics" / "comparison.json"))
    print(f"All numbers are in {folder}/metrics/, the models in {folder}/artifacts/models/.")
    print(f"The report, which any browser opens: {folder}/artifacts/report/index.html")


if __name__ == "__main__":
    run_stage(main)
