"""Opens tar archives whose unpacked size is limited."""

import bz2
import gzip
import lzma
import tarfile
from typing import IO, Any

from resnet8.core.errors import SourceError

# By the first two bytes of a file.
_OPEN: dict[bytes, Any] = {b"\x1f\x8b": gzip.open, b"BZ": bz2.open, b"\xfd7": lzma.open}


class _Unpacked:
    """Unpacked content of a file, which ends with an error if it is longer than `limit` bytes."""

    def __init__(self, file: IO[bytes], source: str, limit: int) -> None:
        start = file.read(2)
        file.seek(0)
        self._file: IO[bytes] = _OPEN[start](file) if start in _OPEN else file
        self._source, self._limit, self._left = source, limit, limit

    def read(self, size: int) -> bytes:
        content = self._file.read(min(size, self._left + 1))
        self._left -= len(content)
        if self._left < 0:
            raise SourceError(
                f"{self._source}, unpacked, must have at most {self._limit} bytes, got more."
            )
        return content


def open_tar(file: IO[bytes], source: str, limit: int) -> tarfile.TarFile:
    """Opens an archive, to be read once from front to back.

    It may be compressed by gzip, bzip2 or xz. Reading more than `limit` unpacked bytes raises a
    SourceError, which names the source.
    """
    unpacked: Any = _Unpacked(file, source, limit)
    return tarfile.open(fileobj=unpacked, mode="r|")
