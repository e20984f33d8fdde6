"""Pictures of what two models said of the test images: confusions, and classes that flipped.

Shape letters: N images, H = W = 32 pixels, C = 3 channels, K classes.
"""

import textwrap
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from resnet8.compare.predictions import Flip
from resnet8.report.figures import palette
from resnet8.report.figures.canvas import (
    SMALL,
    Axes,
    Figure,
    Layout,
    names_width,
    new_figure,
    shortened,
    styled,
    typeset,
)

SHOWN_FLIPS = 24
FLIP_COLUMNS = 6
LONGEST_LABEL = 11  # characters of a class name where there is little room


@styled()
def draw_confusion(
    baseline: NDArray[np.int64],
    variant: NDArray[np.int64],
    *,
    names: tuple[str, str],
    label_names: Sequence[str],
) -> Figure:
    """Draws two confusion matrices and their difference.

    Args:
        baseline: (K, K) images by true class (rows) and predicted class.
        variant: (K, K) likewise, of the same images.
        names: of the baseline and the variant.
        label_names: K names.
    """
    size = max(3.1, 0.31 * len(label_names))
    room = names_width(label_names, longest=LONGEST_LABEL)
    figure, panels = new_figure(
        4,
        Layout(
            (size, size),
            columns=2,
            left=room + 0.2,
            bottom=room + 0.2,
            across=room + 0.35,
            down=room + 0.6,
        ),
        title=f"Confusions of {names[0]} and {names[1]}",
    )
    titles = (*names, f"{names[1]} minus {names[0]}")
    ticks = [shortened(name, longest=LONGEST_LABEL) for name in label_names]
    for axes, title in zip(panels, titles, strict=False):
        axes.set_xticks(range(len(ticks)), labels=ticks, rotation=90)
        axes.set_yticks(range(len(ticks)), labels=ticks)
        axes.tick_params(length=0)
        axes.set(title=title, xlabel="predicted class", ylabel="true class")
    for axes, counts in zip(panels, (baseline, variant), strict=False):
        shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        axes.imshow(shares, cmap=palette.COUNTS, vmin=0, vmax=1)
        _write_counts(axes, counts, white=shares > 0.5)
    difference = variant - baseline
    ends = 2 * max(int(np.abs(difference).max()), 1)  # no shade is too dark for black digits
    panels[2].imshow(difference, cmap=palette.DIVERGING, vmin=-ends, vmax=ends)
    _write_counts(panels[2], difference, form="+d")
    panels[3].text(0, 1, _describe_confusions(baseline, variant, names=names), va="top")
    panels[3].set_axis_off()
    return figure


def _write_counts(
    axes: Axes,
    counts: NDArray[np.int64],
    *,
    form: str = "d",
    white: NDArray[np.bool_] | None = None,
) -> None:
    """Writes the counts other than zero into their cells."""
    for (row, column), count in np.ndenumerate(counts):
        if count:
            color = "white" if white is not None and white[row, column] else palette.BLACK
            text = typeset(format(int(count), form))
            axes.text(column, row, text, ha="center", va="center", fontsize=7, color=color)


def _describe_confusions(
    baseline: NDArray[np.int64], variant: NDArray[np.int64], *, names: tuple[str, str]
) -> str:
    right = "\n".join(
        f"{name}: {np.trace(counts):,} of {counts.sum():,} right"
        for name, counts in zip(names, (baseline, variant), strict=True)
    )
    how = (
        "Each cell counts test images; empty cells have none. The diagonal holds right answers.",
        "Blue: share of the true class.",
        "Difference: violet where the variant has more images than the baseline, orange where "
        "it has fewer.",
    )
    return "\n\n".join([right, *(textwrap.fill(sentence, 42) for sentence in how)])


@styled()
def draw_flips(
    images: NDArray[np.uint8],
    flips: Sequence[Flip],
    *,
    names: tuple[str, str],
    label_names: Sequence[str],
) -> Figure:
    """Draws the images whose top-1 class changed, with what both models say of them.

    Args:
        images: (N, H, W, C) the whole test set.
        flips: of which the first `SHOWN_FLIPS` are drawn.
        names: of the baseline and the variant.
        label_names: K names.
    """
    shown = flips[:SHOWN_FLIPS]
    columns = min(FLIP_COLUMNS, max(len(shown), 4))
    rows = max(-(-len(shown) // columns), 1)
    which = f"; the {len(shown)} that moved most" if len(shown) < len(flips) else ""
    caption = (
        f"Number and true class; before: {names[0]}, after: {names[1]}, each with its top-1 class "
        "and the probability that it gives it. A tick marks the true class. How far an image "
        "moved: half the sum of the absolute differences of all probabilities."
    )
    figure, (axes,) = new_figure(
        1,
        Layout(
            (1.6 * columns, 2.0 * rows if shown else 0.3),
            left=0.15,
            right=0.05,
            top=0.1,
            bottom=0.05,
        ),
        title=f"{names[1]}: {len(flips):,} of {len(images):,} test images change class{which}",
        caption=caption if shown else "",
    )
    axes.set_axis_off()
    for i, flip in enumerate(shown):
        row, column = divmod(i, columns)
        box = (column, column + 0.85, row + 0.65, row)
        axes.imshow(images[flip.image], extent=box, aspect="auto")
        axes.text(column, row + 0.68, _describe_flip(flip, label_names), va="top", fontsize=SMALL)
    if not shown:
        axes.text(0, 0.5, f"Its top-1 class is that of {names[0]} for every image.")
    axes.set(xlim=(0, columns), ylim=(rows, 0))
    return figure


def _describe_flip(flip: Flip, label_names: Sequence[str]) -> str:
    def said(found: int, probability: float) -> str:
        name = shortened(label_names[found], longest=LONGEST_LABEL)
        return f"{name} {100 * probability:.0f}%{' ✓' if found == flip.label else ''}"

    label = shortened(label_names[flip.label], longest=LONGEST_LABEL)
    before = said(flip.baseline_class, float(flip.baseline_p[flip.baseline_class]))
    after = said(flip.variant_class, float(flip.variant_p[flip.variant_class]))
    return f"#{flip.image}: {label}\nbefore: {before}\nafter: {after}"
