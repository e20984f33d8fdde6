"""Reads what artifacts/inspection/layers.json has about one layer and variant, for figures.

A row has `statistics`, a `histogram` and, where values are compared with those of another model,
an `error_histogram`.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resnet8.core.variants import FLOAT_VARIANTS, QUANTIZED_VARIANTS, Variant

Row = Mapping[str, Any]
Rows = Mapping[str, Row]  # by variant

# Float variants agree within the tolerance of conversion, so only the first one present is drawn.
DRAWN_FLOAT = ("onnx_fp32", "torch_fp32", "keras_fp32")
LONGEST_NAME = 28  # characters


def shorten(name: str, longest: int = LONGEST_NAME) -> str:
    """Replaces the middle of a name by an ellipsis if it has more than `longest` characters."""
    if len(name) <= longest:
        return name
    end = (longest - 1) // 2
    return f"{name[: longest - 1 - end]}…{name[-end:]}"


def variants_to_draw(names: Iterable[str]) -> list[str]:
    """One float variant, if any, and all quantized ones; all names if any is of another model."""
    names = dict.fromkeys(names)
    if not names.keys() <= set(Variant):
        return list(names)
    floats = [name for name in DRAWN_FLOAT if name in names][:1]
    return floats + [name for name in QUANTIZED_VARIANTS if name in names]


def is_reference(name: str, row: Row) -> bool:
    """Returns whether a row has float values without a measured error; it is drawn as an area."""
    is_measured = name in QUANTIZED_VARIANTS or "sqnr_db" in row["statistics"]
    return name in FLOAT_VARIANTS or not is_measured


def measured_variants(by_layer: Mapping[str, Rows], statistic: str) -> list[str]:
    """Quantized variants of any layer, then other models that have a statistic for any layer."""
    rows = [item for of_layer in by_layer.values() for item in of_layer.items()]
    names = {name for name, _ in rows}
    others = [
        name for name, row in rows if name not in set(Variant) and statistic in row["statistics"]
    ]
    return [name for name in QUANTIZED_VARIANTS if name in names] + [*dict.fromkeys(others)]


def channel_clip_ranges(row: Row) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Low and high ends of the range of an 8-bit parameter's codes, (C,) or (1,) each."""
    scale, zero_point = np.array(row["scale"], np.float64), np.array(row["zero_point"])
    limits = np.iinfo(row["statistics"]["dtype"])
    return (limits.min - zero_point) * scale, (limits.max - zero_point) * scale


def has_8_bits(row: Row) -> bool:
    """Returns whether values are stored as 8-bit codes."""
    return row["statistics"].get("dtype") in ("int8", "uint8")
