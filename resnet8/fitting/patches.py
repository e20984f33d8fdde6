"""What a layer multiplies with its weights.

Shape letters: N images, C channels, H x W pixels, G groups, I numbers that an output is
computed from, P places of an output in all images.
"""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from resnet8.fitting.layers import Layer

Values = NDArray[np.floating]


def find_patches(layer: Layer, values: Values) -> Values:
    """The rows that a layer's flattened weights are multiplied with.

    Args:
        layer: a convolution over two dimensions, or a dense layer.
        values: its input, (N, C, H, W) or (..., I).

    Returns:
        (G, P, I), so that `patches[g] @ weight[g].T` with weights (G, O / G, I) are the outputs
        without bias.
    """
    if layer.kind != "Conv":
        return values.reshape(1, -1, values.shape[-1])
    kernel = layer.weight.shape[2:]
    strides = layer.attributes.get("strides", [1, 1])
    dilations = layer.attributes.get("dilations", [1, 1])
    spans = [dilation * (size - 1) + 1 for size, dilation in zip(kernel, dilations, strict=True)]
    padded = np.pad(values, [(0, 0), (0, 0), *_padding(layer, values.shape[2:], spans, strides)])
    windows = sliding_window_view(padded, tuple(spans), axis=(2, 3))  # (N, C, H', W', spans)
    windows = windows[:, :, :: strides[0], :: strides[1], :: dilations[0], :: dilations[1]]
    n, channels, height, width = windows.shape[:4]
    grouped = windows.reshape(n, layer.groups, channels // layer.groups, *windows.shape[2:])
    rows = grouped.transpose(1, 0, 3, 4, 2, 5, 6)  # (G, N, H', W', C / G, h, w)
    return rows.reshape(layer.groups, n * height * width, -1)


def _padding(
    layer: Layer, size: tuple[int, ...], spans: list[int], strides: list[int]
) -> list[tuple[int, int]]:
    """Zeros before and after, by dimension.

    Source: https://onnx.ai/onnx/operators/onnx__Conv.html, attributes auto_pad and pads.
    """
    mode = layer.attributes.get("auto_pad", b"NOTSET")
    if mode in (b"SAME_UPPER", b"SAME_LOWER"):
        pairs = []
        for pixels, span, stride in zip(size, spans, strides, strict=True):
            total = max((-(-pixels // stride) - 1) * stride + span - pixels, 0)
            small, large = total // 2, total - total // 2
            pairs.append((small, large) if mode == b"SAME_UPPER" else (large, small))
        return pairs
    pads = layer.attributes.get("pads", [0, 0, 0, 0]) if mode == b"NOTSET" else [0, 0, 0, 0]
    return [(pads[0], pads[2]), (pads[1], pads[3])]
