"""Figures that compare layers: their ranges, their weights, and the cost of quantizing them.

Layers are drawn from input to output, the first one on top.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from resnet8.core.variants import QUANTIZED_VARIANTS
from resnet8.report.figures import canvas, palette
from resnet8.report.figures.layer_rows import (
    Rows,
    channel_clip_ranges,
    has_8_bits,
    measured_variants,
    shorten,
    variants_to_draw,
)

ROW = 0.24  # height of a row, in inches
# Parts of a distribution: both ends, name, line width in points, colour.
PARTS = (
    ("min", "max", "all values", 1.0, palette.GREY),
    ("0.1", "99.9", "0.1% to 99.9% of the values", 6.0, canvas.PALE),
    ("25", "75", "25% to 75% of the values", 6.0, palette.GREY),
)


@canvas.styled()
def draw_ranges(
    activations: Mapping[str, Rows], *, layers: Sequence[str], over: str
) -> canvas.Figure:
    """Draws the range of each layer's values, and what 8 bits of them can hold.

    Args:
        activations: rows by layer and variant.
        layers: in the order of computation.
        over: what the activations are of, such as `1,000 calibration images`.
    """
    variants = measured_variants(activations, "dtype")
    missing = "No line: the variant computes the layer in float, or together with the next one."
    missing = missing if variants else ""
    slots = len(variants) + 2  # of a row: half a one, the values, the variants, half a one
    size, entries = (6.2, len(layers) * 0.11 * slots), len(PARTS) + len(variants)
    figure, (axes,) = canvas.new_figure(
        1,
        _layout(size, layers, entries=entries, right=0.8),
        title="Range of each layer's values",
        caption=f"Over {over}. Grey: float values. All divided by the layer's largest absolute "
        f"value, which stands on the right in the float model's units. {missing}",
    )
    statistics = [activations[x][variants_to_draw(activations[x])[0]]["statistics"] for x in layers]
    values = [row | row["percentiles"] for row in statistics]
    peaks = np.array([max(abs(row["min"]), abs(row["max"])) or 1.0 for row in statistics])
    y = np.arange(len(layers)) - 0.5 + 1 / slots  # in the first slot of each row
    for low, high, name, width, color in PARTS:
        lows, highs = ([row[end] for row in values] for end in (low, high))
        axes.hlines(y, lows / peaks, highs / peaks, color, linewidth=width, label=name)
    for k, variant in enumerate(variants, start=1):
        ends = np.full((len(layers), 3), np.nan)  # the third breaks the line
        for row, layer in zip(ends, layers, strict=True):
            if variant in activations[layer] and has_8_bits(activations[layer][variant]):
                clip = activations[layer][variant]["statistics"]
                row[:2] = clip["clip_low"], clip["clip_high"]
        x, rows = (ends / peaks[:, None]).ravel(), np.repeat(y + k / slots, 3)
        style = palette.line_style(variant) | {"marker": "|", "markersize": 6, "mew": 1.4}
        axes.plot(x, rows, label=f"{variant}: what 8 bits hold", **style)
    canvas.name_rows(axes, layers, margin=0.5)
    canvas.rule_rows(axes, len(layers))
    canvas.note_rows(axes, [f"{peak:.3g}" for peak in peaks], heading="largest")
    axes.set_xlabel("value / largest absolute value of the layer")
    canvas.draw_legend(axes)
    return figure


@canvas.styled()
def draw_channel_ranges(weights: Mapping[str, Rows]) -> canvas.Figure:
    """Draws the smallest and largest weight of each output channel, and what 8 bits hold.

    Args:
        weights: rows by layer and variant, of at least one layer.
    """
    variants = measured_variants(weights, "dtype")
    lines = (
        "Lines: the ends of what its 8 bits can hold, for the input channel where they reach "
        "farthest; where variants agree, wide lines show below narrow ones."
    )
    figure, panels = canvas.new_figure(
        len(weights),
        canvas.Layout((4.2, 1.4), columns=2, left=0.85, top=0.35 + canvas.legend_height(1)),
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
            if variant in rows and has_8_bits(rows[variant]):
                style = palette.line_style(variant)
                style["linewidth"] = 1.0 + 0.9 * (len(variants) - 1 - i)  # seen below others
                for label, ends in zip(
                    (variant, None), channel_clip_ranges(rows[variant]), strict=True
                ):
                    y = np.broadcast_to(ends, len(lows))
                    axes.plot(edges, [*y, y[-1]], drawstyle="steps-post", label=label, **style)
        axes.set_xlim(-0.5, len(lows) - 0.5)
        axes.set_title(shorten(layer, 40))
        axes.set(xlabel="output channel", ylabel="weight")
        axes.grid(axis="y")
    canvas.draw_legend(panels[0], columns=5, gap=0.3)
    return figure


@canvas.styled()
def draw_sqnr(
    activations: Mapping[str, Rows], *, layers: Sequence[str], over: str
) -> canvas.Figure:
    """Draws the signal-to-quantization-noise ratio of each layer's output.

    Args:
        activations: rows by layer and variant.
        layers: in the order of computation.
        over: what the activations are of, such as `1,000 calibration images`.
    """
    variants = measured_variants(activations, "sqnr_db")
    others = set(variants) - set(QUANTIZED_VARIANTS)
    original = "its reference" if others else "the float model that it was made from"
    figure, (axes,) = canvas.new_figure(
        1,
        _layout((5.5, ROW * len(layers)), layers, entries=len(variants)),
        title="Signal-to-quantization-noise ratio (SQNR) from input to output",
        caption=f"Activations over {over}, each variant against {original}. Higher is better. A "
        "layer without a point has no noise, or the variant computes it together with the next "
        "one.",
    )
    step = 0.6 / max(len(variants), 2)
    for i, variant in enumerate(variants):
        statistics = [activations[x].get(variant, {}).get("statistics", {}) for x in layers]
        sqnr = np.array([row.get("sqnr_db") for row in statistics], np.float64)  # None: NaN
        # Side by side, so that none covers another; no lines: parallel branches are no sequence.
        y = np.arange(len(layers)) + step * (i - (len(variants) - 1) / 2)
        axes.plot(sqnr, y, markersize=4, label=variant, ls="", **palette.marker_style(variant))
    canvas.name_rows(axes, layers)
    axes.set_xlabel("SQNR (dB)")
    axes.grid()
    canvas.draw_legend(axes)
    return figure


@canvas.styled()
def draw_sensitivity(variant: str, ranking: Mapping[str, Any]) -> canvas.Figure:
    """Draws what quantizing each layer alone costs, and what leaving it in float saves.

    Args:
        variant: its name.
        ranking: its entry in metrics/sensitivity.json.
    """
    layers = sorted(ranking["layers"], key=lambda layer: ranking["layers"][layer]["rank"])
    left, size = canvas.names_width(layers), (3.3, ROW * len(layers))
    figure, panels = canvas.new_figure(
        2,
        canvas.Layout(size, columns=2, left=left, right=0.8, top=0.5, across=0.95),
        title=f"{variant}: what quantizing each layer costs",
        caption="KL divergence of the class probabilities from those of the float model, over "
        f"{ranking['n_images']:,} training images; in percent, the images whose top-1 class is the "
        "float model's. Left: the more, the more this layer costs. Right, on an axis that does "
        "not start at zero: bars to the left of the line are what sparing this layer saves, "
        "hatched ones to the right of it what that costs.",
    )
    kl = {}
    for axes, case in zip(panels, ("alone", "spared"), strict=True):
        rows = [ranking["layers"][layer][case] for layer in layers]
        kl[case] = np.array([row["kl_divergence"] for row in rows])
        canvas.name_rows(axes, layers)
        canvas.note_rows(
            axes, [f"{100 * row['agreement']:.1f}%" for row in rows], heading="same class"
        )
    alone, spared = panels
    positive = kl["alone"][kl["alone"] > 0] if kl["alone"].any() else np.array([1e-6])
    alone.barh(range(len(layers)), kl["alone"], 0.65, color=palette.BLUE)
    canvas.log_axis(alone, "x", low=positive.min() / 2, high=positive.max() * 1.5)
    across = alone.get_yaxis_transform()
    for row in np.flatnonzero(kl["alone"] == 0).tolist():
        alone.text(0.02, row, "0", transform=across, va="center", fontsize=canvas.SMALL)
    alone.set(title="Only this layer is quantized", xlabel="KL divergence (nats)")
    whole = ranking["all"]["kl_divergence"]
    hatches = ["////" if x > whole else "" for x in kl["spared"]]
    spared.barh(
        range(len(layers)), kl["spared"] - whole, 0.65, whole, color=palette.ORANGE, hatch=hatches
    )
    spared.axvline(whole, color=palette.BLACK, linewidth=1.0)
    spared.locator_params("x", nbins=4)
    spared.set(
        title="All but this layer are quantized", xlabel="KL divergence (nats); line: all layers"
    )
    spared.tick_params(labelleft=False)
    return figure


def _layout(
    panel: tuple[float, float], names: Sequence[str], *, entries: int, right: float = 0.2
) -> canvas.Layout:
    """One panel with names on the left and a legend of `entries` on top."""
    top = 0.15 + canvas.legend_height(entries)
    return canvas.Layout(panel, left=canvas.names_width(names), right=right, top=top)
