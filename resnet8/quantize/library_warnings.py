"""Turns warnings of the quantization libraries into errors.

The libraries at best log what they change or leave out, where nobody looks.
"""

import logging
import re
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from logging.handlers import BufferingHandler

from resnet8.core.errors import ArtifactError


@contextmanager
def no_warnings(library: str, *, expected: Mapping[str, str]) -> Iterator[None]:
    """Raises an error at the end of the block if a warning was issued or logged in it.

    Args:
        library: name of the library, for the error message.
        expected: maps patterns of harmless messages to the reason why they are harmless.

    Raises:
        ArtifactError: with the first message that was not expected.
    """
    handler, root = BufferingHandler(capacity=sys.maxsize), logging.getLogger()
    handler.setLevel(logging.WARNING)
    root.addHandler(handler)
    try:
        with warnings.catch_warnings(record=True) as issued:
            warnings.simplefilter("always")
            yield
    finally:
        root.removeHandler(handler)
    logged = [record.getMessage() for record in handler.buffer]
    for message in [*logged, *(str(warning.message) for warning in issued)]:
        if not any(re.match(pattern, message) for pattern in expected):
            text = " ".join(message.split())[:300].rstrip(".")
            raise ArtifactError(
                f"{library} must quantize the model without a warning, got: {text}. Leave the "
                "layer that it is about in float (fit.float_layers), or choose another fetch.model."
            )
