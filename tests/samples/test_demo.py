"""The steps of the demo, with a project of two stages and the real DVC."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

from samples.demo import ROOT

REPRO = """
import sys
from pathlib import Path
from resnet8.core.processes import run_stage
from samples.demo import repro
run_stage(lambda: repro(Path(sys.argv[1]), Path(sys.argv[2])))
"""


class Ended(NamedTuple):
    code: int
    lines: list[str]
    log: str


def make_folder(folder: Path, second: str) -> Path:
    """Makes a DVC project of two stages, the second with a given command."""
    (folder / ".dvc").mkdir(parents=True)
    config = "[core]\n    no_scm = true\n    analytics = false\n    check_update = false\n"
    (folder / ".dvc" / "config").write_text(config)
    first = {"desc": "Writes a word", "cmd": "echo said; echo word > word", "outs": ["word"]}
    stages = {"first": first, "second": {"desc": "Reads it", "cmd": second, "deps": ["word"]}}
    (folder / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}))
    return folder


def start(folder: Path) -> "subprocess.Popen[str]":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # background jobs ignore it
    return subprocess.Popen(
        [sys.executable, "-c", REPRO, str(folder), str(folder / "demo.log")],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def finish(process: "subprocess.Popen[str]", folder: Path) -> Ended:
    printed, _ = process.communicate()
    lines = [" ".join(line.split()) for line in printed.splitlines()]
    return Ended(process.returncode, lines, (folder / "demo.log").read_text())


def run(folder: Path) -> Ended:
    return finish(start(folder), folder)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_folder(tmp_path_factory.mktemp("demo"), "cat word")


@pytest.fixture(scope="module")
def ended(folder: Path) -> Ended:
    return run(folder)


def test_each_stage_is_one_line_without_escape_codes(ended: Ended) -> None:
    first, second = ended.lines
    assert first.startswith("1/2 first Writes a word ")
    assert second.startswith("2/2 second Reads it ")
    assert not any("\x1b" in line or "\r" in line for line in ended.lines)
    assert ended.code == 0


def test_log_has_what_dvc_and_the_stages_print(ended: Ended) -> None:
    assert "Running stage 'first'" in ended.log
    assert "said\n" in ended.log
    assert "word\n" in ended.log


def test_second_run_says_that_nothing_changed(folder: Path, ended: Ended) -> None:
    assert run(folder).lines == [
        "1/2 first Writes a word unchanged",
        "2/2 second Reads it unchanged",
    ]


def test_failed_stage_ends_with_its_message_and_where_the_log_is(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "project", "echo 'error: it must be 1, got 0.'; exit 1")
    ended = run(folder)
    assert ended.lines[1:] == [
        "2/2 second Reads it failed",
        "error: it must be 1, got 0.",
        f"Log: {folder / 'demo.log'}",
    ]
    assert ended.code == 1


def test_fault_of_dvc_itself_is_shown(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "project", "cat word")
    (folder / "dvc.lock").write_text("no: lock\n")
    ended = run(folder)
    assert ended.code == 1
    assert any("dvc.lock' validation failed" in line for line in ended.lines)
    assert "Traceback" not in "".join(ended.lines)


def test_ctrl_c_ends_dvc_and_its_stage(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "project", "touch begun; sleep 600")
    process = start(folder)
    while not (folder / "begun").exists():
        assert process.poll() is None
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGINT)
    ended = finish(process, folder)
    assert ended.lines[-1] == "interrupted"
    assert ended.code == 130
    assert "exited with" in ended.log  # DVC ended by itself, after its stage
    with pytest.raises(ProcessLookupError, match="No such process"):
        os.killpg(process.pid, 0)
