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

LAYOUT = canvas.Layout((2.5, 2.5), left=0.15, right=0.95, bottom=0.05, across=0.15, down=0.35)


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
    errors, originals = {}, {}
    for name, values in maps.items():
        original = reference or (Variant(name).original if name in set(Variant) else name)
        if original != name and original in outputs:
            originals[name] = original
            errors[f"{name} {canvas.MINUS} {original}"] = values - as_channels(outputs[original])
    first = next(iter(maps.values()))
    kind = "channels" if first[0].size > 1 else "values"
    figure, panels = canvas.new_figure(
        len(maps) * (2 if errors else 1),
        LAYOUT._replace(columns=len(maps)),
        title=f"{layer}: {len(first)} {kind} for {image}",
        caption="In the float model's units; all channels of a row on one scale.",
    )
    for axes in panels:
        axes.set_axis_off()
    _draw_row(panels[: len(maps)], maps, "value", palette.SEQUENTIAL, first.min(), first.max())
    if errors:
        below = [x for x, name in zip(panels[len(maps) :], maps, strict=True) if name in originals]
        reach = max(np.abs(error).max() for error in errors.values())
        _draw_row(below, errors, "difference", palette.DIVERGING, -reach, reach)
    return figure


def _draw_row(
    panels: Sequence[canvas.Axes],
    outputs: Mapping[str, NDArray[np.float32]],
    label: str,
    colors: str,
    *ends: np.float32,
) -> None:
    """Draws (C, H, W) of each title into a panel, and their scale beside the last one."""
    low, high = map(float, ends)
    if low == high:
        low, high = low - 1, high + 1
    for axes, (title, channels) in zip(panels, outputs.items(), strict=True):
        grid = channel_grid(channels, columns=math.ceil(math.sqrt(len(channels))), gap=np.nan)
        drawn = axes.imshow(grid, cmap=colors, vmin=low, vmax=high)
        axes.set_title(title)
        axes.set_anchor("NW")
    strip = panels[-1].inset_axes((1.04, 0, 0.05, 1))
    panels[-1].figure.colorbar(drawn, cax=strip, ticks=[low, high], format="{x:.4g}")
    strip.set_title(label, fontsize=canvas.SMALL, fontweight="normal")
