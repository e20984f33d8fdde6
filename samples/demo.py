"""Runs the whole pipeline on the sample, in a folder of its own: `python -m samples.demo`.

The folder gets a copy of the code, parameters that name the sample, and a DVC project
without Git, so nothing of the checkout changes. It can be looked at and run again there.
"""

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

import yaml

from resnet8.errors import PipelineError, run_stage
from resnet8.files import read_json
from resnet8.tables import print_headline

ROOT = Path(__file__).parents[1]
COPIED = ("dvc.yaml", "requirements.txt", "resnet8", "samples", "stages")


def copy_project(folder: Path) -> None:
    """Copies the pipeline's code to a folder, with parameters that name the sample.

    Outputs and the DVC cache of an earlier run stay, so that a second run is quick.
    """
    for name in COPIED:
        source, copy = ROOT / name, folder / name
        if source.is_dir():
            shutil.rmtree(copy, ignore_errors=True)
            shutil.copytree(source, copy, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, copy)
    linked = folder / "data" / "linked"
    linked.mkdir(parents=True, exist_ok=True)
    (linked / ".gitkeep").touch()
    params = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    params["fetch"] = {"dataset": "sample", "model": "sample", "model_sha256": None}
    (folder / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False), encoding="utf-8")


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

    copy_project(folder)
    if not (folder / ".dvc").exists():
        run_dvc(folder, "init", "--no-scm", "--quiet")
        shutil.copyfile(ROOT / ".dvc" / "config", folder / ".dvc" / "config")
        run_dvc(folder, "config", "core.no_scm", "true")
    run_dvc(folder, "repro")
    print_headline(read_json(folder / "metrics" / "comparison.json"))
    print(f"All figures are in {folder}/metrics/, the models in {folder}/artifacts/models/.")


if __name__ == "__main__":
    run_stage(main)
