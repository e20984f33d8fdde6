"""What the report's layer explorer shows: figures, histograms and feature maps by layer.

Shape letters: N images, C channels, H and W pixels.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from resnet8.report import choice_charts as charts
from resnet8.report.inputs import Captures, Json
from resnet8.report.thumbnails import GAP, channel_grid, is_picture, png_uri

# Channels of each feature map, fewer where all maps together get too large for a page.
CHANNEL_CHOICES = (16, 4, 1)
MAX_MAP_BYTES = 2_000_000
# Ends of the grey scale, in percent of a layer's values: a single large one leaves it as it is.
SCALE_PERCENTILES = (0.5, 99.5)


class Statistic(NamedTuple):
    """A row of the explorer's table.

    kind: how the page writes the number: figure, similarity, share, count, db, levels or text.
    """

    key: str
    label: str
    kind: str


ACTIVATION_STATISTICS = (
    Statistic("captured_at", "captured at", "text"),
    Statistic("n_values", "values", "count"),
    Statistic("mean", "mean", "figure"),
    Statistic("std", "standard deviation", "figure"),
    Statistic("min", "smallest", "figure"),
    *(Statistic(f"percentiles.{p}", f"percentile {p}", "figure") for p in ("0.1", "1", "25")),
    Statistic("percentiles.50", "median", "figure"),
    *(Statistic(f"percentiles.{p}", f"percentile {p}", "figure") for p in ("75", "99", "99.9")),
    Statistic("max", "largest", "figure"),
    Statistic("dynamic_range", "dynamic range", "figure"),
    Statistic("zeros_share", "zeros", "share"),
    Statistic("dtype", "type of the codes", "text"),
    Statistic("scale", "scale", "figure"),
    Statistic("zero_point", "zero point", "count"),
    Statistic("clip_low", "range from", "figure"),
    Statistic("clip_high", "range to", "figure"),
    Statistic("clipped_low_share", "clipped at the lower end", "share"),
    Statistic("clipped_high_share", "clipped at the upper end", "share"),
    Statistic("clips_on_purpose", "clips on purpose", "text"),
    Statistic("levels_used", "levels used", "levels"),
    Statistic("reference", "compared with", "text"),
    Statistic("sqnr_db", "SQNR", "db"),
    Statistic("cosine_similarity", "cosine similarity", "similarity"),
    Statistic("max_abs_error", "largest error", "figure"),
)
PARAMETER_STATISTICS = (
    Statistic("shape", "shape", "text"),
    Statistic("mean", "mean", "figure"),
    Statistic("std", "standard deviation", "figure"),
    Statistic("min", "smallest", "figure"),
    Statistic("max", "largest", "figure"),
    Statistic("dynamic_range", "dynamic range", "figure"),
    Statistic("zeros_share", "zeros", "share"),
    Statistic("dtype", "type of the codes", "text"),
    Statistic("sqnr_db", "SQNR", "db"),
    Statistic("cosine_similarity", "cosine similarity", "similarity"),
    Statistic("max_abs_error", "largest error", "figure"),
)


def explorer(
    layers: Json,
    captures: Captures,
    *,
    variants: Sequence[str],
    rankings: Mapping[str, Sequence[str]],
) -> dict[str, Any]:
    """Collects what the page's script needs.

    Args:
        layers: as in artifacts/inspection/layers.json.
        captures: outputs (N, ...) for the chosen input.
        variants: in their order.
        rankings: by quantized variant, its layers from the one that costs most.

    Returns:
        JSON: the figures, specifications of charts, pictures, and what is shown first.
    """
    return {
        "layers": layers["layers"],
        "variants": list(variants),
        "start": _start(layers, variants, rankings),
        "data": {
            "calibration": f"calibration set ({_images(layers['n_images']['calibration'])})",
            "input": f"chosen input ({layers['input']})",
        },
        "absent": layers["absent"],
        "activations": layers["activations"],
        "parameters": layers["parameters"],
        "statistics": [row._asdict() for row in ACTIVATION_STATISTICS],
        "parameter_statistics": [row._asdict() for row in PARAMETER_STATISTICS],
        "charts": _specifications(),
        "maps": _feature_maps(captures, layers["layers"]),
    }


def _images(count: int) -> str:
    return "1 image" if count == 1 else f"{count:,} images"


def _start(
    layers: Json, variants: Sequence[str], rankings: Mapping[str, Sequence[str]]
) -> dict[str, str]:
    """The worst layer that a quantized variant shows, beside its float reference."""
    for name, ranking in rankings.items():
        for layer in ranking:
            if name in layers["activations"]["calibration"].get(layer, {}):
                return {"layer": layer, "a": f"{name.partition('_')[0]}_fp32", "b": name}
    return {"layer": layers["layers"][0], "a": variants[0], "b": variants[-1]}


def _specifications() -> dict[str, Any]:
    titles = {"activation": "value of the output", "error": "error of the output"}
    found: dict[str, Any] = {
        f"{kind}_{scale}": charts.histogram(title, logarithmic=scale == "log")
        for kind, title in (titles | {"weight": "weight"}).items()
        for scale in ("linear", "log")
    }
    return found | {
        "bias": charts.histogram("bias", logarithmic=False),
        "weight_ranges": charts.channels("smallest to largest weight"),
        "weight_errors": charts.channels("SQNR, dB"),
        "bias_ranges": charts.channels("bias"),
    }


def _feature_maps(captures: Captures, order: Sequence[str]) -> dict[str, Any]:
    """The outputs for the first chosen image as pictures, each stored once."""
    for channels in CHANNEL_CHOICES:
        found = _draw_maps(captures, order, channels=channels)
        if sum(map(len, found["pictures"])) <= MAX_MAP_BYTES:
            break
    return found


def _draw_maps(captures: Captures, order: Sequence[str], *, channels: int) -> dict[str, Any]:
    pictures: dict[str, int] = {}  # and their numbers
    layers: dict[str, Any] = {}
    for layer in order:
        outputs = {name: found[layer][0] for name, found in captures.items() if layer in found}
        if not outputs:
            continue
        values = np.concatenate([output.ravel() for output in outputs.values()])
        low, high = (float(x) for x in np.percentile(values, SCALE_PERCENTILES))
        drawn = {
            name: png_uri(
                channel_grid(output, low=low, high=high, channels=channels), transparent=GAP
            )
            for name, output in outputs.items()
        }
        layers[layer] = {
            "low": float(f"{low:.3g}"),
            "high": float(f"{high:.3g}"),
            "what": _describe(next(iter(outputs.values())), channels),
            "picture": {
                name: pictures.setdefault(uri, len(pictures)) for name, uri in drawn.items()
            },
        }
    return {"layers": layers, "pictures": list(pictures)}


def _describe(output: NDArray[np.float32], channels: int) -> str:
    if not is_picture(output):
        return f"all {output.size} values, a square each"
    total = len(output)
    return (
        f"all {total} channels"
        if total <= channels
        else f"the first {channels} of {total} channels"
    )
