"""What artifacts/inspection/layers.json holds for one layer and variant, as pictures need it."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resnet8.core.variants import FLOAT_VARIANTS, QUANTIZED_VARIANTS, Variant

Row = Mapping[str, Any]
Rows = Mapping[str, Row]  # by variant

# Of the float variants, which agree within the tolerance of conversion, the first is drawn.
DRAWN_FLOAT = ("onnx_fp32", "torch_fp32", "keras_fp32")


def shown_variants(rows: Iterable[str]) -> list[str]:
    """Those that are drawn: one float variant, if there is any, then all quantized ones.

    Where other models are among them: all, in the order given.
    """
    found = dict.fromkeys(rows)
    if not found.keys() <= set(Variant):
        return list(found)
    floats = [name for name in DRAWN_FLOAT if name in found][:1]
    return floats + [name for name in QUANTIZED_VARIANTS if name in found]


def is_reference(name: str, row: Row) -> bool:
    """Whether a row is of float values whose error is not measured; drawn as an area."""
    is_measured = name in QUANTIZED_VARIANTS or "sqnr_db" in row["statistics"]
    return name in FLOAT_VARIANTS or not is_measured


def measured_variants(by_layer: Mapping[str, Rows], figure: str) -> list[str]:
    """The quantized variants that any layer has, and other models that have a figure of any."""
    rows = [item for of_layer in by_layer.values() for item in of_layer.items()]
    found = {variant for variant, _ in rows}
    others = [
        name for name, row in rows if name not in set(Variant) and figure in row["statistics"]
    ]
    return [name for name in QUANTIZED_VARIANTS if name in found] + [*dict.fromkeys(others)]


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
