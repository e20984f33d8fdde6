"""Files of a Git revision, read with git alone."""

import subprocess
from pathlib import Path

from resnet8.core.errors import GateError


def resolve(folder: Path, revision: str) -> str:
    """Finds the commit that a revision names.

    Args:
        folder: the project, anywhere in a Git repository.
        revision: a branch, tag, commit or any other of Git's spellings.

    Returns:
        The commit's full name.

    Raises:
        GateError: there is no git or no repository, the history is not complete, or it does
            not have the revision.
    """
    if not revision:
        raise GateError(
            "The base must be a Git revision, got none. Name one, for example: "
            "make gate BASE=origin/main"
        )
    if _git(folder, "rev-parse", "--is-shallow-repository") == b"true\n":
        raise GateError(
            f"The clone must have all of the history to find {revision}, got a shallow one. "
            "Complete it with `git fetch --unshallow` (in GitHub Actions: fetch-depth: 0)."
        )
    found = _run(folder, "rev-parse", "--verify", "--end-of-options", f"{revision}^{{commit}}")
    if found.returncode:
        raise GateError(
            f"The base must be a Git revision, got {revision!r}, which git does not know. Fetch "
            "it with `git fetch origin`, or name another (`git log --oneline` lists them)."
        )
    return found.stdout.decode().strip()


def read_at(folder: Path, commit: str, path: str) -> bytes:
    """Reads a file as it was in a commit.

    Args:
        folder: the project.
        commit: what `resolve` found.
        path: in the project.

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


def _git(folder: Path, *arguments: str) -> bytes:
    done = _run(folder, *arguments)
    if done.returncode:
        raise GateError(
            f"{folder.resolve()} must be in a Git repository, got: {_first_line(done.stderr)} "
            "Run the gate in a clone of the project."
        )
    return done.stdout


def _run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    command = ["git", "-C", str(folder), *arguments]
    try:
        return subprocess.run(command, capture_output=True, check=False)  # noqa: S603
    except FileNotFoundError as exc:
        raise GateError("git must be installed, got no such command. Install it.") from exc


def _first_line(message: bytes) -> str:
    lines = message.decode(errors="replace").strip().splitlines()
    return lines[0].removeprefix("fatal: ").rstrip(".") + "." if lines else "nothing."
