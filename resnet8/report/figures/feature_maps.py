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
    reach = max((float(np.abs(error).max()) for error in errors.values()), default=0.0)
    scales = panels[len(maps)]  # beside the only row, or below the float variant
    for at, label, values, colors, ends in (
        (0, "value", maps, palette.SEQUENTIAL, (float(first.min()), float(first.max()))),
        (columns, "difference", errors, palette.DIVERGING, (-reach, reach)),
    ):
        low, high = ends if ends[1] > ends[0] else (ends[0] - 1, ends[1] + 1)
        for column, name in enumerate(maps):
            if name not in values:
                continue
            grid = channel_grid(values[name], columns=math.ceil(math.sqrt(len(first))), gap=np.nan)
            axes = panels[at + column]
            drawn = axes.imshow(grid, cmap=colors, vmin=low, vmax=high)
            axes.set_title(f"{name} {canvas.MINUS} {originals[name]}" if at else name)
            axes.set_anchor("NW")
        if values:
            strip = scales.inset_axes((0.1, 0.35 if at else 0.75, 0.8, 0.08))
            figure.colorbar(
                drawn, cax=strip, orientation="horizontal", ticks=[low, high], format="{x:.4g}"
            )
            strip.set_title(label)
    return figure
