"""Ends of a stage's process."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from resnet8.core.errors import ParityError, SourceError
from resnet8.core.processes import is_orphan, run_stage


def ends(fault: BaseException) -> Callable[[], None]:
    """A stage's main that ends with the fault."""

    def main() -> None:
        raise fault

    return main


def exit_code(main: Callable[[], None]) -> object:
    with pytest.raises(SystemExit, match=r"^\d+$") as ended:
        run_stage(main)
    return ended.value.code


@pytest.mark.parametrize(
    ("main", "code", "printed"),
    [
        (lambda: None, 0, ""),
        (lambda: sys.exit(2), 2, ""),
        (ends(SourceError("x must be a file.")), 1, "error: x must be a file.\n"),
        (ends(ParityError("x must be y.")), 1, "error: x must be y.\n"),
        (ends(PermissionError(13, "Denied", "out/m.h5")), 1, "error: Denied (out/m.h5).\n"),
        (ends(OSError("the disk is gone")), 1, "error: the disk is gone.\n"),
        (ends(KeyboardInterrupt()), 130, "interrupted\n"),
    ],
)
def test_run_stage_exits_with_a_code_and_one_message(
    capsys: pytest.CaptureFixture[str], main: Callable[[], None], code: int, printed: str
) -> None:
    assert (exit_code(main), capsys.readouterr()) == (code, ("", printed))


def test_run_stage_replaces_an_unfinished_bar_on_a_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    exit_code(ends(SourceError("x must be a file.")))
    assert capsys.readouterr().err == "\r\033[Kerror: x must be a file.\n"


def test_run_stage_leaves_the_traceback_to_a_defect() -> None:
    with pytest.raises(ZeroDivisionError, match="a defect"):
        run_stage(ends(ZeroDivisionError("a defect")))


ROOT = Path(__file__).parents[2]
PATIENCE_SECONDS = 1800  # for what always comes, be the machine as busy as it may
# What a stage does: something slow at its top, or in its main.
STAGE = """
import os, signal, sys, time
from resnet8.core.processes import run_stage, stand_by
def press_ctrl_c():
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(3600)
stand_by()
if sys.argv[1] == "import":
    press_ctrl_c()
run_stage(press_ctrl_c)
"""


def run(code: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # background jobs ignore it
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )


@pytest.mark.parametrize("moment", ["import", "main"])
def test_ctrl_c_ends_a_stage_with_one_word_also_while_it_imports(moment: str) -> None:
    done = run(STAGE, moment)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "interrupted\n")


def test_ctrl_c_is_told_also_while_messages_are_hidden() -> None:
    hidden = "import os\nos.dup2(os.open(os.devnull, os.O_WRONLY), 2)\npress_ctrl_c()\n"
    done = run(STAGE.replace('if sys.argv[1] == "import":\n    press_ctrl_c()\n', hidden), "")
    assert (done.returncode, done.stderr) == (130, "interrupted\n")


def test_a_second_ctrl_c_ends_a_stage_that_is_cleaning_up() -> None:
    code = """
def main():
    try:
        press_ctrl_c()
    finally:
        press_ctrl_c()
"""
    done = run(STAGE.replace("stand_by()\n", f"stand_by()\n{code}", 1).replace(
        "run_stage(press_ctrl_c)", "run_stage(main)"), "main")  # fmt: skip
    assert (done.returncode, done.stderr) == (130, "interrupted\n")


def test_a_stage_started_with_ctrl_c_ignored_goes_on_ignoring_it() -> None:
    code = """
import os, signal
signal.signal(signal.SIGINT, signal.SIG_IGN)
from resnet8.core.processes import run_stage, stand_by
stand_by()
run_stage(lambda: os.kill(os.getpid(), signal.SIGINT))
"""
    done = run(code)
    assert (done.returncode, done.stderr) == (0, "")


# A runner that starts a stage and is killed while the stage is at work.
RUNNER = """
import os, signal, subprocess, sys, time
stage = subprocess.Popen([*sys.argv[2:], sys.executable, "-c", sys.argv[1]])
os.read(0, 1)
os.kill(os.getpid(), signal.SIGKILL)
"""
ORPHAN = """
import os, signal, sys, time
from resnet8.core import processes
%s
processes.stand_by()
def main():
    print("at work", flush=True)
    time.sleep(3600)
processes.run_stage(main)
"""


def end_of_orphan(preparation: str, *shell: str, **environment: str) -> str:
    """Output of a stage whose runner is killed, until it has ended."""
    runner = subprocess.Popen(
        [sys.executable, "-c", RUNNER, ORPHAN % preparation, *shell],
        cwd=ROOT,
        env=os.environ | {"DVC_STAGE": "a stage"} | environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert runner.stdout.readline() == "at work\n"
    printed, _ = runner.communicate("x", timeout=PATIENCE_SECONDS)  # until the stage has closed it
    return printed


# Not ended the hard way, however long a busy machine takes to interrupt it.
IN_ITS_TIME = "processes.ORPHAN_GRACE_SECONDS = 3600"


def test_a_stage_whose_dvc_is_killed_ends_as_by_ctrl_c() -> None:
    assert end_of_orphan(IN_ITS_TIME) == "interrupted\n"


def test_a_stage_that_cannot_be_interrupted_ends_when_its_dvc_is_killed() -> None:
    ignoring = "signal.signal(signal.SIGINT, signal.SIG_IGN); processes.ORPHAN_GRACE_SECONDS = 0.1"
    assert end_of_orphan(ignoring) == ""


@pytest.mark.skipif(not Path("/proc").exists(), reason="only Linux tells a shell's parent")
def test_a_stage_below_a_shell_that_lives_on_ends_when_its_dvc_is_killed(tmp_path: Path) -> None:
    shell = tmp_path / "shell"
    shell.write_text('#!/bin/sh\n"$@"\nexit $?\n')
    shell.chmod(0o755)
    assert end_of_orphan(IN_ITS_TIME, str(shell), SHELL=str(shell)) == "interrupted\n"


def test_a_stage_run_by_hand_does_not_mind_who_runs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("resnet8.core.processes._runners", iter([(1,), (2,)]).__next__)
    monkeypatch.delenv("DVC_STAGE", raising=False)
    assert not is_orphan()
