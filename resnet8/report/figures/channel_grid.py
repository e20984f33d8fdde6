"""Lays out the channels of a layer's output in a grid.

Shape letters: C channels, H and W pixels.
"""

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Number = TypeVar("Number", np.float32, np.uint8)


def as_channels(values: NDArray[Number]) -> NDArray[Number]:
    """A layer's output for one image as (C, H, W): vectors and scalars as channels of one pixel."""
    if values.ndim == 3:
        return values
    return values[None] if values.ndim == 2 else values.reshape(-1, 1, 1)


def channel_grid(channels: NDArray[Number], *, columns: int, gap: float) -> NDArray[Number]:
    """Joins channels (C, H, W) row by row into one picture.

    Value `gap` fills the line of pixels between channels, which channels of a single pixel do
    without, and the places of missing channels.
    """
    count, height, width = channels.shape
    line = 1 if height * width > 1 else 0
    columns = min(columns, max(count, 1))
    room = ((0, -count % columns), (0, line), (0, line))
    padded = np.pad(channels, room, constant_values=gap)
    rows = padded.reshape(-1, columns, height + line, width + line).transpose(0, 2, 1, 3)
    pixels = rows.reshape(-1, columns * (width + line))
    return pixels[: len(pixels) - line, : pixels.shape[1] - line]
