"""Reads files of a Git revision with the git command."""

import subprocess
from collections.abc import Sequence
from pathlib import Path

from resnet8.core.errors import GateError


def resolve(folder: Path, revision: str) -> str:
    """Returns the full hash of the commit that a revision names.

    Raises:
        GateError: there is no git, no repository or no such revision in it.
    """
    if not revision:
        raise GateError(
            "The base must be a Git revision, got none. Name one, for example: "
            "make gate BASE=origin/main"
        )
    shallow = _run(folder, "rev-parse", "--is-shallow-repository")
    if shallow.returncode:
        raise GateError(
            f"{folder.resolve()} must be in a Git repository, got: {_first_line(shallow.stderr)} "
            "Run the gate in a clone of the project."
        )
    found = _run(folder, "rev-parse", "--verify", "--end-of-options", f"{revision}^{{commit}}")
    if found.returncode == 0:
        return found.stdout.decode().strip()
    remedy = (
        "The clone is shallow: complete it with `git fetch --unshallow` (in GitHub Actions: "
        "fetch-depth: 0)."
        if shallow.stdout == b"true\n"
        else "Fetch it with `git fetch origin`, or name another (`git log --oneline` lists them)."
    )
    raise GateError(
        f"The base must be a Git revision, got {revision!r}, which is no commit here. {remedy}"
    )


def read_at(folder: Path, commit: str, path: str) -> bytes:
    """Returns the content of a project file in a commit.

    Raises:
        GateError: the commit does not have it.
    """
    found = _run(folder, "cat-file", "blob", f"{commit}:./{path}")
    if found.returncode:
        raise GateError(
            f"{path} must be in the base {commit[:10]}, got: {_first_line(found.stderr)} "
            "Name a base whose results are committed."
        )
    return found.stdout


def find_edited(folder: Path, commit: str, paths: Sequence[str]) -> list[str]:
    """Lists changed and new files under some paths, compared with a commit.

    Raises:
        GateError: git fails.
    """
    changed = _run(folder, "diff", "--name-only", "-z", "--relative", commit, "--", *paths)
    new = _run(folder, "ls-files", "--others", "--exclude-standard", "-z", "--", *paths)
    for found in (changed, new):
        if found.returncode:
            raise GateError(f"git must list what was edited, got: {_first_line(found.stderr)}")
    names = (changed.stdout + new.stdout).decode(errors="backslashreplace").split("\0")
    return sorted(x for x in names if x)


def _run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    command = ["git", "-C", str(folder), *arguments]
    try:
        return subprocess.run(command, capture_output=True, check=False)  # noqa: S603
    except FileNotFoundError as exc:
        raise GateError("git must be installed, got no such command. Install it.") from exc


def _first_line(message: bytes) -> str:
    lines = message.decode(errors="replace").strip().splitlines()
    return lines[0].removeprefix("fatal: ").rstrip(".") + "." if lines else "nothing."
