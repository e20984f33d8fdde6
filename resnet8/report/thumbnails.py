"""Small pictures for a page: PNG files inside data URIs.

Shape letters: N images, C channels, H and W pixels.
"""

import base64
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resnet8.core.pictures import encode_png
from resnet8.report.figures.layer_rows import as_channels, channel_grid

Captures = Mapping[str, Mapping[str, NDArray[np.float32]]]  # (N, ...) by variant and layer
# Channels of each feature map; fewer where all maps together get too large for a page.
CHANNEL_CHOICES = (16, 4, 1)
MAX_MAP_BYTES = 2_000_000
# Ends of the grey scale, in percent of a layer's values: a single large one does not darken all.
SCALE_PERCENTILES = (0.5, 99.5)
GAP = 0  # the grey level of gaps between channels, which is transparent
COLUMNS = 4  # channels side by side
VALUES_PER_ROW = 16  # of outputs without height and width
LONGEST_SIDE = 64  # pixels of a channel; larger ones are thinned out


def png_uri(pixels: NDArray[np.uint8]) -> str:
    """Encodes (H, W) grey levels, of which `GAP` is transparent, or (H, W, 3) colours.

    Returns `data:image/png;base64,...`.
    """
    options = {"transparency": GAP} if pixels.ndim == 2 else {}
    content = encode_png(pixels, optimize=True, **options)
    return f"data:image/png;base64,{base64.b64encode(content).decode()}"


def feature_maps(captures: Captures, layers: Sequence[str]) -> dict[str, Any]:
    """Returns outputs for the first chosen image as JSON: pictures, each stored once, by layer."""
    outputs = {
        layer: {name: arrays[layer][0] for name, arrays in captures.items() if layer in arrays}
        for layer in layers
    }
    for channels in CHANNEL_CHOICES:
        pictures: dict[str, int] = {}  # number of each, by its data URI
        maps = {
            layer: _draw_maps(by_variant, pictures, channels=channels)
            for layer, by_variant in outputs.items()
            if by_variant
        }
        if sum(map(len, pictures)) <= MAX_MAP_BYTES:
            break
    return {"layers": maps, "pictures": list(pictures)}


def _draw_maps(
    outputs: Mapping[str, NDArray[np.float32]], pictures: dict[str, int], *, channels: int
) -> dict[str, Any]:
    """Draws a layer's output of each variant on one scale, and adds new ones to `pictures`."""
    values = np.concatenate([output.ravel() for output in outputs.values()])
    low, high = (float(x) for x in np.percentile(values, SCALE_PERCENTILES))
    numbers = {}
    for name, output in outputs.items():
        grey = grey_channels(output, low=low, high=high, channels=channels)
        numbers[name] = pictures.setdefault(png_uri(grey), len(pictures))
    first = next(iter(outputs.values()))
    content = f"the first {min(channels, len(first))} of {len(first)} channels"
    return {
        "low": float(f"{low:.3g}"),
        "high": float(f"{high:.3g}"),
        "content": content if is_picture(first) else f"all {first.size} values, a square each",
        "picture": numbers,
    }


def grey_channels(
    values: NDArray[np.float32], *, low: float, high: float, channels: int
) -> NDArray[np.uint8]:
    """Draws the first channels of a layer's output (C, H, W) for one image in grey.

    Any other shape is drawn as one pixel for each value. Returns (rows, columns) grey levels from
    1, black at `low` or less, to 255, and `GAP` between channels and where there is no value.
    """
    share = (values.astype(np.float64) - low) / ((high - low) or 1.0)
    grey = (1 + np.clip(share, 0.0, 1.0) * 254).round().astype(np.uint8)
    if not is_picture(values):
        return channel_grid(as_channels(grey.ravel()), columns=VALUES_PER_ROW, gap=GAP)
    step = math.ceil(max(values.shape[1:]) / LONGEST_SIDE)
    return channel_grid(grey[:channels, ::step, ::step], columns=COLUMNS, gap=GAP)


def is_picture(values: NDArray[Any]) -> bool:
    """Returns whether a layer's output has channels with a height and a width."""
    return values.ndim == 3 and values.shape[1] * values.shape[2] > 1
