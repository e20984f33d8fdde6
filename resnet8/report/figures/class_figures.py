"""Pictures of accuracy class by class, with intervals.

Shape letters: K classes.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from resnet8.report.figures import palette
from resnet8.report.figures.canvas import (
    INK,
    Axes,
    Figure,
    Layout,
    draw_legend,
    legend_height,
    name_rows,
    names_width,
    new_figure,
    rule_rows,
    styled,
)

EVERYTHING = "all classes"


class AccuracyInterval(NamedTuple):
    """A number with the ends of its 95% interval."""

    value: float
    low: float
    high: float


@styled()
def draw_class_accuracy(
    accuracies: Mapping[str, Mapping[str, AccuracyInterval]], *, label_names: Sequence[str]
) -> Figure:
    """Draws the accuracy of variants on each class, with 95% intervals.

    Args:
        accuracies: in percent by variant and class; a class without images has none.
        label_names: K names.
    """
    figure, axes = _draw_intervals(
        accuracies,
        label_names,
        title="Accuracy on each class",
        caption="On the test images of each class, with Wilson's 95% interval.",
    )
    axes.set_xlabel("top-1 accuracy (%)")
    return figure


@styled()
def draw_class_delta(
    comparison: Mapping[str, Any], *, variants: Sequence[str], label_names: Sequence[str]
) -> Figure:
    """Draws how much the accuracy on each class, and on all, differs from the baseline's.

    Args:
        comparison: what metrics/comparison.json holds.
        variants: in the order of the legend, at least one.
        label_names: K names.
    """
    intervals = {}
    for variant in variants:
        row = comparison["variants"][variant]
        ends = row["per_class_ci95_pp"]
        overall = AccuracyInterval(
            row["accuracy_delta_pp"], row["ci95_low_pp"], row["ci95_high_pp"]
        )
        intervals[variant] = {EVERYTHING: overall} | {
            name: AccuracyInterval(delta, *ends[name])
            for name, delta in row["per_class_delta_pp"].items()
        }
    figure, axes = _draw_intervals(
        intervals,
        [EVERYTHING, *label_names],
        title=f"Accuracy on each class: difference from {comparison['baseline']}",
        caption="Variant minus baseline on the test images, with Newcombe's 95% interval for "
        "paired proportions. A filled marker: the interval leaves out zero.",
        hollow_around_zero=True,
    )
    axes.axvline(0, color=palette.BLACK, linewidth=1.0)
    axes.set_xlabel("difference in top-1 accuracy (percentage points)")
    return figure


def _draw_intervals(
    intervals: Mapping[str, Mapping[str, AccuracyInterval]],
    names: Sequence[str],
    *,
    title: str,
    caption: str,
    hollow_around_zero: bool = False,
) -> tuple[Figure, Axes]:
    """Draws intervals by variant and name, a row for each name and a line for each variant."""
    slots = len(intervals) + 1
    figure, (axes,) = new_figure(
        1,
        Layout(
            (5.5, len(names) * (0.1 + 0.1 * slots)),
            left=names_width(names),
            top=0.1 + legend_height(len(intervals)),
        ),
        title=title,
        caption=caption,
    )
    for k, (variant, found) in enumerate(intervals.items(), start=1):
        present = [(y, found[name]) for y, name in enumerate(names) if name in found]
        y = np.array([row for row, _ in present]) - 0.5 + k / slots
        value, low, high = np.array([interval for _, interval in present]).reshape(-1, 3).T
        color, marker = palette.VARIANTS[variant], palette.MARKERS[variant]
        axes.hlines(y, low, high, color, linewidth=1.2)
        axes.scatter(value, y, 24, c=color, marker=marker, label=variant, zorder=3)
        if hollow_around_zero:
            hollow = (low <= 0) & (high >= 0)
            axes.scatter(value[hollow], y[hollow], 6, c="white", marker=marker, zorder=4)
    name_rows(axes, names, room=0.5)
    rule_rows(axes, len(names))
    seen = {name for found in intervals.values() for name in found}
    across = axes.get_yaxis_transform()  # the panel's width along x, rows along y
    for row, name in enumerate(names):
        if name not in seen:
            axes.text(0.5, row, "no images", transform=across, va="center", ha="center", color=INK)
    axes.grid(axis="x")
    draw_legend(axes)
    return figure, axes
