"""Histograms of a layer's values: float as an area, quantized variants as lines on top."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from resnet8.core.files import Json
from resnet8.core.variants import QUANTIZED_VARIANTS, Variant
from resnet8.report.figures import canvas, palette
from resnet8.report.figures.layer_rows import (
    Rows,
    clip_ranges,
    describe_images,
    is_reference,
    variants_to_draw,
)

PANEL = (4.3, 2.2)
BRACKET = 0.05  # distance of brackets, as a share of a panel's height
AREA: dict[str, Any] = {
    "fill": True, "facecolor": canvas.PALE, "edgecolor": palette.GREY, "linewidth": 1.0,
}  # fmt: skip


class Panel(NamedTuple):
    """Histograms of one kind of value, by variant; those of parameters have a linear axis."""

    title: str
    rows: Rows
    x_label: str
    key: str = "histogram"
    is_log: bool = True


@canvas.styled()
def draw_layer(layer: str, inspection: Json, *, data: str) -> canvas.Figure:
    """Draws histograms of a layer's activations, their error, its weights and its biases.

    Args:
        layer: its name.
        inspection: artifacts/inspection/layers.json.
        data: the images that activations are of, `calibration` or `input`.
    """
    activations = inspection["activations"][data][layer]
    parameters = inspection["parameters"].get(layer, {})
    panels = _list_panels(activations, parameters)
    names = {name for panel in panels for name in panel.rows}
    above = 0.28 + canvas.LEGEND_LINE * len(variants_to_draw(names))  # height of a full legend
    units = ", in the float model's units" if names <= set(Variant) else ""
    caption = [
        f"Activations over {describe_images(inspection, data)}{units}. Curves leave out exact "
        "zeros, whose share is named above them."
    ]
    if names & set(QUANTIZED_VARIANTS):
        caption.append("Brackets: range of a variant's 8-bit codes; values beyond are clipped.")
    for name, reasons in inspection["absent"].items():
        if layer in reasons:
            caption.append(f"Not in {name}: {reasons[layer]}.")
    figure, axes = canvas.new_figure(
        len(panels),
        canvas.Layout(PANEL, columns=2, top=above, down=0.55 + above),
        title=f"{layer}: distribution of values",
        caption=" ".join(caption),
    )
    for place, panel in zip(axes, panels, strict=True):
        _draw(place, panel)
    return figure


def _list_panels(activations: Rows, parameters: Mapping[str, Rows]) -> list[Panel]:
    panels = [Panel("Activations", activations, "value")]
    if errors := {name: row for name, row in activations.items() if "error_histogram" in row}:
        is_pipeline = set(errors) <= set(QUANTIZED_VARIANTS)
        label = "quantized minus float value" if is_pipeline else "value minus the reference's"
        panels.append(Panel("Error of activations", errors, label, key="error_histogram"))
    for kind, title in (("weight", "Weights"), ("bias", "Biases")):
        if rows := parameters.get(kind):
            size = " × ".join(str(n) for n in next(iter(rows.values()))["statistics"]["shape"])
            clips = filter(None, map(clip_ranges, rows.values()))
            is_per_channel = any(len(low) > 1 for low, _ in clips)
            widest = "; brackets: the channel with the widest range" if is_per_channel else ""
            panels.append(Panel(f"{title} ({size})", rows, f"value{widest}", is_log=False))
    return panels


def _draw(axes: canvas.Axes, panel: Panel) -> None:
    """Draws histograms, brackets above them, and a legend above the panel."""
    rows = {name: panel.rows[name] for name in variants_to_draw(panel.rows)}
    single = {name: 1 / row["statistics"]["n_values"] for name, row in rows.items()}
    shares = {name: np.array(rows[name][panel.key]["counts"]) * one for name, one in single.items()}
    low = min(single.values()) / 2 if panel.is_log else 0.0  # below the share of a single value
    ends: list[float] = []
    for name, row in rows.items():
        style = palette.line_style(name) | {"fill": False, "linewidth": 1.1}
        style = AREA if is_reference(name, row) else style
        reach = row[panel.key]["low"], row[panel.key]["high"]
        ends += reach
        edges = np.linspace(*reach, len(shares[name]) + 1)
        heights = np.maximum(shares[name], low / 10)
        label = f"{name}: {_describe(name, row, panel.key)}"
        # Axes.stairs, but without a search for limits, which takes as long as drawing.
        axes.add_artist(canvas.StepPatch(heights, edges, baseline=low / 10, label=label, **style))
    clips = {name: clip_ranges(row) for name, row in rows.items() if panel.key == "histogram"}
    ranges = {name: (both[0].min(), both[1].max()) for name, both in clips.items() if both}
    _draw_brackets(axes, ranges)
    ends += [end for both in ranges.values() for end in both]
    margin = 0.02 * (max(ends) - min(ends))
    axes.set_xlim(min(ends) - margin, max(ends) + margin)
    top = max(float(share.max()) for share in shares.values()) or 1.0
    below = 1 - BRACKET * (len(ranges) + 1)  # share of the panel's height without brackets
    if panel.is_log:
        canvas.log_axis(axes, low=low, high=low * (top / low) ** (1 / below))
    else:
        axes.set_ylim(0, top / below)
        axes.locator_params("y", nbins=5)
    axes.locator_params("x", nbins=6)
    axes.set(xlabel=panel.x_label, ylabel="share of values")
    axes.grid(axis="y")
    canvas.draw_legend(axes, title=panel.title)


def _draw_brackets(axes: canvas.Axes, ranges: Mapping[str, tuple[float, float]]) -> None:
    """Draws the range of each variant's 8-bit codes, from the top in the order of the legend."""
    for i, (name, ends) in enumerate(ranges.items()):
        y = 1 - BRACKET * (i + 0.6)
        style = palette.line_style(name) | {"transform": axes.get_xaxis_transform(), "zorder": 3}
        axes.plot(ends, [y, y], gid=name, **style)
        axes.vlines(ends, 0, y, **style | {"linewidth": 0.6})


def _describe(variant: str, row: Json, key: str) -> str:
    """An entry of the legend: shares of values, type of the codes and SQNR, as far as known."""
    statistics = row["statistics"]
    sqnr = statistics.get("sqnr_db")
    noise = "no error" if sqnr is None else f"SQNR {sqnr:.1f} dB"
    if key == "error_histogram":
        exact = 1 - sum(row[key]["counts"]) / statistics["n_values"]
        # Counts are rounded.
        return f"{noise}, exact {_percent(exact)}" if exact >= 1e-4 else noise
    parts = [f"zeros {_percent(statistics['zeros_share'])}"]
    if statistics.get("clipped_share") is not None:
        on_purpose = " (on purpose)" if "clips_on_purpose" in statistics else ""
        parts.append(f"clipped {_percent(statistics['clipped_share'])}{on_purpose}")
    elif variant in QUANTIZED_VARIANTS:
        parts.append(statistics.get("dtype", "float"))
    if "max_abs_error" in statistics and not is_reference(variant, row):
        parts.append(noise)
    return ", ".join(parts)


def _percent(share: float) -> str:
    return "<0.0001%" if 0 < share < 1e-6 else f"{100 * share:.3g}%"
