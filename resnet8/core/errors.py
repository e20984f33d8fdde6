"""Errors that users can fix.

    PipelineError
    ├── ParamsError     params.yaml is invalid
    ├── SourceError     a download, mirror or sample is missing or has other content
    ├── ArtifactError   a model or array does not fit the pipeline
    ├── ClusterError    a sweep's Dask scheduler or workers cannot be reached
    ├── ParityError     a converted model differs from its original
    └── GateError       two revisions cannot be compared (`resnet8.gate` exits with 2)

A message reads `<subject> must be <expectation>, got <value> (<where>). <remedy>.`
"""

import pickle
import re
import reprlib
import struct
import tokenize
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# Raised by readers of pickles, arrays, JSON and YAML for missing, damaged or hostile content.
DAMAGE: tuple[type[Exception], ...] = (
    ArithmeticError, AttributeError, EOFError, ImportError, LookupError, MemoryError,
    FileNotFoundError, RecursionError, SyntaxError, TypeError, ValueError,
    pickle.UnpicklingError, struct.error, tokenize.TokenError, zipfile.BadZipFile,
)  # fmt: skip
_USER = re.compile(r"(?<=://)\S*@")
# Libraries also quote the path and query of a URL without its host.
_QUERY = re.compile(r"(://[^\s?#]*(?=#)|/[^\s?#]*(?=\?))\S*")


def without_secrets(text: str) -> str:
    """Masks users, passwords, queries and fragments of the URLs in a text."""
    return _QUERY.sub(r"\1?***", _USER.sub("***@", text))


class PipelineError(Exception):
    """Base class; ends a stage with exit code 1 and without a traceback."""

    def __init__(self, message: str) -> None:
        super().__init__(without_secrets(message))


@contextmanager
def naming(source: str, copy: Path) -> Iterator[None]:
    """Names a model in error messages by `fetch.model`, not by the pipeline's copy of it."""
    try:
        yield
    except PipelineError as exc:
        message = str(exc).replace(str(copy), source)
        if source not in message:
            message += f" (fetch.model: {source})"
        raise type(exc)(message) from exc


class ParamsError(PipelineError):
    """A parameter is missing, unknown or outside its range."""


class SourceError(PipelineError):
    """An input cannot be fetched, or has the wrong content."""


class ArtifactError(PipelineError):
    """A model or array has the wrong form for the pipeline."""


class ClusterError(PipelineError):
    """A Dask scheduler does not answer or has no workers."""


class ParityError(PipelineError):
    """A converted model differs from its original by more than the tolerance."""


class GateError(PipelineError):
    """Metrics are missing, damaged or not comparable, so there is no verdict."""


def reason(exc: BaseException) -> str:
    """Returns the message of an exception on one line, or its type if it has none."""
    return (" ".join(str(exc).split()) or type(exc).__name__)[:300].rstrip(".")


class _Short(reprlib.Repr):
    """Abbreviates values, and masks the secrets in texts before it shortens them."""

    def repr_str(self, x: str, level: int) -> str:
        return super().repr_str(without_secrets(x), level)


_SHORT = _Short()
_SHORT.maxlevel = 2


def shown(value: object) -> str:
    """Formats any value for an error message: short and on one line."""
    try:
        return _SHORT.repr(value)
    except ValueError:  # Python does not write out an integer of more than 4300 digits
        return f"a huge {type(value).__name__}"
