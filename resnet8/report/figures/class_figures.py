"""Accuracy by class, with intervals.

Shape letters: K classes.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from resnet8.compare.plot_data import ClassAccuracy
from resnet8.report.figures import canvas, palette

Interval = tuple[float, float, float]  # value, low and high end


@canvas.styled()
def draw_class_accuracy(
    accuracies: Sequence[ClassAccuracy], *, names: Sequence[str]
) -> canvas.Figure:
    """Draws the accuracy of variants on each of K classes, with 95% intervals."""
    by_variant: dict[str, dict[str, Interval]] = {}
    for variant, name, accuracy, low, high in accuracies:
        by_variant.setdefault(variant, {})[name] = (accuracy, low, high)
    figure, axes = _draw_intervals(
        by_variant,
        names,
        title="Accuracy on each class",
        caption="On the test images of each class, with Wilson's 95% interval.",
    )
    axes.set_xlabel("top-1 accuracy (%)")
    return figure


@canvas.styled()
def draw_class_delta(
    comparison: Mapping[str, Any], *, variants: Sequence[str], names: Sequence[str]
) -> canvas.Figure:
    """Draws the difference in accuracy from the baseline, on all and on each of K classes.

    Args:
        comparison: metrics/comparison.json.
        variants: one or more, in the order of the legend.
        names: of the classes.
    """
    rows = {variant: comparison["variants"][variant] for variant in variants}
    intervals = {
        variant: {
            "all classes": (row["accuracy_delta_pp"], row["ci95_low_pp"], row["ci95_high_pp"]),
            **{
                name: (delta, *row["per_class_ci95_pp"][name])
                for name, delta in row["per_class_delta_pp"].items()
            },
        }
        for variant, row in rows.items()
    }
    figure, axes = _draw_intervals(
        intervals,
        ["all classes", *names],
        title=f"Accuracy on each class: difference from {comparison['baseline']}",
        caption="Variant minus baseline on the test images, with Newcombe's 95% interval for "
        "paired proportions. A filled marker: the interval leaves out zero.",
        hollow_around_zero=True,
    )
    axes.axvline(0, color=palette.BLACK, linewidth=1.0)
    axes.set_xlabel("difference in top-1 accuracy (percentage points)")
    return figure


def _draw_intervals(
    intervals: Mapping[str, Mapping[str, Interval]],
    names: Sequence[str],
    *,
    title: str,
    caption: str,
    hollow_around_zero: bool = False,
) -> tuple[canvas.Figure, canvas.Axes]:
    """Draws a row for each name, in it an interval for each variant."""
    slots = len(intervals) + 1
    size = 5.5, len(names) * (0.1 + 0.1 * slots)
    top = 0.1 + canvas.legend_height(len(intervals))
    figure, (axes,) = canvas.new_figure(
        1,
        canvas.Layout(size, left=canvas.names_width(names), top=top),
        title=title,
        caption=caption,
    )
    for k, (variant, by_name) in enumerate(intervals.items(), start=1):
        rows = [row for row, name in enumerate(names) if name in by_name]
        y = np.array(rows) - 0.5 + k / slots
        value, low, high = np.array([by_name[names[row]] for row in rows]).reshape(-1, 3).T
        style = palette.marker_style(variant)
        axes.hlines(y, low, high, style["color"], linewidth=1.2)
        axes.scatter(value, y, 24, **style, label=variant, zorder=3)
        if hollow_around_zero:
            hollow = (low <= 0) & (high >= 0)
            white = style | {"color": "white"}
            axes.scatter(value[hollow], y[hollow], 6, **white, zorder=4)
    canvas.name_rows(axes, names, margin=0.5)
    canvas.rule_rows(axes, len(names))
    present = set().union(*intervals.values())
    across = axes.get_yaxis_transform()  # the panel's width along x, rows along y
    for row, name in enumerate(names):
        if name not in present:
            axes.text(
                0.5, row, "no images", transform=across, va="center", ha="center", color=canvas.INK
            )
    axes.grid(axis="x")
    canvas.draw_legend(axes)
    return figure, axes
