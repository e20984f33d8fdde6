"""A layer's output for one image, float and quantized side by side.

Shape letters: C channels, H and W pixels.
"""

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from resnet8.core.variants import Variant
from resnet8.report.figures import canvas, palette
from resnet8.report.figures.layer_rows import as_channels, channel_grid, variants_to_draw

PANEL = (2.5, 2.5)


@canvas.styled()
def draw_feature_maps(
    layer: str,
    outputs: Mapping[str, NDArray[np.float32]],
    *,
    image: str,
    reference: str | None = None,
) -> canvas.Figure:
    """Draws all channels of a layer: outputs on top, errors of quantized variants below them.

    Args:
        layer: its name.
        outputs: by variant, (C, H, W) or (C,).
        image: name of the image, such as `test image 0`.
        reference: the model that others are compared with; None for the float variant that each
            quantized variant was made from.
    """
    maps = {name: as_channels(outputs[name]) for name in variants_to_draw(outputs)}
    originals = {
        name: reference or (Variant(name).original if name in set(Variant) else name)
        for name in maps
    }
    errors = {
        name: values - as_channels(outputs[originals[name]])
        for name, values in maps.items()
        if name != originals[name] and originals[name] in outputs
    }
    first = next(iter(maps.values()))
    ends = float(first.min()), float(first.max())
    reach = max((float(np.abs(error).max()) for error in errors.values()), default=0.0)
    columns = len(maps) if errors else len(maps) + 1
    kind = "channels" if first[0].size > 1 else "values"
    figure, panels = canvas.new_figure(
        2 * columns if errors else columns,
        canvas.Layout(PANEL, columns, left=0.15, right=0.15, bottom=0.05, across=0.15, down=0.35),
        title=f"{layer}: {len(first)} {kind} for {image}",
        caption="In the float model's units; all channels of a row on one scale.",
    )
    for axes in panels:
        axes.set_axis_off()
    for column, (name, values) in enumerate(maps.items()):
        _draw_grid(panels[column], values, title=name, colors=palette.SEQUENTIAL, ends=ends)
        if name in errors:
            title = f"{name} {canvas.MINUS} {originals[name]}"
            below = panels[columns + column]
            colors, both = palette.DIVERGING, (-reach, reach)
            _draw_grid(below, errors[name], title=title, colors=colors, ends=both)
    scales = panels[len(maps)]  # beside the only row, or below the float variant
    _draw_scale(scales, "value", ends, colors=palette.SEQUENTIAL, y=0.75)
    if errors:
        _draw_scale(scales, "difference", (-reach, reach), colors=palette.DIVERGING, y=0.35)
    return figure


def _draw_grid(
    axes: canvas.Axes,
    maps: NDArray[np.float32],
    *,
    title: str,
    colors: str,
    ends: tuple[float, float],
) -> None:
    low, high = ends if ends[1] > ends[0] else (ends[0] - 1, ends[1] + 1)
    grid = channel_grid(maps, columns=math.ceil(math.sqrt(len(maps))), gap=np.nan)
    axes.imshow(grid, cmap=colors, vmin=low, vmax=high)
    axes.set_title(title)
    axes.set_anchor("NW")


def _draw_scale(
    axes: canvas.Axes, name: str, ends: tuple[float, float], *, colors: str, y: float
) -> None:
    """Draws a strip of all colours at height `y`, with the values of both ends."""
    strip = np.linspace(0.0, 1.0, 128)[None]
    axes.imshow(strip, cmap=colors, extent=(0.05, 0.95, y, y + 0.08), aspect="auto")
    axes.text(0.05, y + 0.1, name, weight="bold")
    for x, end, side in ((0.05, ends[0], "left"), (0.95, ends[1], "right")):
        axes.text(
            x,
            y - 0.02,
            f"{end:.4g}".replace("-", canvas.MINUS),
            ha=side,
            va="top",
            fontsize=canvas.SMALL,
        )
    axes.set(xlim=(0, 1), ylim=(0, 1))
