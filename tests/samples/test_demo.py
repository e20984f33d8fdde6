"""The demo, with a project of two stages and the real DVC; tests/pipeline has all stages."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

from resnet8.core.errors import PipelineError
from resnet8.core.params import load_params
from samples.demo import ROOT, SAMPLE_PARAMS, make_project
from tests.parameters import TEST_PARAMS

REPRO = """
import sys
from pathlib import Path
from resnet8.core.processes import run_stage
from samples.demo import repro
run_stage(lambda: repro(Path(sys.argv[1]), Path(sys.argv[2])))
"""
CONFIG = "[core]\n    no_scm = true\n    analytics = false\n    check_update = false\n"


class Ended(NamedTuple):
    code: int
    lines: list[str]
    log: str


def make_folder(folder: Path, second: str) -> Path:
    """Makes a DVC project of two stages, the second with a given command."""
    (folder / ".dvc").mkdir(parents=True)
    (folder / ".dvc" / "config").write_text(CONFIG)
    first = {"desc": "Writes a word", "cmd": "echo said; echo word > word", "outs": ["word"]}
    stages = {"first": first, "second": {"desc": "Reads it", "cmd": second, "deps": ["word"]}}
    (folder / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}))
    return folder


def run(folder: Path, *, interrupted: bool = False) -> Ended:
    """Runs the demo's `repro`; presses Ctrl-C once there is a file `begun`."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # background jobs ignore it
    command = [sys.executable, "-c", REPRO, str(folder), str(folder / "demo.log")]
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        start_new_session=True,
    )  # fmt: skip
    if interrupted:
        while not (folder / "begun").exists():
            assert process.poll() is None
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGINT)
    printed, _ = process.communicate()
    with pytest.raises(ProcessLookupError, match="No such process"):
        os.killpg(process.pid, 0)
    lines = [" ".join(line.split()) for line in printed.splitlines()]
    return Ended(process.returncode, lines, (folder / "demo.log").read_text())


def test_each_stage_is_one_line_and_the_log_has_the_rest(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "project", "cat word")
    ended = run(folder)
    first, second = ended.lines
    assert first.startswith("1/2 first Writes a word ")
    assert second.startswith("2/2 second Reads it ")
    assert not set("\r\033") & set("".join(ended.lines))
    assert ended.code == 0
    for text in ("Running stage 'first'", "said\n", "word\n"):
        assert text in ended.log
    unchanged = ["1/2 first Writes a word unchanged", "2/2 second Reads it unchanged"]
    assert run(folder).lines == unchanged


def test_failed_stage_ends_with_its_message_and_where_the_log_is(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "project", "echo 'error: it must be 1, got 0.'; exit 1")
    ended = run(folder)
    log = f"Log: {folder / 'demo.log'}"
    assert ended.lines[1:] == ["2/2 second Reads it failed", "error: it must be 1, got 0.", log]
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
    ended = run(folder, interrupted=True)
    assert (ended.code, ended.lines[-1]) == (130, "interrupted")
    assert "exited with" in ended.log  # DVC ended by itself, after its stage


def test_make_project_refuses_a_folder_with_something_else_in_it(tmp_path: Path) -> None:
    (tmp_path / "stages").mkdir()
    (tmp_path / "stages" / "mine.py").touch()
    for folder in (tmp_path, ROOT, ROOT.parent):
        with pytest.raises(PipelineError, match="must be empty or an earlier demo"):
            make_project(folder, SAMPLE_PARAMS)
    assert (tmp_path / "stages" / "mine.py").exists()


def test_demo_parameters_fit_as_those_of_the_reference_do() -> None:
    sample, reference = load_params(SAMPLE_PARAMS), load_params(TEST_PARAMS)
    assert sample.settings == reference.settings
    assert sample.variants == reference.variants
