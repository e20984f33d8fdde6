"""How a stage's process ends: when it is done, at a fault, on Ctrl-C, or when its DVC is gone."""

import gc
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from types import FrameType
from typing import NoReturn

from resnet8.core.errors import PipelineError

ORPHAN_CHECK_SECONDS = 0.2  # DVC itself takes longer to start
ORPHAN_GRACE_SECONDS = 5.0  # to remove temporary files, before the process ends the hard way


def stand_by() -> None:
    """Prepares a stage's process for its end; to be called before its slow imports.

    Until `run_stage` runs, Ctrl-C ends the process at once. When DVC was killed alone, the stage
    does not go on: it is interrupted, and ended where that does not help.
    """
    _first_stderr()
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # else Ctrl-C is ignored
        signal.signal(signal.SIGINT, _end_at_once)
    if "DVC_STAGE" in os.environ:
        gc.disable()  # little is garbage, and searching the libraries for it takes seconds
        _first_runners()
        threading.Thread(target=_end_when_orphaned, daemon=True).start()


def run_stage(main: Callable[[], None]) -> NoReturn:
    """Runs a stage's `main` and exits: 0 when done, 1 with one message, 130 on Ctrl-C."""
    if signal.getsignal(signal.SIGINT) is _end_at_once:
        signal.signal(signal.SIGINT, _interrupt_once)
    try:
        main()
    except PipelineError as fault:
        _say(f"error: {fault}")
        sys.exit(1)
    except OSError as fault:
        where = f" ({fault.filename})" if fault.filename else ""
        _say(f"error: {fault.strerror or fault}{where}.")
        sys.exit(1)
    except KeyboardInterrupt:
        _say("interrupted")
        sys.exit(130)
    finally:  # there is nothing left to clean up
        gc.freeze()  # nor to search for garbage: that, too, takes seconds
        if signal.getsignal(signal.SIGINT) is _interrupt_once:
            signal.signal(signal.SIGINT, _end_at_once)
    sys.exit(0)


def _say(message: str) -> None:
    """Prints a message on stderr; in a terminal it replaces an unfinished progress bar."""
    erase = "\r\033[K" if sys.stderr.isatty() else ""
    print(f"{erase}{message}", file=sys.stderr)


def is_orphan() -> bool:
    """Whether DVC ran this stage and is gone, so that another run may be under way."""
    return "DVC_STAGE" in os.environ and _runners() != _first_runners()


def _end_at_once(_signal: int, _frame: FrameType | None) -> None:
    with suppress(OSError):  # nobody listens
        os.write(_first_stderr(), b"interrupted\n")
    os._exit(130)


@cache
def _first_stderr() -> int:
    """Where stderr leads, also while TensorFlow is imported and its messages are hidden."""
    return os.dup(2)


def _interrupt_once(_signal: int, _frame: FrameType | None) -> None:
    signal.signal(signal.SIGINT, _end_at_once)
    raise KeyboardInterrupt


def _end_when_orphaned() -> None:
    while not is_orphan():
        time.sleep(ORPHAN_CHECK_SECONDS)
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(ORPHAN_GRACE_SECONDS)
    os._exit(130)


def _runners() -> tuple[int, ...]:
    """The parent of this process, and the parent's where a shell of DVC's stands between.

    Most shells replace themselves with the only command that they are given. Of those that do
    not, only Linux tells.
    """
    parent = os.getppid()
    try:
        status = Path(f"/proc/{parent}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return (parent,)
    name, _, fields = status.partition("(")[2].rpartition(")")
    between = name == Path(os.environ.get("SHELL", "sh")).name
    return (parent, int(fields.split()[1])) if between else (parent,)


@cache
def _first_runners() -> tuple[int, ...]:
    return _runners()
