"""Figures that compare layers: their ranges, their weights and their SQNR.

Layers are drawn from input to output, the first one on top.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from resnet8.core.files import Json
from resnet8.core.variants import QUANTIZED_VARIANTS
from resnet8.report.figures import canvas, palette
from resnet8.report.figures.layer_rows import (
    Rows,
    clip_ranges,
    describe_images,
    measured_variants,
    shorten,
    variants_to_draw,
)

ROW = 0.24  # height of a row, in inches
CHARACTER = 0.072  # mean width of a layer's name, in inches
# Parts of a distribution: both ends, name, line width in points, colour.
PARTS = (
    ("min", "max", "all values", 1.0, palette.GREY),
    ("0.1", "99.9", "0.1% to 99.9% of the values", 6.0, canvas.PALE),
    ("25", "75", "25% to 75% of the values", 6.0, palette.GREY),
)


@canvas.styled()
def draw_ranges(inspection: Json, *, data: str) -> canvas.Figure:
    """Draws the range of each layer's values, and the range of their 8-bit codes.

    See `draw_layer` for the arguments.
    """
    layers, activations = inspection["layers"], inspection["activations"][data]
    variants = measured_variants(activations, "dtype")
    slots = len(variants) + 2  # of a row: half a one, the values, the variants, half a one
    missing = "No line: the variant computes the layer in float, or together with the next one."
    figure, axes = _new_rows(
        layers,
        (6.2, len(layers) * 0.11 * slots),
        entries=len(PARTS) + len(variants),
        title="Range of each layer's values",
        caption=f"Over {describe_images(inspection, data)}. Grey: float values. All divided by the "
        "layer's largest absolute value, which stands on the right in the float model's units. "
        f"{missing if variants else ''}",
    )
    statistics = [activations[x][variants_to_draw(activations[x])[0]]["statistics"] for x in layers]
    values = [row | row["percentiles"] for row in statistics]
    peaks = np.array([max(abs(row["min"]), abs(row["max"])) or 1.0 for row in statistics])
    y = np.arange(len(layers)) - 0.5 + 1 / slots  # in the first slot of each row
    for low, high, name, width, color in PARTS:
        lows, highs = ([row[end] for row in values] for end in (low, high))
        axes.hlines(y, lows / peaks, highs / peaks, color, linewidth=width, label=name)
    for k, variant in enumerate(variants, start=1):
        clips = [clip_ranges(activations[layer].get(variant, {})) for layer in layers]
        # Low and high end of each layer, and a third point that breaks the line.
        ends = [(*np.ravel(both), np.nan) if both else (np.nan,) * 3 for both in clips]
        style = palette.line_style(variant) | {"marker": "|", "markersize": 6, "mew": 1.4}
        x, rows = np.ravel(ends / peaks[:, None]), np.repeat(y + k / slots, 3)
        axes.plot(x, rows, label=f"{variant}: range of 8-bit codes", **style)
    across = axes.get_yaxis_transform()  # the panel's width along x, rows along y
    axes.hlines(np.arange(1, len(layers)) - 0.5, 0, 1, canvas.PALE, linewidth=0.6, transform=across)
    for row, text in [(-0.6, "largest"), *enumerate(f"{peak:.3g}" for peak in peaks)]:
        axes.text(1.02, row, text, transform=across, va="center", fontsize=canvas.SMALL)
    axes.set_xlabel("value / largest absolute value of the layer")
    canvas.draw_legend(axes, columns=2)
    return figure


@canvas.styled()
def draw_channel_ranges(weights: Mapping[str, Rows]) -> canvas.Figure:
    """Draws the ranges of the weights of each output channel, and of their 8-bit codes."""
    variants = measured_variants(weights, "dtype")
    lines = (
        "Lines: the range of its 8-bit codes, for the input channel where they reach "
        "farthest; where variants agree, wide lines show below narrow ones."
    )
    figure, panels = canvas.new_figure(
        len(weights),
        canvas.Layout((4.2, 1.4), columns=2, left=0.85, top=0.45 + canvas.LEGEND_LINE),
        title="Range of the weights of each output channel",
        caption="Grey: smallest to largest float weight of a channel, in the float model's units. "
        f"{lines if variants else ''}",
    )
    for axes, (layer, rows) in zip(panels, weights.items(), strict=True):
        row = rows[variants_to_draw(rows)[0]]
        lows, highs = row["channel_min"], row["channel_max"]
        width = min(4.0, 200 / len(lows))
        axes.vlines(range(len(lows)), lows, highs, palette.GREY, linewidth=width, label="float")
        edges = np.arange(len(lows) + 1) - 0.5
        for i, variant in enumerate(variants):
            style = palette.line_style(variant)
            style["linewidth"] = 1.0 + 0.9 * (len(variants) - 1 - i)  # visible below narrower ones
            for k, ends in enumerate(clip_ranges(rows.get(variant, {})) or ()):
                y = np.broadcast_to(ends, len(lows))
                label = None if k else variant  # once in the legend
                axes.plot(edges, [*y, y[-1]], drawstyle="steps-post", label=label, **style)
        axes.set_xlim(-0.5, len(lows) - 0.5)
        axes.set_title(shorten(layer, 40))
        axes.set(xlabel="output channel", ylabel="weight")
        axes.grid(axis="y")
    canvas.draw_legend(panels[0], columns=5, gap=0.3)
    return figure


@canvas.styled()
def draw_sqnr(inspection: Json, *, data: str) -> canvas.Figure:
    """Draws the signal-to-quantization-noise ratio of each layer's output.

    See `draw_layer` for the arguments.
    """
    layers, activations = inspection["layers"], inspection["activations"][data]
    variants = measured_variants(activations, "sqnr_db")
    is_pipeline = set(variants) <= set(QUANTIZED_VARIANTS)
    original = "the float model that it was made from" if is_pipeline else "its reference"
    figure, axes = _new_rows(
        layers,
        (5.5, ROW * len(layers)),
        entries=len(variants),
        title="Signal-to-quantization-noise ratio (SQNR) from input to output",
        caption=f"Activations over {describe_images(inspection, data)}, each variant against "
        f"{original}. Higher is better. A layer without a point has no noise, or the variant "
        "computes it together with the next one.",
    )
    step = 0.6 / max(len(variants), 2)
    for i, variant in enumerate(variants):
        statistics = [activations[x].get(variant, {}).get("statistics", {}) for x in layers]
        sqnr = np.array([row.get("sqnr_db") for row in statistics], np.float64)  # None: NaN
        # Side by side, so that none covers another; no lines: parallel branches are no sequence.
        y = np.arange(len(layers)) + step * (i - (len(variants) - 1) / 2)
        axes.plot(sqnr, y, markersize=4, label=variant, ls="", **palette.marker_style(variant))
    axes.set_xlabel("SQNR (dB)")
    axes.grid()
    canvas.draw_legend(axes, columns=2)
    return figure


def _new_rows(
    layers: Sequence[str], size: tuple[float, float], *, entries: int, title: str, caption: str
) -> tuple[canvas.Figure, canvas.Axes]:
    """Returns a figure and its only panel, of a size in inches, with layer i at height i.

    There is room for a legend of `entries` in two columns above the panel.
    """
    names = [shorten(layer) for layer in layers]
    left = 0.25 + CHARACTER * max(map(len, names))
    top = 0.25 + canvas.LEGEND_LINE * -(-entries // 2)
    layout = canvas.Layout(size, left=left, right=0.8, top=top)
    figure, (axes,) = canvas.new_figure(1, layout, title=title, caption=caption)
    axes.set_ylim(len(layers) - 0.5, -0.5)
    axes.set_yticks(range(len(layers)), labels=names)
    axes.tick_params(axis="y", length=0)
    return figure, axes
