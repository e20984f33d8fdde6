"""Pictures of how a layer's values are distributed, float and quantized over each other.

A row is what artifacts/inspection/layers.json holds for one layer and variant: its
`statistics`, its `histogram` and, for activations, its `error_histogram`.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from resnet8.core.variants import QUANTIZED_VARIANTS, Variant
from resnet8.report.figures import palette
from resnet8.report.figures.canvas import (
    PALE,
    Axes,
    Figure,
    Layout,
    log_axis,
    new_figure,
    styled,
)
from resnet8.report.figures.layer_rows import (
    Rows,
    channel_clip_ranges,
    has_8_bits,
    is_reference,
    shown_variants,
)

PANEL = (4.3, 2.2)
LEGEND_LINE = 0.168  # height of a line above a panel, in inches
TITLES = {"weight": "Weights", "bias": "Biases"}


class Range(NamedTuple):
    """What the 8 bits of a variant can hold, in the values' own unit."""

    variant: str
    low: float
    high: float


class Curve(NamedTuple):
    """A variant's histogram: bins of one width from `low` to `high`.

    shares: (B,) of all values.
    one: the share that a single value is.
    label: what the legend says of it.
    is_filled: whether it is drawn as an area.
    """

    variant: str
    low: float
    high: float
    shares: NDArray[np.float64]
    one: float
    label: str
    is_filled: bool


@styled()
def draw_layer(
    layer: str,
    activations: Rows,
    *,
    parameters: Mapping[str, Rows],
    over: str,
    absent: Mapping[str, str],
) -> Figure:
    """Draws the histograms of one layer, a panel for each kind of value that it has.

    Args:
        layer: its name.
        activations: rows by variant.
        parameters: rows of `weight` and `bias`, as far as the layer has them.
        over: what the activations are of, such as `1,000 calibration images`.
        absent: by variant, why this layer cannot be seen in it.

    Returns:
        Panels for activations, their error, weights and biases.
    """
    draw: list[Callable[[Axes], None]] = [partial(_draw_activations, rows=activations)]
    if any("error_histogram" in row for row in activations.values()):
        draw.append(partial(_draw_errors, rows=activations))
    draw += [
        partial(_draw_parameter, rows=parameters[kind], title=title)
        for kind, title in TITLES.items()
        if kind in parameters
    ]
    variants = shown_variants(
        [*activations, *(name for kind in parameters.values() for name in kind)]
    )
    above = 0.28 + LEGEND_LINE * len(variants)  # of the longest legend
    brackets = " Brackets: what a variant's 8 bits can hold; values beyond are clipped."
    brackets = brackets if set(variants) & set(QUANTIZED_VARIANTS) else ""
    units = ", in the float model's units" if set(variants) <= set(Variant) else ""
    reasons = "".join(f" Not in {name}: {why}." for name, why in absent.items())
    figure, panels = new_figure(
        len(draw),
        Layout(PANEL, columns=2, top=above, down=0.55 + above),
        title=f"{layer}: distribution of values",
        caption=f"Activations over {over}{units}. Curves leave out exact "
        f"zeros, whose share is named above them.{brackets}{reasons}",
    )
    for axes, draw_panel in zip(panels, draw, strict=True):
        draw_panel(axes)
    return figure


def _draw_activations(axes: Axes, rows: Rows) -> None:
    ranges = [
        Range(name, rows[name]["statistics"]["clip_low"], rows[name]["statistics"]["clip_high"])
        for name in shown_variants(rows)
        if has_8_bits(rows[name])
    ]
    curves = _curves(rows, key="histogram", describe=_describe_activation)
    _draw_log(axes, curves, ranges=ranges)
    _entitle(axes, "Activations", x="value")


def _draw_errors(axes: Axes, rows: Rows) -> None:
    found = {name: row for name, row in rows.items() if "error_histogram" in row}
    _draw_log(axes, _curves(found, key="error_histogram", describe=_describe_error), ranges=[])
    quantized = set(found) <= set(QUANTIZED_VARIANTS)
    x = "quantized minus float value" if quantized else "value minus that of the reference"
    _entitle(axes, "Error of activations", x=x)


def _draw_parameter(axes: Axes, rows: Rows, *, title: str) -> None:
    clips = {
        name: channel_clip_ranges(rows[name])
        for name in shown_variants(rows)
        if has_8_bits(rows[name])
    }
    ranges = [
        Range(name, float(low.min()), float(high.max())) for name, (low, high) in clips.items()
    ]
    curves = _curves(rows, key="histogram", describe=_describe_parameter)
    _draw(axes, curves, ranges, floor=0.0)
    axes.set_ylim(0, _top(curves) / (1 - _room(ranges)))
    size = " × ".join(str(n) for n in next(iter(rows.values()))["statistics"]["shape"])
    per_channel = any(len(low) > 1 for low, _ in clips.values())
    x = "value; brackets: the channel with the widest range" if per_channel else "value"
    _entitle(axes, f"{title} ({size})", x=x)


