"""Ends the process of a stage: normally, on an error, on Ctrl-C, or after DVC was killed."""

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

ORPHAN_CHECK_SECONDS = 0.2  # DVC takes longer to start again
ORPHAN_GRACE_SECONDS = 5.0  # between the interrupt of an orphan and its hard exit


def stand_by() -> None:
    """Installs signal handling for a stage; called before its slow imports.

    Until `run_stage` runs, Ctrl-C ends the process at once. When DVC alone is killed, the stage
    is interrupted, and exits after a grace period where that has no effect.
    """
    _original_stderr()  # copies it before anything redirects it
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # Ctrl-C is not ignored
        signal.signal(signal.SIGINT, _exit_at_once)
    if "DVC_STAGE" in os.environ:
        gc.disable()  # collecting the libraries' objects takes seconds and frees little
        _first_runners()  # remembers them
        threading.Thread(target=_exit_when_orphaned, daemon=True).start()


def run_stage(main: Callable[[], None]) -> NoReturn:
    """Runs a stage's `main` and exits: 0 when done, 1 with one message, 130 on Ctrl-C."""
    if signal.getsignal(signal.SIGINT) is _exit_at_once:
        signal.signal(signal.SIGINT, _interrupt_once)
    code, message = 0, ""
    try:
        main()
    except PipelineError as error:
        code, message = 1, f"error: {error}"
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        code, message = 1, f"error: {error.strerror or error}{where}."
    except KeyboardInterrupt:
        code, message = 130, "interrupted"
    finally:
        gc.freeze()  # the collection at exit takes seconds, too
        if signal.getsignal(signal.SIGINT) is _interrupt_once:
            signal.signal(signal.SIGINT, _exit_at_once)
    if message:
        erase = "\r\033[K" if sys.stderr.isatty() else ""  # an unfinished progress bar
        print(f"{erase}{message}", file=sys.stderr)
    sys.exit(code)


def is_orphan() -> bool:
    """Returns whether DVC started this stage and was killed; another run may have begun."""
    return "DVC_STAGE" in os.environ and _runners() != _first_runners()


def _exit_at_once(_signal: int, _frame: FrameType | None) -> None:
    with suppress(OSError):  # stderr may be closed
        os.write(_original_stderr(), b"interrupted\n")
    os._exit(130)


@cache
def _original_stderr() -> int:
    """A copy of stderr's descriptor; stderr is redirected while TensorFlow is imported."""
    return os.dup(2)


def _interrupt_once(_signal: int, _frame: FrameType | None) -> None:
    signal.signal(signal.SIGINT, _exit_at_once)
    raise KeyboardInterrupt


def _exit_when_orphaned() -> None:
    while not is_orphan():
        time.sleep(ORPHAN_CHECK_SECONDS)
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(ORPHAN_GRACE_SECONDS)
    os._exit(130)


def _runners() -> tuple[int, ...]:
    """IDs of the parent process and, where that is a shell started by DVC, of its parent.

    Most shells replace themselves with their only command, so DVC is the parent. For others
    (fish), only Linux tells the shell's parent.
    """
    parent = os.getppid()
    try:
        status = Path(f"/proc/{parent}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return (parent,)
    name, _, fields = status.partition("(")[2].rpartition(")")
    is_shell = name == Path(os.environ.get("SHELL", "sh")).name
    return (parent, int(fields.split()[1])) if is_shell else (parent,)


_first_runners = cache(_runners)
