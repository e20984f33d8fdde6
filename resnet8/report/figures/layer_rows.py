"""Reads artifacts/inspection/layers.json for figures.

A row, of one layer and variant, has `statistics`, a `histogram` and, where values are compared with
those of another model, an `error_histogram`.

Shape letters: C channels, H and W pixels.
"""

from collections.abc import Iterable, Mapping
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from resnet8.core.files import Json
from resnet8.core.variants import FLOAT_VARIANTS, QUANTIZED_VARIANTS, Variant

Rows = Mapping[str, Json]  # by variant
Number = TypeVar("Number", np.float32, np.uint8)

# Float variants agree within the tolerance of conversion, so only the first one present is drawn.
DRAWN_FLOAT = ("onnx_fp32", "torch_fp32", "keras_fp32")
LONGEST_NAME = 28  # characters


def shorten(name: str, longest: int = LONGEST_NAME) -> str:
    """Replaces the middle of a name by an ellipsis if it has more than `longest` characters."""
    if len(name) <= longest:
        return name
    end = (longest - 1) // 2
    return f"{name[: longest - 1 - end]}…{name[-end:]}"


def describe_images(inspection: Json, data: str) -> str:
    """Describes the images that activations are of, the `calibration` or the chosen `input`."""
    if data == "input":
        return str(inspection["input"])
    return f"{inspection['n_images']['calibration']:,} calibration images"


def variants_to_draw(names: Iterable[str]) -> list[str]:
    """Returns one float variant and all quantized ones; all names if a model is from elsewhere."""
    names = dict.fromkeys(names)
    if not names.keys() <= set(Variant):
        return list(names)
    floats = [name for name in DRAWN_FLOAT if name in names][:1]
    return floats + [name for name in QUANTIZED_VARIANTS if name in names]


def is_reference(name: str, row: Json) -> bool:
    """Returns whether a row has float values without a measured error; it is drawn as an area."""
    is_compared = name in QUANTIZED_VARIANTS or "sqnr_db" in row["statistics"]
    return name in FLOAT_VARIANTS or not is_compared


def measured_variants(by_layer: Mapping[str, Rows], statistic: str) -> list[str]:
    """Quantized variants, then models from elsewhere, that have a statistic for any layer."""
    rows = [item for of_layer in by_layer.values() for item in of_layer.items()]
    names = dict.fromkeys(name for name, row in rows if statistic in row["statistics"])
    quantized = [name for name in QUANTIZED_VARIANTS if name in names]
    return quantized + [name for name in names if name not in set(Variant)]


def clip_ranges(row: Json) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """Low and high ends, (C,) or (1,), of the ranges of 8-bit codes; None for other values."""
    statistics = row.get("statistics", {})
    if statistics.get("dtype") not in ("int8", "uint8"):
        return None
    if "scale" not in row:  # activations
        return np.array([statistics["clip_low"]]), np.array([statistics["clip_high"]])
    scale, zero_point = np.array(row["scale"], np.float64), np.array(row["zero_point"])
    limits = np.iinfo(statistics["dtype"])
    return (limits.min - zero_point) * scale, (limits.max - zero_point) * scale


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
