"""Pictures of what a layer computes from one image, float and quantized side by side.

Shape letters: C channels, H and W pixels.
"""

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from resnet8.core.variants import Variant
from resnet8.report.figures import palette
from resnet8.report.figures.canvas import (
    MINUS,
    SMALL,
    Axes,
    Figure,
    Layout,
    new_figure,
    styled,
    typeset,
)
from resnet8.report.figures.layer_rows import shown_variants

PANEL = (2.5, 2.5)
GAP = 1  # pixels between channels


def feature_map_grid(maps: NDArray[np.float32]) -> NDArray[np.float32]:
    """Lays channels out in a grid, row by row, with about as many columns as rows.

    Args:
        maps: (C, H, W).

    Returns:
        (rows, columns), with NaN between channels and where there are none left. Channels of
        one value each stand without a gap.
    """
    channels, height, width = maps.shape
    gap = GAP if height * width > 1 else 0
    columns = math.ceil(math.sqrt(channels))
    room = ((0, -channels % columns), (0, gap), (0, gap))
    padded = np.pad(maps.astype(np.float32), room, constant_values=np.nan)
    rows = padded.reshape(-1, columns, height + gap, width + gap)
    pixels = rows.transpose(0, 2, 1, 3).reshape(-1, columns * (width + gap))
    return pixels[: len(pixels) - gap, : pixels.shape[1] - gap]


def as_maps(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """A layer's output for one image as (C, H, W), whatever axes it has."""
    if values.ndim == 3:
        return values
    return values.reshape(1, *values.shape) if values.ndim == 2 else values.reshape(-1, 1, 1)


@styled()
def draw_feature_maps(
    layer: str,
    outputs: Mapping[str, NDArray[np.float32]],
    *,
    image: str,
    reference: str | None = None,
) -> Figure:
    """Draws all channels of a layer for one image, and the error of each quantized variant.

    Args:
        layer: its name.
        outputs: by variant, (C, H, W) or (C,).
        image: which one it is, such as `test image 0`.
        reference: the model that others are compared with, None for the one that each quantized
            variant was made from.

    Returns:
        On top the output of a float variant and of each quantized one, below them how much the
        quantized ones differ from the float model that they were made from.
    """
    shown = {name: as_maps(outputs[name]) for name in shown_variants(outputs)}
    pipeline = set(Variant)
    originals = {
        name: reference or (Variant(name).original if name in pipeline else name) for name in shown
    }
    errors = {
        name: maps - as_maps(outputs[originals[name]])
        for name, maps in shown.items()
        if name != originals[name] and originals[name] in outputs
    }
    first = next(iter(shown.values()))
    ends = float(first.min()), float(first.max())
    reach = max((float(np.abs(error).max()) for error in errors.values()), default=0.0)
    kind = "channels" if first[0].size > 1 else "values"
    columns = len(shown) if errors else len(shown) + 1
    figure, panels = new_figure(
        2 * columns if errors else columns,
        Layout(PANEL, columns, left=0.15, right=0.15, bottom=0.05, across=0.15, down=0.35),
        title=f"{layer}: {len(first)} {kind} for {image}",
        caption="In the float model's units; all channels of a row on one scale.",
    )
    for axes in panels:
        axes.set_axis_off()
    for column, (name, maps) in enumerate(shown.items()):
        _draw_grid(panels[column], maps, colors=palette.SEQUENTIAL, ends=ends)
        panels[column].set_title(name)
        if name in errors:
            below = panels[columns + column]
            _draw_grid(below, errors[name], colors=palette.DIVERGING, ends=(-reach, reach))
            below.set_title(f"{name} {MINUS} {originals[name]}")
    scales = panels[len(shown)]  # beside the only row, or where the float model has no error
    _draw_scale(scales, "value", ends, colors=palette.SEQUENTIAL, y=0.75)
    if errors:
        _draw_scale(scales, "difference", (-reach, reach), colors=palette.DIVERGING, y=0.35)
    return figure


def _draw_grid(
    axes: Axes, maps: NDArray[np.float32], *, colors: str, ends: tuple[float, float]
) -> None:
    low, high = ends if ends[1] > ends[0] else (ends[0] - 1, ends[1] + 1)
    axes.imshow(feature_map_grid(maps), cmap=colors, vmin=low, vmax=high)
    axes.set_anchor("NW")


def _draw_scale(axes: Axes, name: str, ends: tuple[float, float], *, colors: str, y: float) -> None:
    """Draws a strip of all colours at a height, with the numbers of the first and the last."""
    strip = np.linspace(0.0, 1.0, 128)[None]
    axes.imshow(strip, cmap=colors, extent=(0.05, 0.95, y, y + 0.08), aspect="auto")
    axes.text(0.05, y + 0.1, name, weight="bold")
    for x, end, side in ((0.05, ends[0], "left"), (0.95, ends[1], "right")):
        axes.text(x, y - 0.02, typeset(f"{end:.4g}"), ha=side, va="top", fontsize=SMALL)
    axes.set(xlim=(0, 1), ylim=(0, 1))
