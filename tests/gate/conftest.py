"""A project that the gate judges, and the gate in this process."""

import shutil
from pathlib import Path

import pytest

from resnet8.gate.command import main
from tests.gate.project import Ended, Gate, make_project


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_project(tmp_path_factory.mktemp("gate") / "project")


@pytest.fixture
def project(original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project whose working tree is as committed, and the current folder."""
    folder = tmp_path / "project"
    shutil.copytree(original, folder)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("COLUMNS", "160")
    return folder


@pytest.fixture
def gate(capsys: pytest.CaptureFixture[str]) -> Gate:
    def run(*arguments: str, base: str = "HEAD") -> Ended:
        return Ended(main([f"--base={base}", *arguments]), *capsys.readouterr())

    return run