def _curves(
    rows: Rows, *, key: str, describe: Callable[[str, Mapping[str, Any]], str]
) -> list[Curve]:
    found = []
    for variant in shown_variants(rows):
        histogram, one = rows[variant][key], 1 / rows[variant]["statistics"]["n_values"]
        shares = np.array(histogram["counts"]) * one
        label = f"{variant}: {describe(variant, rows[variant])}"
        is_filled = is_reference(variant, rows[variant])
        found.append(
            Curve(variant, histogram["low"], histogram["high"], shares, one, label, is_filled)
        )
    return found


def _top(curves: Sequence[Curve]) -> float:
    return float(max(curve.shares.max() for curve in curves)) or 1.0


def _room(ranges: Sequence[Range]) -> float:
    """The part of a panel's height that brackets take."""
    return 0.05 + 0.05 * len(ranges)


def _draw_log(axes: Axes, curves: Sequence[Curve], *, ranges: Sequence[Range]) -> None:
    """Draws curves on a logarithmic axis that begins below a single value."""
    low, top, room = min(curve.one for curve in curves) / 2, _top(curves), _room(ranges)
    _draw(axes, curves, ranges, floor=low / 10)
    log_axis(axes, "y", low=low, high=top * (top / low) ** (room / (1 - room)))


def _draw(axes: Axes, curves: Sequence[Curve], ranges: Sequence[Range], *, floor: float) -> None:
    """Draws histograms, float as an area and quantized as steps, and brackets above them."""
    handles: list[Any] = []
    for curve in curves:
        x = np.repeat(np.linspace(curve.low, curve.high, len(curve.shares) + 1), 2)
        y = np.maximum(np.pad(np.repeat(curve.shares, 2), 1), floor)
        handles += (
            [axes.fill_between(x, y, floor, facecolor=PALE, edgecolor=palette.GREY)]
            if curve.is_filled
            else axes.plot(x, y, **palette.line_style(curve.variant) | {"linewidth": 1.1})
        )
        handles[-1].set_label(curve.variant)
    ends = [end for curve in curves for end in (curve.low, curve.high)]
    ends += [end for _, low, high in ranges for end in (low, high)]
    margin = 0.02 * (max(ends) - min(ends))
    axes.set_xlim(min(ends) - margin, max(ends) + margin)
    axes.locator_params("x", nbins=6)
    _draw_brackets(axes, ranges)
    labels = [curve.label for curve in curves]
    axes.legend(handles, labels, loc="lower left", bbox_to_anchor=(0, 1.02))


def _draw_brackets(axes: Axes, ranges: Sequence[Range]) -> None:
    """Draws each range across the top, in the order of the legend, with thin lines down."""
    across = axes.get_xaxis_transform()  # data along x, the panel's height along y
    for i, (variant, low, high) in enumerate(ranges):
        y = 0.97 - 0.05 * i
        style = palette.line_style(variant) | {"transform": across, "zorder": 3}
        axes.plot([low, high], [y, y], label=f"{variant} range", **style)
        axes.plot(
            [low, low, np.nan, high, high], [0, y, np.nan, 0, y], **style | {"linewidth": 0.6}
        )


def _entitle(axes: Axes, title: str, *, x: str) -> None:
    """Names a panel and its axes, above its legend."""
    legend = axes.get_legend()
    lines = len(legend.get_texts()) if legend else 0
    axes.set_title(title, y=1 + (0.06 + LEGEND_LINE * lines) / PANEL[1])
    axes.set(xlabel=x, ylabel="share of values")
    axes.grid(axis="y")


def _percent(share: float) -> str:
    return "<0.0001%" if 0 < share < 1e-6 else f"{100 * share:.3g}%"


def _sqnr(statistics: Mapping[str, Any]) -> str:
    if "max_abs_error" not in statistics:
        return "compared with nothing"
    sqnr = statistics.get("sqnr_db")
    return "no error" if sqnr is None else f"SQNR {sqnr:.1f} dB"


def _describe_activation(variant: str, row: Mapping[str, Any]) -> str:
    statistics = row["statistics"]
    zeros = f"zeros {_percent(statistics['zeros_share'])}"
    if is_reference(variant, row):
        return zeros
    if variant not in QUANTIZED_VARIANTS:
        return f"{zeros}, {_sqnr(statistics)}"
    clipped = statistics.get("clipped_share")
    how = statistics.get("dtype", "float at this point")
    how = how if clipped is None else f"clipped {_percent(clipped)}"
    how += " (on purpose)" if "clips_on_purpose" in statistics else ""
    return f"{zeros}, {how}, {_sqnr(statistics)}"


def _describe_error(_: str, row: Mapping[str, Any]) -> str:
    statistics = row["statistics"]
    exact = 1 - sum(row["error_histogram"]["counts"]) / statistics["n_values"]
    if exact < 1e-4:  # within the rounding of counts
        return _sqnr(statistics)
    return f"{_sqnr(statistics)}, exact {_percent(exact)}"


def _describe_parameter(_: str, row: Mapping[str, Any]) -> str:
    statistics = row["statistics"]
    zeros = f"zeros {_percent(statistics['zeros_share'])}"
    if "dtype" not in statistics:
        return f"float, {zeros}"
    return f"{statistics['dtype']}, {zeros}, {_sqnr(statistics)}"
