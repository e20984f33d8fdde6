"""Statistics of a layer's inputs as rows that its weights are multiplied with (im2col).

Shape letters: N images, C channels, H x W pixels, G groups, O outputs, I inputs of an output,
P positions of an output in all images.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from resnet8.quantize.layers import Layer

Values = NDArray[np.floating]


class Inputs(NamedTuple):
    """Statistics of a layer's 8-bit inputs, with all preceding layers quantized.

    products: (G, I, I) mean product of each pair of inputs, in squared steps of the input's scale.
    mean: (G, I) mean input, in steps of the input's scale.
    float_mean: (G, I) mean input in the float model.
    """

    products: Values
    mean: Values
    float_mean: Values


def observe_inputs(
    layers: Sequence[Layer], batches: Iterable[NDArray[np.float64]], float_mean: NDArray[np.float64]
) -> dict[str, Inputs]:
    """Returns the statistics of layers that read the same tensor, by layer.

    `batches` hold 8-bit inputs in steps of their scale: whole numbers, whose sums are exact, and so
    independent of the order in which a CPU adds. `float_mean` is the mean over the images.
    """
    totals: dict[str, list[Any]] = {layer.name: [0.0, 0.0, 0] for layer in layers}
    for steps in batches:
        for layer in layers:
            rows = find_patches(layer, steps)
            sums = rows.swapaxes(1, 2) @ rows, rows.sum(axis=1), rows.shape[1]
            totals[layer.name] = [x + y for x, y in zip(totals[layer.name], sums, strict=True)]
    inputs = {}
    for layer in layers:
        products, total, count = totals[layer.name]
        means = find_patches(layer, float_mean[np.newaxis]).mean(axis=1)
        inputs[layer.name] = Inputs(products / count, total / count, means)
    return inputs


def find_patches(layer: Layer, values: Values) -> Values:
    """Returns the rows (G, P, I) that a layer's flattened weights are multiplied with.

    `values` are (N, C, H, W) or (..., I). With weights (G, O / G, I), `patches[g] @ weights[g].T`
    is the output without the bias.
    """
    if layer.kind != "Conv":
        return values.reshape(1, -1, values.shape[-1])
    kernel = layer.weight.shape[2:]
    strides = layer.attributes.get("strides", [1, 1])
    dilations = layer.attributes.get("dilations", [1, 1])
    spans = [dilation * (size - 1) + 1 for size, dilation in zip(kernel, dilations, strict=True)]
    sides = find_padding(layer.attributes, values.shape[2:], spans=spans, strides=strides)
    # Channels last in memory: copying the windows takes as long as multiplying them.
    padded = np.pad(values.transpose(0, 2, 3, 1), [(0, 0), *sides, (0, 0)])
    n, height, width, channels = padded.shape
    grouped = padded.reshape(n, height, width, layer.groups, channels // layer.groups)
    grouped = grouped.transpose(0, 3, 4, 1, 2)  # (N, G, C / G, H, W)
    windows = sliding_window_view(grouped, tuple(spans), axis=(3, 4))  # (N, G, C / G, H', W', h, w)
    windows = windows[..., :: strides[0], :: strides[1], :: dilations[0], :: dilations[1]]
    rows = windows.transpose(1, 0, 3, 4, 2, 5, 6)
    return rows.reshape(layer.groups, -1, math.prod(rows.shape[4:]))


def find_padding(
    attributes: Mapping[str, Any],
    size: Sequence[int],
    *,
    spans: Sequence[int],
    strides: Sequence[int],
) -> list[tuple[int, int]]:
    """Returns the padding before and after an image of H x W for a convolution or pool.

    `spans` are the pixels that a window covers in each dimension.

    Source: https://onnx.ai/onnx/operators/onnx__Conv.html, attributes auto_pad and pads.
    """
    mode = attributes.get("auto_pad", b"NOTSET")
    if mode in (b"SAME_UPPER", b"SAME_LOWER"):
        pairs = []
        for pixels, span, stride in zip(size, spans, strides, strict=True):
            n_windows = math.ceil(pixels / stride)
            total = max((n_windows - 1) * stride + span - pixels, 0)
            small, large = total // 2, total - total // 2
            pairs.append((small, large) if mode == b"SAME_UPPER" else (large, small))
        return pairs
    top, left, bottom, right = attributes.get("pads", [0] * 4) if mode == b"NOTSET" else [0] * 4
    return [(top, bottom), (left, right)]
