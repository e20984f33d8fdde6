"""Histograms of a layer's values: float as an area, quantized variants as lines on top."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from resnet8.core.variants import QUANTIZED_VARIANTS, Variant
from resnet8.report.figures import canvas, palette
from resnet8.report.figures.layer_rows import (
    Row,
    Rows,
    clip_ranges,
    describe_images,
    is_reference,
    variants_to_draw,
)

PANEL = (4.3, 2.2)
LEGEND_LINE = 0.168  # height of a line above a panel, in inches
AREA: dict[str, Any] = {
    "fill": True, "facecolor": canvas.PALE, "edgecolor": palette.GREY, "linewidth": 1.0,
}  # fmt: skip


class Panel(NamedTuple):
    """Histograms of one kind of value.

    rows: by variant.
    describe: returns a variant's entry in the legend.
    key: of the histogram in a row.
    is_log: whether the axis of shares is logarithmic.
    """

    title: str
    rows: Rows
    describe: Callable[[str, Row], str]
    x_label: str = "value"
    key: str = "histogram"
    is_log: bool = True


@canvas.styled()
def draw_layer(layer: str, inspection: Mapping[str, Any], *, data: str) -> canvas.Figure:
    """Draws histograms of a layer's activations, their error, its weights and its biases.

    Args:
        layer: its name.
        inspection: artifacts/inspection/layers.json.
        data: the images that activations are of, `calibration` or `input`.
    """
    activations = inspection["activations"][data][layer]
    parameters = inspection["parameters"].get(layer, {})
    panels = _list_panels(activations, parameters)
    variants = variants_to_draw([*activations, *(x for rows in parameters.values() for x in rows)])
    above = 0.28 + LEGEND_LINE * len(variants)  # height of the longest legend
    brackets = " Brackets: what a variant's 8 bits can hold; values beyond are clipped."
    brackets = brackets if set(variants) & set(QUANTIZED_VARIANTS) else ""
    units = ", in the float model's units" if set(variants) <= set(Variant) else ""
    absent = {name: why[layer] for name, why in inspection["absent"].items() if layer in why}
    reasons = "".join(f" Not in {name}: {why}." for name, why in absent.items())
    figure, axes = canvas.new_figure(
        len(panels),
        canvas.Layout(PANEL, columns=2, top=above, down=0.55 + above),
        title=f"{layer}: distribution of values",
        caption=f"Activations over {describe_images(inspection, data)}{units}. Curves leave out "
        f"exact zeros, whose share is named above them.{brackets}{reasons}",
    )
    for place, panel in zip(axes, panels, strict=True):
        _draw(place, panel)
    return figure


def _list_panels(activations: Rows, parameters: Mapping[str, Rows]) -> list[Panel]:
    panels = [Panel("Activations", activations, _describe_activation)]
    errors = {name: row for name, row in activations.items() if "error_histogram" in row}
    of_pipeline = set(errors) <= set(QUANTIZED_VARIANTS)
    x_label = "quantized minus float value" if of_pipeline else "value minus that of the reference"
    panels.append(
        Panel("Error of activations", errors, _describe_error, x_label, key="error_histogram")
    )
    for kind, title in (("weight", "Weights"), ("bias", "Biases")):
        if rows := parameters.get(kind):
            size = " × ".join(str(n) for n in next(iter(rows.values()))["statistics"]["shape"])
            clips = filter(None, map(clip_ranges, rows.values()))
            per_channel = any(len(low) > 1 for low, _ in clips)
            x_label = (
                "value; brackets: the channel with the widest range" if per_channel else "value"
            )
            panels.append(
                Panel(f"{title} ({size})", rows, _describe_parameter, x_label, is_log=False)
            )
    return [panel for panel in panels if panel.rows]


def _draw(axes: canvas.Axes, panel: Panel) -> None:
    """Draws histograms, brackets above them, and a legend above the panel."""
    rows = {name: panel.rows[name] for name in variants_to_draw(panel.rows)}
    clips = {name: clip_ranges(row) for name, row in rows.items() if panel.key == "histogram"}
    ranges = {name: (both[0].min(), both[1].max()) for name, both in clips.items() if both}
    single = {name: 1 / row["statistics"]["n_values"] for name, row in rows.items()}
    shares = {name: np.array(rows[name][panel.key]["counts"]) * one for name, one in single.items()}
    low = min(single.values()) / 2 if panel.is_log else 0.0  # below the share of a single value
    top = max(float(share.max()) for share in shares.values()) or 1.0
    room = 0.05 + 0.05 * len(ranges)  # share of the panel's height that brackets take
    handles, ends = [], [end for both in ranges.values() for end in both]
    for name, row in rows.items():
        style = AREA if is_reference(name, row) else palette.line_style(name) | {"linewidth": 1.1}
        low_end, high_end = row[panel.key]["low"], row[panel.key]["high"]
        edges = np.linspace(low_end, high_end, len(shares[name]) + 1)
        heights = np.maximum(shares[name], low / 10)
        handles.append(axes.stairs(heights, edges, baseline=low / 10, label=name, **style))
        ends += [low_end, high_end]
    if panel.is_log:
        canvas.log_axis(axes, low=low, high=top * (top / low) ** (room / (1 - room)))
    else:
        axes.set_ylim(0, top / (1 - room))
    margin = 0.02 * (max(ends) - min(ends))
    axes.set_xlim(min(ends) - margin, max(ends) + margin)
    axes.locator_params("x", nbins=6)
    across = axes.get_xaxis_transform()  # data along x, the panel's height along y
    for i, (name, both) in enumerate(ranges.items()):  # in the order of the legend
        y, style = 0.97 - 0.05 * i, palette.line_style(name) | {"transform": across, "zorder": 3}
        axes.plot(both, [y, y], label=f"{name} range", **style)
        axes.vlines(both, 0, y, **style | {"linewidth": 0.6})
    labels = [f"{name}: {panel.describe(name, row)}" for name, row in rows.items()]
    axes.legend(handles, labels, loc="lower left", bbox_to_anchor=(0, 1.02))
    axes.set_title(panel.title, y=1 + (0.06 + LEGEND_LINE * len(labels)) / PANEL[1])
    axes.set(xlabel=panel.x_label, ylabel="share of values")
    axes.grid(axis="y")


def _percent(share: float) -> str:
    return "<0.0001%" if 0 < share < 1e-6 else f"{100 * share:.3g}%"


def _sqnr(statistics: Mapping[str, Any]) -> str:
    if "max_abs_error" not in statistics:
        return "compared with nothing"
    sqnr = statistics.get("sqnr_db")
    return "no error" if sqnr is None else f"SQNR {sqnr:.1f} dB"


def _describe_activation(variant: str, row: Row) -> str:
    statistics = row["statistics"]
    zeros = f"zeros {_percent(statistics['zeros_share'])}"
    if is_reference(variant, row):
        return zeros
    if variant not in QUANTIZED_VARIANTS:
        return f"{zeros}, {_sqnr(statistics)}"
    clipped = statistics.get("clipped_share")
    codes = statistics.get("dtype", "float at this point")
    codes = codes if clipped is None else f"clipped {_percent(clipped)}"
    codes += " (on purpose)" if "clips_on_purpose" in statistics else ""
    return f"{zeros}, {codes}, {_sqnr(statistics)}"


def _describe_error(_: str, row: Row) -> str:
    statistics = row["statistics"]
    exact = 1 - sum(row["error_histogram"]["counts"]) / statistics["n_values"]
    if exact < 1e-4:  # within the rounding of counts
        return _sqnr(statistics)
    return f"{_sqnr(statistics)}, exact {_percent(exact)}"


def _describe_parameter(_: str, row: Row) -> str:
    statistics = row["statistics"]
    zeros = f"zeros {_percent(statistics['zeros_share'])}"
    if "dtype" not in statistics:
        return f"float, {zeros}"
    return f"{statistics['dtype']}, {zeros}, {_sqnr(statistics)}"
