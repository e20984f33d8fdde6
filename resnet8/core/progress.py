"""Progress of long loops, on stderr."""

import sys
import time
from collections.abc import Iterable, Iterator
from operator import length_hint
from typing import TypeVar

from tqdm import tqdm

DELAY_SECONDS = 2.0  # shorter loops show nothing
LINE_SECONDS = 30.0  # between two lines in a log
BAR = "{desc}: {percentage:.0f}% |{bar}| {n_fmt} of {total_fmt} {unit}, {remaining} left"
Item = TypeVar("Item")


def show_progress(
    items: Iterable[Item], *, desc: str, unit: str, total: int | None = None
) -> Iterator[Item]:
    """Yields items, and shows how many are done and an estimate of the remaining time.

    A terminal gets a bar that disappears at the end; a file or a pipe gets a line every
    `LINE_SECONDS`. `unit` is a plural noun; `total` is needed for items without a length.
    """
    total = length_hint(items) if total is None else total
    if sys.stderr.isatty():
        yield from tqdm(
            items,
            desc=desc,
            unit=unit,
            total=total,
            delay=DELAY_SECONDS,
            smoothing=0,  # an average over all items
            miniters=1,  # else as many as came within the delay
            leave=False,
            bar_format=BAR,
        )
        return
    began = last_line = time.monotonic()
    for done, item in enumerate(items, 1):
        yield item
        now = time.monotonic()
        if now - last_line >= LINE_SECONDS:
            left = tqdm.format_interval((total - done) * (now - began) / done)
            print(f"{desc}: {done} of {total} {unit}, {left} left", file=sys.stderr, flush=True)
            last_line = now
