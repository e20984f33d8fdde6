"""Makes the environments that the peers run in."""

import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from resnet8.core.errors import PipelineError

HERE = Path(__file__).parent


def make_environment(peer: str, folder: Path, *, python: str) -> Path:
    """Makes a peer's environment as its requirements.txt says; what is there already stays.

    Args:
        peer: the name of a folder beside this module.
        folder: holds the environments.
        python: the interpreter to make it with.

    Returns:
        The environment's interpreter.

    Raises:
        PipelineError: a package cannot be installed.
    """
    interpreter = folder / peer / "bin" / "python"
    log = folder / f"{peer}.log"
    folder.mkdir(parents=True, exist_ok=True)
    with log.open("w", encoding="utf-8") as output:
        pip: list[str | Path] = [interpreter, "-m", "pip", "--disable-pip-version-check"]
        if not interpreter.exists() or _call([*pip, "--version"], output):
            print(f"Making {folder / peer}; this takes some minutes.")
            _check(peer, log, _call([python, "-m", "venv", "--clear", folder / peer], output))
        requirements = HERE / peer / "requirements.txt"
        _check(peer, log, _call([*pip, "install", "--quiet", "-r", requirements], output))
    return interpreter


def _call(command: Sequence[str | Path], output: IO[str]) -> int:
    return subprocess.call(command, stdout=output, stderr=subprocess.STDOUT)  # noqa: S603


def _check(peer: str, log: Path, status: int) -> None:
    if status:
        raise PipelineError(
            f"The environment of {peer} must be installable, got exit code {status} ({log}). "
            "The peers need a package index and Python 3.11 or 3.12, which --python chooses; "
            "--peers leaves a peer out."
        )
