"""Ends of a stage's process."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from resnet8.core.errors import ParityError
from resnet8.core.processes import is_orphan, run_stage


def ends(fault: BaseException) -> Callable[[], None]:
    """A stage's main that ends with the fault."""

    def main() -> None:
        raise fault

    return main


@pytest.mark.parametrize(
    ("main", "code", "printed"),
    [
        (lambda: None, 0, ""),
        (lambda: sys.exit(2), 2, ""),
        (ends(ParityError("x must be y.")), 1, "error: x must be y.\n"),
        (ends(PermissionError(13, "Denied", "out/m.h5")), 1, "error: Denied (out/m.h5).\n"),
        (ends(OSError("the disk is gone")), 1, "error: the disk is gone.\n"),
        (ends(KeyboardInterrupt()), 130, "interrupted\n"),
    ],
)
def test_run_stage_exits_with_a_code_and_one_message_which_replaces_a_bar_on_a_terminal(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    *,
    main: Callable[[], None],
    code: int,
    printed: str,
) -> None:
    for erased in ("", "\r\033[K"):
        monkeypatch.setattr(sys.stderr, "isatty", lambda erased=erased: bool(erased))
        with pytest.raises(SystemExit, match=f"^{code}$"):
            run_stage(main)
        assert capsys.readouterr() == ("", printed and erased + printed)


def test_run_stage_leaves_the_traceback_to_a_defect() -> None:
    with pytest.raises(ZeroDivisionError, match="a defect"):
        run_stage(ends(ZeroDivisionError("a defect")))


ROOT = Path(__file__).parents[2]
PATIENCE_SECONDS = 1800  # for events that always come, however busy the machine is
STAGE = """
import os, signal, sys, time
from resnet8.core.processes import run_stage, stand_by
def press_ctrl_c():
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(3600)
def clean_up():
    try:
        press_ctrl_c()
    finally:
        press_ctrl_c()
def hide_messages():
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
def ignore():
    signal.signal(signal.SIGINT, signal.SIG_IGN)
"""
PRESS = "os.kill(os.getpid(), signal.SIGINT)"


@pytest.mark.parametrize(
    ("code", "ended"),
    [
        ("stand_by(); press_ctrl_c()", (130, "", "interrupted\n")),  # it imports
        ("stand_by(); run_stage(press_ctrl_c)", (130, "", "interrupted\n")),
        ("stand_by(); hide_messages(); press_ctrl_c()", (130, "", "interrupted\n")),
        ("stand_by(); run_stage(clean_up)", (130, "", "interrupted\n")),
        (f"ignore(); stand_by(); run_stage(lambda: {PRESS})", (0, "", "")),  # a background job
    ],
)
def test_ctrl_c_ends_a_stage_with_one_message_unless_it_began_ignoring_it(
    code: str, ended: tuple[int, str, str]
) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # background jobs ignore it
    command = [sys.executable, "-c", STAGE + code]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == ended


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


# Not killed, however long a busy machine takes to interrupt it.
IN_ITS_TIME = "processes.ORPHAN_GRACE_SECONDS = 3600"
IGNORING = "signal.signal(signal.SIGINT, signal.SIG_IGN); processes.ORPHAN_GRACE_SECONDS = 0.1"


@pytest.mark.parametrize(
    ("preparation", "printed"), [(IN_ITS_TIME, "interrupted\n"), (IGNORING, "")]
)
def test_a_stage_whose_dvc_is_killed_ends(preparation: str, printed: str) -> None:
    assert end_of_orphan(preparation) == printed


@pytest.mark.skipif(not Path("/proc").exists(), reason="only Linux shows a shell's parent")
def test_a_stage_below_a_shell_that_lives_on_ends_when_its_dvc_is_killed(tmp_path: Path) -> None:
    shell = tmp_path / "shell"
    shell.write_text('#!/bin/sh\n"$@"\nexit $?\n')
    shell.chmod(0o755)
    assert end_of_orphan(IN_ITS_TIME, str(shell), SHELL=str(shell)) == "interrupted\n"


def test_a_stage_run_by_hand_is_no_orphan(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("resnet8.core.processes._runners", iter([(1,), (2,)]).__next__)
    monkeypatch.delenv("DVC_STAGE", raising=False)
    assert not is_orphan()
