"""What can go wrong for a user.

    PipelineError
    ├── ParamsError     params.yaml says something that cannot be done
    ├── SourceError     a download, mirror or sample is missing or not what it should be
    ├── ArtifactError   a model or array does not fit the pipeline
    ├── ClusterError    a sweep's Dask scheduler or its workers are not there, or went away
    ├── ParityError     a converted model does not compute what its original computes
    └── GateError       two revisions cannot be compared (`resnet8.gate` exits with 2)

A message reads `<subject> must be <expectation>, got <value> (<where>). <remedy>.`
"""

import re
import reprlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_USER = re.compile(r"(?<=://)\S*@")
# Libraries also quote a path with its query alone.
_QUERY = re.compile(r"(://[^\s?#]*(?=#)|/[^\s?#]*(?=\?))\S*")


def without_secrets(text: str) -> str:
    """Replaces users, passwords, queries and fragments in the URLs of a text."""
    return _QUERY.sub(r"\1?***", _USER.sub("***@", text))


class PipelineError(Exception):
    """A fault that the user can mend; ends a stage with exit code 1 and no traceback."""

    def __init__(self, message: str) -> None:
        super().__init__(without_secrets(message))


@contextmanager
def naming(source: str, copy: Path) -> Iterator[None]:
    """Names the user's own model in messages about it, in place of the pipeline's copy.

    Args:
        source: what `fetch.model` says.
        copy: the file that the pipeline made of it.
    """
    try:
        yield
    except PipelineError as exc:
        message = str(exc).replace(str(copy), source)
        raise type(exc)(
            message if source in message else f"{message} (fetch.model: {source})"
        ) from exc


class ParamsError(PipelineError):
    """A parameter is missing, unknown or outside its range."""


class SourceError(PipelineError):
    """An input cannot be fetched, or is not the file it should be."""


class ArtifactError(PipelineError):
    """A model or array has the wrong form for the pipeline."""


class ClusterError(PipelineError):
    """A Dask scheduler does not answer, or there is nobody who works for it."""


class ParityError(PipelineError):
    """A converted model differs from its original by more than the tolerance."""


class GateError(PipelineError):
    """Metrics are missing, damaged or not comparable: there is no verdict."""


class _Short(reprlib.Repr):
    def repr_str(self, x: str, level: int) -> str:
        return super().repr_str(without_secrets(x), level)


_SHORT = _Short()
_SHORT.maxlevel = 2


def shown(value: object) -> str:
    """A value from outside as a message shows it: on one line and short, whatever it is."""
    try:
        return _SHORT.repr(value)
    except ValueError:  # Python does not write out an integer of more than 4300 digits
        return f"a huge {type(value).__name__}"
