"""Limits of what is downloaded or unpacked: its size, and how long little of it may come."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

from resnet8.core.errors import SourceError

# A connection that gives less is of no use, and one that drips would last for years.
WINDOW_SECONDS = 60.0
MIN_WINDOW_BYTES = 2**16


class Bounded:
    """A file through which at most `limit` bytes pass, whatever is announced."""

    def __init__(self, file: IO[bytes], name: str, limit: int) -> None:
        self._file, self.name, self._limit, self.passed = file, name, limit, 0
        self.flush = file.flush  # pooch calls it

    def read(self, size: int) -> bytes:
        return self._counted(self._file.read(min(size, self._limit - self.passed + 1)))

    def write(self, content: bytes) -> None:
        self._file.write(self._counted(content))

    def _counted(self, content: bytes) -> bytes:
        self.passed += len(content)
        if self.passed > self._limit:
            raise SourceError(f"{self.name} must have at most {self._limit} bytes, got more.")
        return content


@contextmanager
def minimum_rate(file: Bounded, *, remedy: str) -> Iterator[None]:
    """Interrupts what writes to `file` where too little comes, also before the first byte.

    A signal does it, since a timeout of a socket counts from each byte anew; so only the main
    thread can use this.

    Raises:
        SourceError: less than `MIN_WINDOW_BYTES` came within `WINDOW_SECONDS`.
    """
    seen = 0

    def check(_signal: int, _frame: object) -> None:
        nonlocal seen
        came, seen = file.passed - seen, file.passed
        if came < MIN_WINDOW_BYTES:
            raise SourceError(
                f"{file.name} must come with at least {MIN_WINDOW_BYTES} bytes in "
                f"{WINDOW_SECONDS:g} seconds, got {came}. {remedy}"
            )

    before = signal.signal(signal.SIGALRM, check)
    signal.setitimer(signal.ITIMER_REAL, WINDOW_SECONDS, WINDOW_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
