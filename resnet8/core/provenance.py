"""Identifies the files that a result was made from."""

import hashlib
from pathlib import Path
from typing import NamedTuple

from resnet8.core.files import read_bytes


class Fingerprint(NamedTuple):
    """Identity of a file.

    path: as given.
    sha256: hexadecimal.
    """

    path: str
    size_bytes: int
    sha256: str


def fingerprint(path: Path) -> Fingerprint:
    """Reads a file's size and SHA-256."""
    content = read_bytes(path)
    return Fingerprint(path.as_posix(), len(content), hashlib.sha256(content).hexdigest())
