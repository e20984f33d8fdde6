"""Disturbs one stage of a run; Python imports it by itself when its folder is on PYTHONPATH.

FAULT_STAGE names the stage, FAULT_DEED what happens in it and FAULT_MOMENT when. FAULT_LOG is
the file of the events, one a line: process, event, path.
"""

import builtins
import os
import signal
import sys
import time
from pathlib import Path

PATIENCE_SECONDS = 1800  # for what the test or the system brings about, however busy


def note(event, path=""):
    with Path(os.environ["FAULT_LOG"]).open("a") as log:
        log.write(f"{os.getpid()} {event} {path}\n")


def wait_until(condition):
    end = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        if time.monotonic() > end:
            note("gave-up")
            os._exit(99)
        time.sleep(0.01)


def kill_group():
    note("kills-group")
    os.killpg(0, signal.SIGKILL)
    time.sleep(PATIENCE_SECONDS)


def parent_of(process):
    """Parent of another process; known on Linux only."""
    status = Path(f"/proc/{process}/stat").read_text(errors="replace")
    return int(status.rpartition(")")[2].split()[1])


def kill_dvc():
    """Kills DVC, which leads the session, and goes on as an orphan."""
    runner, dvc = os.getppid(), os.getsid(0)
    note("kills-dvc")  # before: the stage may notice at once
    os.kill(dvc, signal.SIGKILL)
    if runner == dvc:
        wait_until(lambda: os.getppid() != dvc)
    else:  # a shell between them
        wait_until(lambda: parent_of(runner) != dvc)


def kill_dvc_and_linger():
    """Kills DVC, and ignores all signals until the test gives its sign."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.modules["resnet8.core.processes"].ORPHAN_GRACE_SECONDS = 2 * PATIENCE_SECONDS
    kill_dvc()
    wait_for_sign()


def wait_for_sign():
    note("waits")
    wait_until(Path(os.environ["FAULT_SIGN"]).exists)


def press_ctrl_c():
    note("ctrl-c")
    os.killpg(0, signal.SIGINT)
    time.sleep(PATIENCE_SECONDS)  # the signal ends it


def fill_disk():
    """Leaves three pages, of which DVC's notes of what it does take some."""
    ballast, left = Path(os.environ["FAULT_BALLAST"]), 3 * 4096
    free = os.statvfs(ballast.parent)
    size = free.f_bavail * free.f_frsize - left
    with ballast.open("wb") as out:
        os.posix_fallocate(out.fileno(), 0, size)
    note("filled", ballast)


DEEDS = {
    "kill-group": kill_group,
    "kill-dvc": kill_dvc,
    "kill-dvc-and-linger": kill_dvc_and_linger,
    "wait": wait_for_sign,
    "ctrl-c": press_ctrl_c,
    "fill-disk": fill_disk,
}


def once(moment):
    """Does the deed if this is its moment, the first time only."""
    if os.environ.get("FAULT_MOMENT") == moment:
        del os.environ["FAULT_MOMENT"]
        DEEDS[os.environ["FAULT_DEED"]]()


def disturb():
    replace, touch, load = Path.replace, Path.touch, builtins.__import__

    def noted_replace(self, target):
        once("before-publication")
        result = replace(self, target)
        note("published", target)
        once("after-publication")
        return result

    def noted_touch(self, *args, **kwargs):
        touch(self, *args, **kwargs)
        once("before-writing")

    def noted_import(name, *args, **kwargs):
        if name == os.environ.get("FAULT_IMPORT"):
            once("import")
        return load(name, *args, **kwargs)

    Path.replace, Path.touch = noted_replace, noted_touch
    if "FAULT_IMPORT" in os.environ:
        builtins.__import__ = noted_import


if os.environ.get("DVC_STAGE", "no stage") == os.environ.get("FAULT_STAGE"):
    disturb()
    once("start")
