"""Reads files of a Git revision with the git command, in the current folder."""

import subprocess
from collections.abc import Sequence
from pathlib import Path

from resnet8.core.errors import GateError


def resolve(revision: str) -> str:
    """Returns the full hash of the commit that a revision names.

    Raises:
        GateError: there is no git, no repository or no such revision in it.
    """
    shallow = _git(
        "rev-parse", "--is-shallow-repository",
        problem=f"{Path.cwd()} must be in a Git repository, got none",
        remedy="Run the gate in a clone of the project.",
    )  # fmt: skip
    remedy = (
        "The clone is shallow: complete it with `git fetch --unshallow` (in GitHub Actions: "
        "fetch-depth: 0)."
        if shallow == b"true\n"
        else "Fetch it with `git fetch origin`, or name another (`git log --oneline` lists them): "
        "make gate BASE=origin/main"
    )
    commit = _git(
        "rev-parse", "--verify", "--end-of-options", f"{revision}^{{commit}}",
        problem=f"The base must be a Git revision, got {revision!r}",
        remedy=remedy,
    )  # fmt: skip
    return commit.decode().strip()


def read_at(commit: str, path: Path) -> bytes:
    """Returns the content of a project file in a commit.

    Raises:
        GateError: the commit does not have it.
    """
    return _git(
        "cat-file", "blob", f"{commit}:./{path}",
        problem=f"{path} must be in the base {commit[:10]}, got none",
        remedy="Name a base whose results are committed.",
    )  # fmt: skip


def find_edited(commit: str, paths: Sequence[str]) -> list[str]:
    """Lists changed and new files under some paths, compared with a commit.

    Raises:
        GateError: git fails.
    """
    listings = [
        _git(*command, "--", *paths, problem="git must list what was edited, got an error")
        for command in (
            ("diff", "--name-only", "-z", "--relative", commit),
            ("ls-files", "--others", "--exclude-standard", "-z"),
        )
    ]
    names = b"".join(listings).decode(errors="backslashreplace").split("\0")
    return sorted(x for x in names if x)


def _git(*arguments: str, problem: str, remedy: str = "") -> bytes:
    """Returns the output of a git command.

    Raises:
        GateError: the command fails, with `problem`, git's reason and `remedy` in the message.
    """
    try:
        done = subprocess.run(["git", *arguments], capture_output=True, check=False)  # noqa: S603, S607
    except FileNotFoundError as exc:
        raise GateError("git must be installed, got no such command. Install it.") from exc
    if done.returncode:
        reason = done.stderr.decode(errors="replace").strip().partition("\n")[0]
        raise GateError(f"{problem} ({reason.removeprefix('fatal: ')}). {remedy}".strip())
    return done.stdout
