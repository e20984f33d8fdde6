"""Small pictures for a page: PNG files inside data URIs.

Shape letters: C channels, H and W pixels.
"""

import base64
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resnet8.core.pictures import encode_png

GAP = 0  # the grey level of gaps between channels, which is transparent
COLUMNS = 4  # channels side by side
UNITS_PER_ROW = 16  # of layers without a picture's height and width
LONGEST_SIDE = 64  # pixels of a channel; larger ones are thinned out


def png_uri(pixels: NDArray[np.uint8], *, transparent: int | None = None) -> str:
    """Encodes pixels.

    Args:
        pixels: (H, W) grey levels or (H, W, 3) red, green and blue.
        transparent: a grey level that lets the page shine through.

    Returns:
        `data:image/png;base64,...`, the same for the same pixels.
    """
    options: dict[str, Any] = {} if transparent is None else {"transparency": transparent}
    content = encode_png(pixels, optimize=True, **options)
    return f"data:image/png;base64,{base64.b64encode(content).decode()}"


def channel_grid(
    values: NDArray[np.float32], *, low: float, high: float, channels: int
) -> NDArray[np.uint8]:
    """Draws a layer's output for one image in grey, channel by channel in rows of `COLUMNS`.

    Args:
        values: (C, H, W); any other shape is drawn as one pixel for each value, in rows of
            `UNITS_PER_ROW`.
        low: what is drawn black, with everything below it.
        high: what is drawn white, with everything above it.
        channels: how many are drawn, from the first.

    Returns:
        (rows, columns) grey levels from 1; `GAP` between channels and where no value is.
    """
    share = (values.astype(np.float64) - low) / ((high - low) or 1.0)
    grey = (1 + np.clip(share, 0.0, 1.0) * 254).round().astype(np.uint8)
    if not is_picture(values):
        return _in_rows(grey.ravel())
    step = math.ceil(max(values.shape[1:]) / LONGEST_SIDE)
    grey = np.pad(
        grey[:channels, ::step, ::step], ((0, 0), (0, 1), (0, 1)), constant_values=GAP
    )  # (C, H + 1, W + 1)
    columns = min(COLUMNS, len(grey))
    missing = -len(grey) % columns
    grey = np.pad(grey, ((0, missing), (0, 0), (0, 0)), constant_values=GAP)
    rows = grey.reshape(-1, columns, *grey.shape[1:]).transpose(0, 2, 1, 3)
    return rows.reshape(rows.shape[0] * rows.shape[1], -1)[:-1, :-1]


def is_picture(values: NDArray[Any]) -> bool:
    """Whether a layer's output has channels with a height and a width."""
    return values.ndim == 3 and values.shape[1] * values.shape[2] > 1


def _in_rows(units: NDArray[np.uint8]) -> NDArray[np.uint8]:
    width = min(UNITS_PER_ROW, max(len(units), 1))
    return np.pad(units, (0, -len(units) % width), constant_values=GAP).reshape(-1, width)
