"""A layer's output for one image, float and quantized side by side.

Shape letters: C channels, H and W pixels.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from resnet8.core.variants import Variant
from resnet8.report.figures import canvas, palette
from resnet8.report.figures.layer_rows import as_channels, channel_grid, variants_to_draw

SIDE = 2.5  # height of a picture, in inches
STEP = 1.06  # from one picture to the next, in heights


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
    errors = {}
    for name, values in maps.items():
        original = reference or name
        if reference is None and name in set(Variant):
            original = Variant(name).original
        if original != name and original in outputs:
            difference = values - as_channels(outputs[original])
            errors[name] = (f"{name} {canvas.MINUS} {original}", difference)
    first = next(iter(maps.values()))
    figure, panels = canvas.new_figure(
        2 if errors else 1,
        canvas.Layout(
            (STEP * SIDE * len(maps), SIDE), left=0.15, right=0.95, bottom=0.05, down=0.4
        ),
        title=f"{layer}: {len(first)} {'channels' if first[0].size > 1 else 'values'} for {image}",
        caption="In the float model's units; all channels of a row on one scale.",
    )
    ends = float(first.min()), float(first.max())
    _draw_row(panels[0], [*maps.items()], label="value", colors=palette.SEQUENTIAL, ends=ends)
    if errors:
        reach = max(float(np.abs(error).max()) for _, error in errors.values())
        blank = "", np.full_like(first, np.nan)
        below = [errors.get(name, blank) for name in maps]
        ends = -reach, reach
        _draw_row(panels[1], below, label="difference", colors=palette.DIVERGING, ends=ends)
    return figure


def _draw_row(
    axes: canvas.Axes,
    maps: Sequence[tuple[str, NDArray[np.float32]]],
    *,
    label: str,
    colors: str,
    ends: tuple[float, float],
) -> None:
    """Draws titles and (C, H, W) side by side as one picture, which is fast, and their scale."""
    low, high = ends if ends[0] < ends[1] else (ends[0] - 1, ends[1] + 1)
    columns = math.ceil(math.sqrt(len(maps[0][1])))
    grids = [channel_grid(channels, columns=columns, gap=np.nan) for _, channels in maps]
    height, width = grids[0].shape
    step = math.ceil(STEP * max(height, width))  # titles have room beside each other
    pixels = np.full((height, step * len(grids)), np.nan, np.float32)
    for i, ((title, _), grid) in enumerate(zip(maps, grids, strict=True)):
        pixels[:, i * step : i * step + width] = grid
        axes.text(i * step - 0.5, -0.02 * step - 0.5, title, weight="bold")
    drawn = axes.imshow(pixels, cmap=colors, vmin=low, vmax=high)
    axes.set_anchor("NW")
    axes.set_axis_off()
    strip = axes.inset_axes((1, 0, 0.05 / len(maps), 1))
    axes.figure.colorbar(drawn, cax=strip, ticks=[low, high], format="{x:.4g}")
    strip.set_title(label, fontsize=canvas.SMALL, fontweight="normal")
