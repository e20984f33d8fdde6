"""What artifacts/inspection/layers.json holds for one layer and variant, as pictures need it."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resnet8.core.variants import QUANTIZED_VARIANTS

Row = Mapping[str, Any]
Rows = Mapping[str, Row]  # by variant

# Of the float variants, which agree within the tolerance of conversion, the first is drawn.
DRAWN_FLOAT = ("onnx_fp32", "torch_fp32", "keras_fp32")


def shown_variants(rows: Iterable[str]) -> list[str]:
    """Those that are drawn: one float variant, if there is any, then all quantized ones."""
    found = set(rows)
    floats = [name for name in DRAWN_FLOAT if name in found][:1]
    return floats + [name for name in QUANTIZED_VARIANTS if name in found]


def channel_clip_ranges(
    row: Row,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The range of 8-bit weights that each scale gives.

    Args:
        row: of a quantized parameter with C scales, or one.

    Returns:
        The low and the high ends, (C,) or (1,).
    """
    scale, zero_point = np.array(row["scale"], np.float64), np.array(row["zero_point"])
    limits = np.iinfo(row["statistics"]["dtype"])
    return (limits.min - zero_point) * scale, (limits.max - zero_point) * scale


def has_8_bits(row: Row) -> bool:
    """Whether values are stored as 8-bit codes."""
    return row["statistics"].get("dtype") in ("int8", "uint8")
