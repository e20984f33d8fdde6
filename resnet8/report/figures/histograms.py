"""Histograms of a layer's values: float as an area, quantized variants as lines on top."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from resnet8.core.variants import QUANTIZED_VARIANTS, Variant
from resnet8.report.figures import canvas, palette
from resnet8.report.figures.layer_rows import (
    Row,
    Rows,
    channel_clip_ranges,
    has_8_bits,
    is_reference,
    variants_to_draw,
)

PANEL = (4.3, 2.2)
LEGEND_LINE = 0.168  # height of a line above a panel, in inches
AREA: dict[str, Any] = {
    "fill": True, "facecolor": canvas.PALE, "edgecolor": palette.GREY, "linewidth": 1.0,
}  # fmt: skip
TITLES = {"weight": "Weights", "bias": "Biases"}


class Panel(NamedTuple):
    """Histograms of one kind of value.

    rows: by variant.
    describe: returns a variant's entry in the legend.
    key: of the histogram in a row.
    ranges: low and high end of what the 8 bits of a variant can hold.
    is_log: whether the axis of shares is logarithmic.
    """

    title: str
    x_label: str
    rows: Rows
    describe: Callable[[str, Row], str]
    key: str = "histogram"
    ranges: Mapping[str, tuple[float, float]] = {}
    is_log: bool = True


@canvas.styled()
def draw_layer(
    layer: str,
    activations: Rows,
    *,
    parameters: Mapping[str, Rows],
    over: str,
    absent: Mapping[str, str],
) -> canvas.Figure:
    """Draws histograms of a layer's activations, their error, its weights and its biases.

    Args:
        layer: its name.
        activations: rows by variant.
        parameters: rows of `weight` and `bias`, if the layer has them.
        over: what the activations are of, such as `1,000 calibration images`.
        absent: by variant, the reason why the layer is not captured in it.
    """
    panels = [_activation_panel(activations)]
    errors = {name: row for name, row in activations.items() if "error_histogram" in row}
    if errors:
        panels.append(_error_panel(errors))
    panels += [
        _parameter_panel(title, parameters[kind])
        for kind, title in TITLES.items()
        if kind in parameters
    ]
    variants = variants_to_draw([*activations, *(x for rows in parameters.values() for x in rows)])
    above = 0.28 + LEGEND_LINE * len(variants)  # height of the longest legend
    brackets = " Brackets: what a variant's 8 bits can hold; values beyond are clipped."
    brackets = brackets if set(variants) & set(QUANTIZED_VARIANTS) else ""
    units = ", in the float model's units" if set(variants) <= set(Variant) else ""
    reasons = "".join(f" Not in {name}: {why}." for name, why in absent.items())
    figure, axes = canvas.new_figure(
        len(panels),
        canvas.Layout(PANEL, columns=2, top=above, down=0.55 + above),
        title=f"{layer}: distribution of values",
        caption=f"Activations over {over}{units}. Curves leave out exact "
        f"zeros, whose share is named above them.{brackets}{reasons}",
    )
    for place, panel in zip(axes, panels, strict=True):
        _draw(place, panel)
    return figure


def _activation_panel(rows: Rows) -> Panel:
    ranges = {
        name: (row["statistics"]["clip_low"], row["statistics"]["clip_high"])
        for name, row in rows.items()
        if has_8_bits(row)
    }
    return Panel("Activations", "value", rows, _describe_activation, ranges=ranges)


def _error_panel(rows: Rows) -> Panel:
    of_pipeline = set(rows) <= set(QUANTIZED_VARIANTS)
    x_label = "quantized minus float value" if of_pipeline else "value minus that of the reference"
    return Panel("Error of activations", x_label, rows, _describe_error, key="error_histogram")


def _parameter_panel(title: str, rows: Rows) -> Panel:
    clips = {name: channel_clip_ranges(row) for name, row in rows.items() if has_8_bits(row)}
    per_channel = any(len(low) > 1 for low, _ in clips.values())
    size = " × ".join(str(n) for n in next(iter(rows.values()))["statistics"]["shape"])
    return Panel(
        f"{title} ({size})",
        "value; brackets: the channel with the widest range" if per_channel else "value",
        rows,
        _describe_parameter,
        ranges={name: (float(low.min()), float(high.max())) for name, (low, high) in clips.items()},
        is_log=False,
    )


def _draw(axes: canvas.Axes, panel: Panel) -> None:
    """Draws a panel: histograms, brackets above them, and a legend above the panel."""
    rows = {name: panel.rows[name] for name in variants_to_draw(panel.rows)}
    ranges = {name: panel.ranges[name] for name in rows if name in panel.ranges}
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
        canvas.log_axis(axes, "y", low=low, high=top * (top / low) ** (room / (1 - room)))
    else:
        axes.set_ylim(0, top / (1 - room))
    margin = 0.02 * (max(ends) - min(ends))
    axes.set_xlim(min(ends) - margin, max(ends) + margin)
    axes.locator_params("x", nbins=6)
    _draw_brackets(axes, ranges)
    labels = [f"{name}: {panel.describe(name, row)}" for name, row in rows.items()]
    axes.legend(handles, labels, loc="lower left", bbox_to_anchor=(0, 1.02))
    axes.set_title(panel.title, y=1 + (0.06 + LEGEND_LINE * len(labels)) / PANEL[1])
    axes.set(xlabel=panel.x_label, ylabel="share of values")
    axes.grid(axis="y")


def _draw_brackets(axes: canvas.Axes, ranges: Mapping[str, Sequence[float]]) -> None:
    """Draws each range across the top, in the order of the legend, with thin lines down."""
    across = axes.get_xaxis_transform()  # data along x, the panel's height along y
    for i, (variant, (low, high)) in enumerate(ranges.items()):
        y = 0.97 - 0.05 * i
        style = palette.line_style(variant) | {"transform": across, "zorder": 3}
        axes.plot([low, high], [y, y], label=f"{variant} range", **style)
        axes.vlines([low, high], 0, y, **style | {"linewidth": 0.6})


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
