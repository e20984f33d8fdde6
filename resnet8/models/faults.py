"""Exceptions that libraries raise for models which they cannot load, convert or run."""

import pickle
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from resnet8.core.errors import ArtifactError

FAULTS: tuple[type[Exception], ...] = (
    ArithmeticError, AssertionError, AttributeError, EOFError, ImportError, LookupError,
    MemoryError, OSError, RuntimeError, SyntaxError, TypeError, ValueError,
    pickle.UnpicklingError, zipfile.BadZipFile, zlib.error,
)  # fmt: skip
MAX_REASON = 300  # characters


def reason(fault: BaseException, text: str | None = None) -> str:
    """Returns an exception's message, or `text` from it, on one line without a full stop."""
    message = str(fault) if text is None else text
    return (" ".join(message.split()) or type(fault).__name__)[:MAX_REASON].rstrip(".")


@contextmanager
def refused(
    expectation: str,
    remedy: str,
    *,
    faults: tuple[type[Exception], ...] = FAULTS,
    cause: Callable[[Exception], str] = str,
) -> Iterator[None]:
    """Turns faults within the block into an ArtifactError, `<expectation>, got: <cause>. <remedy>`.

    `cause` takes the part of an exception's message that is shown.
    """
    try:
        yield
    except faults as exc:
        raise ArtifactError(f"{expectation}, got: {reason(exc, cause(exc))}. {remedy}") from exc
