"""Runs commands of the pipeline in a folder, as a person would."""

import json
import os
import re
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
# Git with an identity of its own.
GIT = ("git", "-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false")


def environment(**extra: str) -> dict[str, str]:
    """This process's environment, with its Python first and no mirror."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    kept = {key: value for key, value in os.environ.items() if key != "RESNET8_MIRROR"}
    return {**kept, "PATH": path, **extra}


def run(folder: Path, *command: str, **extra: str) -> subprocess.CompletedProcess[str]:
    """Runs a command and keeps what it printed, stderr included, in `stdout`."""
    return subprocess.run(
        command,
        cwd=folder,
        env=environment(**extra),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )


def repro(folder: Path, *targets: str, **extra: str) -> subprocess.CompletedProcess[str]:
    return run(folder, "dvc", "repro", *targets, **extra)


def read_metrics(folder: Path, name: str) -> Any:
    """Reads a JSON file in a folder's metrics/, by its name without suffix."""
    return json.loads((folder / "metrics" / f"{name}.json").read_text())


def stages_run(output: str) -> set[str]:
    """The names of the stages that a `dvc repro` says it ran."""
    return set(re.findall(r"Running stage '([^']+)'", output))


def set_params(folder: Path, **sections: Any) -> None:
    """Changes keys in the sections of a folder's params.yaml."""
    path = folder / "params.yaml"
    params = yaml.safe_load(path.read_text())
    for name, values in sections.items():
        params[name] = {**params[name], **values} if isinstance(values, dict) else values
    path.write_text(yaml.safe_dump(params, sort_keys=False))


def flip_a_byte(path: Path) -> None:
    """Changes a byte, with the same size, time and protection."""
    before = path.stat()
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.chmod(0o644)
    path.write_bytes(content)
    path.chmod(stat.S_IMODE(before.st_mode))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


MIRROR = os.environ.get("RESNET8_MIRROR", "")
needs_mirror = pytest.mark.skipif(not MIRROR, reason="RESNET8_MIRROR names no mirror of CIFAR-10")


def mirror() -> str:
    """The mirror, by a name that is valid in any folder."""
    return MIRROR if "://" in MIRROR else str(Path(MIRROR).resolve())
