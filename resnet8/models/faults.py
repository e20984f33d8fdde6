"""Exceptions that libraries raise for models which they cannot load, convert or run."""

import pickle
import zipfile
import zlib

FAULTS: tuple[type[Exception], ...] = (
    *(ArithmeticError, AssertionError, AttributeError, EOFError, ImportError, LookupError),
    *(MemoryError, OSError, RuntimeError, SyntaxError, TypeError, ValueError),
    *(pickle.UnpicklingError, zipfile.BadZipFile, zlib.error),
)


def reason(fault: BaseException, text: str | None = None, *, limit: int = 200) -> str:
    """Returns the message of an exception, or a part of it, on one line and without full stop."""
    message = str(fault) if text is None else text
    return (" ".join(message.split()) or type(fault).__name__)[:limit].rstrip(".")
