"""Data of the report's layer explorer: statistics, histograms and feature maps by layer.

Shape letters: N images, C channels, H and W pixels.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resnet8.compare.rendering import Json
from resnet8.report.thumbnails import GAP, grey_channels, is_picture, png_uri

Captures = Mapping[str, Mapping[str, NDArray[np.float32]]]  # by variant and layer
# Channels of each feature map; fewer where all maps together get too large for a page.
CHANNEL_CHOICES = (16, 4, 1)
MAX_MAP_BYTES = 2_000_000
# Ends of the grey scale, in percent of a layer's values: a single large one does not darken all.
SCALE_PERCENTILES = (0.5, 99.5)
# Rows of the explorer's tables by key: label, and the format that explorer.js gives the value.
ACTIVATION_STATISTICS = {
    "captured_at": ("captured at", "text"),
    "n_values": ("values", "count"),
    "mean": ("mean", "figure"),
    "std": ("standard deviation", "figure"),
    "min": ("smallest", "figure"),
    **{f"percentiles.{p}": (f"percentile {p}", "figure") for p in ("0.1", "1", "25")},
    "percentiles.50": ("median", "figure"),
    **{f"percentiles.{p}": (f"percentile {p}", "figure") for p in ("75", "99", "99.9")},
    "max": ("largest", "figure"),
    "dynamic_range": ("dynamic range", "figure"),
    "zeros_share": ("zeros", "share"),
    "dtype": ("type of the codes", "text"),
    "scale": ("scale", "figure"),
    "zero_point": ("zero point", "count"),
    "clip_low": ("range from", "figure"),
    "clip_high": ("range to", "figure"),
    "clipped_low_share": ("clipped at the lower end", "share"),
    "clipped_high_share": ("clipped at the upper end", "share"),
    "clips_on_purpose": ("clips on purpose", "text"),
    "levels_used": ("levels used", "levels"),
    "reference": ("compared with", "text"),
    "sqnr_db": ("SQNR", "db"),
    "cosine_similarity": ("cosine similarity", "similarity"),
    "max_abs_error": ("largest error", "figure"),
}
PARAMETER_KEYS = (
    "mean", "std", "min", "max", "dynamic_range", "zeros_share", "dtype", "sqnr_db",
    "cosine_similarity", "max_abs_error",
)  # fmt: skip
PARAMETER_STATISTICS = {"shape": ("shape", "text")} | {
    key: ACTIVATION_STATISTICS[key] for key in PARAMETER_KEYS
}


def explorer(
    layers: Json,
    captures: Captures,
    *,
    variants: Sequence[str],
    rankings: Mapping[str, Sequence[str]],
) -> dict[str, Any]:
    """Returns JSON for the page's script.

    Rankings have the layers of each quantized variant, from the one that costs most.
    """
    count = layers["n_images"]["calibration"]
    images = "1 image" if count == 1 else f"{count:,} images"
    return {
        "layers": layers["layers"],
        "variants": list(variants),
        "start": _start(layers, variants, rankings),
        "data": {
            "calibration": f"calibration set ({images})",
            "input": f"chosen input ({layers['input']})",
        },
        "absent": layers["absent"],
        "activations": layers["activations"],
        "parameters": layers["parameters"],
        "statistics": _rows(ACTIVATION_STATISTICS),
        "parameter_statistics": _rows(PARAMETER_STATISTICS),
        "maps": _feature_maps(captures, layers["layers"]),
    }


def _rows(statistics: Mapping[str, tuple[str, str]]) -> list[dict[str, str]]:
    return [{"key": key, "label": label, "kind": kind} for key, (label, kind) in statistics.items()]


def _start(
    layers: Json, variants: Sequence[str], rankings: Mapping[str, Sequence[str]]
) -> dict[str, str]:
    """The most sensitive layer that a quantized variant has, beside its float reference."""
    for name, ranking in rankings.items():
        for layer in ranking:
            if name in layers["activations"]["calibration"].get(layer, {}):
                return {"layer": layer, "a": f"{name.partition('_')[0]}_fp32", "b": name}
    return {"layer": layers["layers"][0], "a": variants[0], "b": variants[-1]}


def _feature_maps(captures: Captures, order: Sequence[str]) -> dict[str, Any]:
    """Outputs for the first chosen image as pictures, each stored once."""
    for channels in CHANNEL_CHOICES:
        maps = _draw_maps(captures, order, channels=channels)
        if sum(map(len, maps["pictures"])) <= MAX_MAP_BYTES:
            break
    return maps


def _draw_maps(captures: Captures, order: Sequence[str], *, channels: int) -> dict[str, Any]:
    numbers: dict[str, int] = {}  # by picture
    layers: dict[str, Any] = {}
    for layer in order:
        outputs = {name: rows[layer][0] for name, rows in captures.items() if layer in rows}
        if not outputs:
            continue
        values = np.concatenate([output.ravel() for output in outputs.values()])
        low, high = (float(x) for x in np.percentile(values, SCALE_PERCENTILES))
        pictures = {
            name: png_uri(
                grey_channels(output, low=low, high=high, channels=channels), transparent=GAP
            )
            for name, output in outputs.items()
        }
        layers[layer] = {
            "low": float(f"{low:.3g}"),
            "high": float(f"{high:.3g}"),
            "what": _describe(next(iter(outputs.values())), channels),
            "picture": {
                name: numbers.setdefault(uri, len(numbers)) for name, uri in pictures.items()
            },
        }
    return {"layers": layers, "pictures": list(numbers)}


def _describe(output: NDArray[np.float32], channels: int) -> str:
    if not is_picture(output):
        return f"all {output.size} values, a square each"
    total = len(output)
    return f"the first {channels} of {total} channels" if total > channels else (
        f"all {total} channels"
    )  # fmt: skip
