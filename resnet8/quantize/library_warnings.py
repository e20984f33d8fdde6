"""Warnings of the quantization libraries: a model that they warn of is not written.

What a library changes or leaves out, it says in its log at best, where nobody looks.
"""

import logging
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from resnet8.core.errors import ArtifactError


class _Collector(logging.Handler):
    """Keeps messages from a level on."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())


@contextmanager
def no_warnings(library: str, *, expected: Mapping[str, str]) -> Iterator[None]:
    """Raises at the end of the block where a library warned or logged a warning in it.

    Args:
        library: for the error message.
        expected: patterns of messages that may come, each with the reason why that is right.

    Raises:
        ArtifactError: with the first other message.
    """
    collector, root = _Collector(), logging.getLogger()
    root.addHandler(collector)
    try:
        with warnings.catch_warnings(record=True) as noted:
            warnings.simplefilter("always")
            yield
    finally:
        root.removeHandler(collector)
    messages = [*collector.messages, *(str(note.message) for note in noted)]
    for message in messages:
        if not any(re.match(pattern, message) for pattern in expected):
            text = " ".join(message.split())[:300].rstrip(".")
            raise ArtifactError(
                f"{library} must quantize the model without a warning, got: {text}. Leave the "
                "layer that it is about in float (fit.float_layers), or choose another fetch.model."
            )
