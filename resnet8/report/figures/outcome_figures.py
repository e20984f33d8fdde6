"""Predictions of two models on the test images: confusion matrices, and changed images.

Shape letters: N images, H = W = 32 pixels, C = 3 channels, K classes.
"""

import textwrap
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from resnet8.compare.predictions import Flip
from resnet8.report.figures import canvas, palette
from resnet8.report.figures.layer_rows import shorten

FLIP_COLUMNS = 6
LONGEST_LABEL = 11  # characters of a class name where there is little room
Counts = NDArray[np.int64]  # (K, K) images by true class (rows) and predicted class


@canvas.styled()
def draw_confusion(
    baseline: Counts, variant: Counts, *, models: tuple[str, str], names: Sequence[str]
) -> canvas.Figure:
    """Draws two confusion matrices and their difference.

    Args:
        baseline: of the first model.
        variant: of the second model, on the same images.
        models: names of both.
        names: of the K classes.
    """
    size = max(3.1, 0.31 * len(names))
    room = canvas.names_width(names, longest=LONGEST_LABEL)
    margins = {"left": room + 0.2, "bottom": room + 0.2, "across": room + 0.35, "down": room + 0.6}
    figure, panels = canvas.new_figure(
        4,
        canvas.Layout((size, size), columns=2, **margins),
        title=f"Confusions of {models[0]} and {models[1]}",
    )
    ticks = [shorten(name, LONGEST_LABEL) for name in names]
    titles = (*models, f"{models[1]} minus {models[0]}")
    for axes, title in zip(panels[:3], titles, strict=True):
        axes.set_xticks(range(len(ticks)), labels=ticks, rotation=90)
        axes.set_yticks(range(len(ticks)), labels=ticks)
        axes.tick_params(length=0)
        axes.set(title=title, xlabel="predicted class", ylabel="true class")
    for axes, counts in zip(panels[:2], (baseline, variant), strict=True):
        shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        axes.imshow(shares, cmap=palette.COUNTS, vmin=0, vmax=1)
        _write_counts(axes, counts, form="d", white=shares > 0.5)
    difference = variant - baseline
    end = 2 * max(int(np.abs(difference).max()), 1)  # twice: no shade is too dark for black digits
    panels[2].imshow(difference, cmap=palette.DIVERGING, vmin=-end, vmax=end)
    _write_counts(panels[2], difference, form="+d", white=np.zeros_like(difference, bool))
    right = [
        f"{name}: {np.trace(counts):,} of {counts.sum():,} right"
        for name, counts in zip(models, (baseline, variant), strict=True)
    ]
    legend = (
        "Each cell counts test images; empty cells have none. The diagonal holds right answers.",
        "Blue: share of the true class.",
        "Difference: violet where the variant has more images than the baseline, orange where "
        "it has fewer.",
    )
    paragraphs = ["\n".join(right), *(textwrap.fill(sentence, 42) for sentence in legend)]
    panels[3].text(0, 1, "\n\n".join(paragraphs), va="top")
    panels[3].set_axis_off()
    return figure


def _write_counts(
    axes: canvas.Axes, counts: Counts, *, form: str, white: NDArray[np.bool_]
) -> None:
    """Writes all counts but zeros into their cells."""
    for (row, column), count in np.ndenumerate(counts):
        if count:
            color = "white" if white[row, column] else palette.BLACK
            text = canvas.typeset(format(int(count), form))
            axes.text(column, row, text, ha="center", va="center", fontsize=7, color=color)


@canvas.styled()
def draw_flips(
    images: NDArray[np.uint8],
    flips: Sequence[Flip],
    *,
    totals: tuple[int, int],
    models: tuple[str, str],
    names: Sequence[str],
) -> canvas.Figure:
    """Draws images whose top-1 class changed, with the predictions of both models.

    Args:
        images: (N, H, W, C) one for each flip.
        flips: those to draw.
        totals: numbers of all flips and of the images of the test set.
        models: names of the baseline and the variant.
        names: of the K classes.
    """
    count, n_images = totals
    columns = min(FLIP_COLUMNS, max(len(flips), 4))
    rows = max(-(-len(flips) // columns), 1)
    which = f"; the {len(flips)} that moved most" if len(flips) < count else ""
    caption = (
        f"Number and true class; before: {models[0]}, after: {models[1]}, each with its top-1 "
        "class and the probability that it gives it. A tick marks the true class. How far an image "
        "moved: half the sum of the absolute differences of all probabilities."
    )
    size = (1.6 * columns, 2.0 * rows if flips else 0.3)
    figure, (axes,) = canvas.new_figure(
        1,
        canvas.Layout(size, left=0.15, right=0.05, top=0.1, bottom=0.05),
        title=f"{models[1]}: {count:,} of {n_images:,} test images change class{which}",
        caption=caption if flips else "",
    )
    axes.set_axis_off()
    for i, (image, flip) in enumerate(zip(images, flips, strict=True)):
        row, column = divmod(i, columns)
        axes.imshow(image, extent=(column, column + 0.85, row + 0.65, row), aspect="auto")
        axes.text(column, row + 0.68, _describe_flip(flip, names), va="top", fontsize=canvas.SMALL)
    if not flips:
        axes.text(0, 0.5, f"Its top-1 class is that of {models[0]} for every image.")
    axes.set(xlim=(0, columns), ylim=(rows, 0))
    return figure


def _describe_flip(flip: Flip, names: Sequence[str]) -> str:
    short = [shorten(name, LONGEST_LABEL) for name in names]

    def top(k: int, probability: float) -> str:
        return f"{short[k]} {100 * probability:.0f}%{' ✓' if k == flip.label else ''}"

    before = top(flip.baseline_class, flip.baseline_p[flip.baseline_class])
    after = top(flip.variant_class, flip.variant_p[flip.variant_class])
    return f"#{flip.image}: {short[flip.label]}\nbefore: {before}\nafter: {after}"
