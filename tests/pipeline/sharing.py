"""A team's clones and their remote, set up by the commands that docs/sharing.md shows."""

import hashlib
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

from tests.pipeline.commands import GIT, ROOT, repro, run, stages_run
from tests.pipeline.ssh_server import Server

DOCUMENT = ROOT / "docs" / "sharing.md"
CONFIGURATION = (".dvc/config", ".dvc/.gitignore", ".gitattributes", ".gitignore")


def shown(start: str) -> str:
    """Returns the only block of lines in the document whose first line begins with `start`."""
    blocks: list[list[str]] = [[]]
    for line in DOCUMENT.read_text().splitlines():
        if line.startswith("    "):
            blocks[-1].append(line.removeprefix("    "))
        elif blocks[-1]:
            blocks.append([])
    (block,) = [block for block in blocks if block and block[0].startswith(start)]
    return "\n".join(block) + "\n"


def checked(folder: Path, *command: str, **extra: str) -> str:
    """Runs a command that must succeed; what it printed."""
    done = run(folder, *command, **extra)
    assert done.returncode == 0, done.stdout
    return done.stdout


class Team(NamedTuple):
    """Home, server and storage that members share.

    home: where they have `.ssh/config`, and nothing else.
    port: of the network to the server.
    storage: the remote's folder on the server.
    """

    home: Path
    server: Server
    port: int
    storage: Path

    def set_up(self, clone: Path) -> None:
        """Sets the remote up as the document says, but for who, where and the key."""
        url = f"ssh://{self.server.user}@127.0.0.1:{self.port}{self.storage}"
        lines = shown('pip install "dvc[ssh]"')
        lines = lines.replace("ssh://alice@server.example.org/srv/dvc/resnet8", url)
        lines = lines.replace("~/.ssh/id_ed25519", str(self.server.key))
        _installation, *commands = lines.splitlines()
        for command in commands:
            checked(clone, *shlex.split(command), HOME=str(self.home))

    def limit_silence(self) -> None:
        """Sets `.ssh/config` up as the document says, but for the server and the time."""
        lines = shown("Host ").replace("server.example.org", "127.0.0.1")
        lines = lines.replace("Interval 15", "Interval 3")
        (self.home / ".ssh" / "config").write_text(lines)

    def allow_silence(self) -> None:
        """Sets no limit, so that a busy machine's server is not taken for a dead one."""
        (self.home / ".ssh" / "config").unlink(missing_ok=True)

    def clone(self, source: Path, folder: Path) -> Path:
        """A clone of the Git repository with the remote set up as in the source."""
        checked(source, "git", "clone", "--quiet", str(source), str(folder))
        shutil.copy(source / ".dvc" / "config.local", folder / ".dvc")
        return folder

    def dvc(self, clone: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
        return run(clone, "dvc", *arguments, HOME=str(self.home))

    def must(self, clone: Path, *arguments: str) -> str:
        """Runs DVC, which must succeed; what it printed."""
        return checked(clone, "dvc", *arguments, HOME=str(self.home))

    def objects(self) -> dict[str, str]:
        """MD5 of each object in the remote by what its name says that it is."""
        files = self.storage / "files" / "md5"
        return {
            path.parent.name + path.name.removesuffix(".dir"): hashlib.md5(
                path.read_bytes()
            ).hexdigest()
            for path in files.glob("??/[!.]*")
        }

    def leftovers(self) -> list[Path]:
        """Leftovers of broken uploads in the remote."""
        return sorted(self.storage.rglob(".*.tmp"))


def make_repository(folder: Path) -> None:
    """Makes a Git repository of a project without Git; what has run in it stays."""
    for name in CONFIGURATION:
        shutil.copy(ROOT / name, folder / name)
    checked(folder, *GIT, "init", "--quiet")
    commit(folder)


def commit(folder: Path) -> None:
    checked(folder, *GIT, "add", "--all")
    checked(folder, *GIT, "commit", "--quiet", "--message", "results")


def assert_up_to_date(clone: Path) -> None:
    """Checks that there is nothing to do for DVC, and no change for Git."""
    assert "Data and pipelines are up to date." in checked(clone, "dvc", "status", "dvc.yaml")
    again = repro(clone)
    assert (again.returncode, stages_run(again.stdout)) == (0, set()), again.stdout
    assert checked(clone, "git", "status", "--porcelain") == ""
