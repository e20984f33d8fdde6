"""Pictures that compare layers: their ranges, their weights, and where quantization hurts.

A row is what artifacts/inspection/layers.json holds for one layer and variant. Layers are
drawn from input to output, the first on top.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resnet8.core.variants import QUANTIZED_VARIANTS
from resnet8.report.figures import palette
from resnet8.report.figures.canvas import (
    PALE,
    SMALL,
    Figure,
    Layout,
    draw_legend,
    legend_height,
    log_axis,
    name_rows,
    names_width,
    new_figure,
    note_rows,
    rule_rows,
    shortened,
    styled,
)
from resnet8.report.figures.layer_rows import (
    Rows,
    channel_clip_ranges,
    has_8_bits,
    measured_variants,
    shown_variants,
)

ROW = 0.24  # height of a row, in inches
# Parts of a distribution: its two ends, what they are called, line width in points, colour.
PARTS = (
    ("min", "max", "all values", 1.0, palette.GREY),
    ("0.1", "99.9", "0.1% to 99.9% of the values", 6.0, PALE),
    ("25", "75", "25% to 75% of the values", 6.0, palette.GREY),
)


@styled()
def draw_ranges(activations: Mapping[str, Rows], *, layers: Sequence[str], over: str) -> Figure:
    """Draws how far the values of each layer reach, and what 8 bits of them can hold.

    Args:
        activations: rows by layer and variant.
        layers: in the order of computation.
        over: what the activations are of, such as `1,000 calibration images`.
    """
    variants = measured_variants(activations, "dtype")
    missing = "No line: the variant computes the layer in float, or together with the next one."
    missing = missing if variants else ""
    slots = len(variants) + 2  # of a row: half a one, the values, the variants, half a one
    figure, (axes,) = new_figure(
        1,
        _layout(
            (6.2, len(layers) * 0.11 * slots), layers, entries=len(PARTS) + len(variants), right=0.8
        ),
        title="Range of each layer's values",
        caption=f"Over {over}. Grey: float values. All divided by the layer's largest absolute "
        f"value, which stands on the right in the float model's units. {missing}",
    )
    statistics = [activations[x][shown_variants(activations[x])[0]]["statistics"] for x in layers]
    peaks = np.array([max(abs(row["min"]), abs(row["max"])) or 1.0 for row in statistics])
    y = np.arange(len(layers)) - 0.5 + 1 / slots  # in the first slot of each row
    for low, high, name, width, color in PARTS:
        lows, highs = ([_quantile(row, end) for row in statistics] for end in (low, high))
        axes.hlines(y, lows / peaks, highs / peaks, color, linewidth=width, label=name)
    for k, variant in enumerate(variants, start=1):
        ends = np.array([_clip_range(activations[layer].get(variant)) for layer in layers])
        x, rows = _segments(ends / peaks[:, None], y + k / slots)
        style = palette.line_style(variant) | {"marker": "|", "markersize": 6, "mew": 1.4}
        axes.plot(x, rows, label=f"{variant}: what 8 bits hold", **style)
    name_rows(axes, layers, room=0.5)
    rule_rows(axes, len(layers))
    note_rows(axes, [f"{peak:.3g}" for peak in peaks], heading="largest")
    axes.set_xlabel("value / largest absolute value of the layer")
    draw_legend(axes)
    return figure


@styled()
def draw_channel_ranges(weights: Mapping[str, Rows]) -> Figure:
    """Draws the smallest and largest weight of each output channel, and what 8 bits hold.

    Args:
        weights: rows by layer and variant, of at least one layer.
    """
    variants = measured_variants(weights, "dtype")
    lines = (
        "Lines: the ends of what its 8 bits can hold, for the input channel where they reach "
        "farthest; where variants agree, wide lines show below narrow ones."
        if variants
        else ""
    )
    figure, panels = new_figure(
        len(weights),
        Layout((4.2, 1.4), columns=2, left=0.85, top=0.35 + legend_height(1)),
        title="Range of the weights of each output channel",
        caption="Grey: smallest to largest float weight of a channel, in the float model's units. "
        f"{lines}",
    )
    for axes, (layer, rows) in zip(panels, weights.items(), strict=True):
        row = rows[shown_variants(rows)[0]]
        lows, highs = row["channel_min"], row["channel_max"]
        width = min(4.0, 200 / len(lows))
        axes.vlines(range(len(lows)), lows, highs, palette.GREY, linewidth=width, label="float")
        edges = np.repeat(np.arange(len(lows) + 1) - 0.5, 2)[1:-1]
        for variant in variants:
            if variant not in rows or not has_8_bits(rows[variant]):
                continue
            low, high = (
                np.repeat(np.broadcast_to(ends, len(lows)), 2)
                for ends in channel_clip_ranges(rows[variant])
            )
            x, y = np.concatenate([edges, [np.nan], edges]), np.concatenate([low, [np.nan], high])
            width = 1.0 + 0.9 * (len(variants) - 1 - variants.index(variant))  # seen below others
            axes.plot(x, y, label=variant, **palette.line_style(variant) | {"linewidth": width})
        axes.set_xlim(-0.5, len(lows) - 0.5)
        axes.set_title(shortened(layer, longest=40))
        axes.set(xlabel="output channel", ylabel="weight")
        axes.grid(axis="y")
    draw_legend(panels[0], columns=5, room=0.3)
    return figure


@styled()
def draw_sqnr(activations: Mapping[str, Rows], *, layers: Sequence[str], over: str) -> Figure:
    """Draws the signal-to-quantization-noise ratio of each layer's output.

    Args:
        activations: rows by layer and variant.
        layers: in the order of computation.
        over: what the activations are of, such as `1,000 calibration images`.
    """
    variants = measured_variants(activations, "sqnr_db")
    others = set(variants) - set(QUANTIZED_VARIANTS)
    original = "its reference" if others else "the float model that it was made from"
    figure, (axes,) = new_figure(
        1,
        _layout((5.5, ROW * len(layers)), layers, entries=len(variants)),
        title="Signal-to-quantization-noise ratio (SQNR) from input to output",
        caption=f"Activations over {over}, each variant against {original}. Higher is better. A "
        "layer without a point has no noise, or the variant computes it together with the next "
        "one.",
    )
    step = 0.6 / max(len(variants), 2)
    for i, variant in enumerate(variants):
        found = [activations[layer].get(variant, {}).get("statistics", {}) for layer in layers]
        points = [(y, x) for y, row in enumerate(found) if (x := row.get("sqnr_db")) is not None]
        rows, sqnr = zip(*points, strict=True) if points else ((), ())
        # Side by side, so that none covers another; no lines: parallel branches are no sequence.
        places = np.array(rows) + step * (i - (len(variants) - 1) / 2)
        style = palette.line_style(variant) | palette.marker_style(variant) | {"linestyle": ""}
        axes.plot(sqnr, places, markersize=4, label=variant, **style)
    name_rows(axes, layers)
    axes.set_xlabel("SQNR (dB)")
    axes.grid()
    draw_legend(axes)
    return figure


@styled()
def draw_sensitivity(variant: str, found: Mapping[str, Any]) -> Figure:
    """Draws what quantizing each layer alone costs, and what leaving it in float saves.

    Args:
        variant: its name.
        found: its entry in metrics/sensitivity.json.
    """
    layers = sorted(found["layers"], key=lambda layer: found["layers"][layer]["rank"])
    figure, panels = new_figure(
        2,
        Layout(
            (3.3, ROW * len(layers)), 2, left=names_width(layers), right=0.8, top=0.5, across=0.95
        ),
        title=f"{variant}: what quantizing each layer costs",
        caption="KL divergence of the class probabilities from those of the float model, over "
        f"{found['n_images']:,} training images; in percent, the images whose top-1 class is the "
        "float model's. Left: the more, the more this layer costs. Right, on an axis that does "
        "not start at zero: bars to the left of the line are what sparing this layer saves, "
        "hatched ones to the right of it what that costs.",
    )
    every = range(len(layers))
    for axes, case in zip(panels, ("alone", "spared"), strict=True):
        agreements = [found["layers"][layer][case]["agreement"] for layer in layers]
        name_rows(axes, layers)
        note_rows(axes, [f"{100 * share:.1f}%" for share in agreements], heading="same class")
    alone, spared = (
        np.array([found["layers"][layer][case]["kl_divergence"] for layer in layers])
        for case in ("alone", "spared")
    )
    left, right = panels
    positive = alone[alone > 0] if alone.any() else np.array([1e-6])
    left.barh(every, alone, 0.65, color=palette.BLUE)
    log_axis(left, "x", low=positive.min() / 2, high=positive.max() * 1.5)
    for row in np.flatnonzero(alone == 0).tolist():
        left.text(0.02, row, "0", transform=left.get_yaxis_transform(), va="center", fontsize=SMALL)
    left.set(title="Only this layer is quantized", xlabel="KL divergence (nats)")
    everything = found["all"]["kl_divergence"]
    bars = right.barh(every, spared - everything, 0.65, everything, color=palette.ORANGE)
    for bar, cost in zip(bars, spared, strict=True):
        bar.set_hatch("////" if cost > everything else "")
    right.axvline(everything, color=palette.BLACK, linewidth=1.0)
    right.locator_params("x", nbins=4)
    right.set(
        title="All but this layer are quantized", xlabel="KL divergence (nats); line: all layers"
    )
    right.tick_params(labelleft=False)
    return figure


def _layout(
    panel: tuple[float, float], names: Sequence[str], *, entries: int, right: float = 0.2
) -> Layout:
    """One panel with names on the left and a legend with so many entries on top."""
    top = 0.15 + legend_height(entries)
    return Layout(panel, left=names_width(names), right=right, top=top)


def _quantile(statistics: Mapping[str, Any], name: str) -> float:
    number: float = statistics[name] if name in statistics else statistics["percentiles"][name]
    return number


def _clip_range(row: Mapping[str, Any] | None) -> tuple[float, float]:
    if row is None or not has_8_bits(row):
        return np.nan, np.nan
    return row["statistics"]["clip_low"], row["statistics"]["clip_high"]


def _segments(
    ends: NDArray[np.float64], y: NDArray[np.floating[Any]]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """One line that breaks after each segment: (n, 2) ends and (n,) heights as points."""
    x = np.pad(ends, ((0, 0), (0, 1)), constant_values=np.nan).ravel()
    return x, np.repeat(y, 3)
