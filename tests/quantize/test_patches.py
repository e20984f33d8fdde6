"""Patches times weights are what ONNX Runtime computes; statistics are those of all patches."""

from typing import Any

import numpy as np
import pytest

from resnet8.quantize.layers import read_layers
from resnet8.quantize.patches import find_patches, observe_inputs
from tests.quantize import graphs

# Of the largest output: float32 sums in another order.
RTOL_SUMS = 1e-5
LAYERS: dict[str, tuple[tuple[int, ...], dict[str, Any]]] = {
    "plain": ((4, 3, 3, 3), {}),
    "one by one": ((4, 3, 1, 1), {}),
    "kernel of unlike sides": ((4, 3, 1, 3), {}),
    "padding": ((4, 3, 3, 3), {"pads": [1, 1, 1, 1]}),
    "unlike padding": ((4, 3, 3, 3), {"pads": [0, 2, 1, 3]}),
    "stride": ((4, 3, 3, 3), {"strides": [2, 2]}),
    "unlike strides": ((4, 3, 3, 3), {"strides": [1, 3], "pads": [0, 1, 0, 0]}),
    "stride with padding after": ((4, 3, 3, 3), {"strides": [2, 2], "pads": [0, 0, 1, 1]}),
    "dilation": ((4, 3, 3, 3), {"dilations": [2, 2]}),
    "unlike dilations with strides": ((4, 3, 3, 2), {"dilations": [1, 3], "strides": [2, 2]}),
    "two groups": ((4, 3, 3, 3), {"group": 2}),
    "depthwise": ((6, 1, 3, 3), {"group": 6, "pads": [1, 1, 1, 1]}),
    "depthwise, two outputs each": ((12, 1, 3, 3), {"group": 6}),
    "same, more after": ((4, 3, 3, 3), {"auto_pad": "SAME_UPPER", "strides": [2, 2]}),
    "same, more before": ((4, 3, 3, 3), {"auto_pad": "SAME_LOWER", "strides": [2, 2]}),
    "same with an even kernel": ((4, 3, 2, 4), {"auto_pad": "SAME_UPPER"}),
    "same, more before, with an even kernel": ((4, 3, 2, 4), {"auto_pad": "SAME_LOWER"}),
    "same with stride 3": ((4, 3, 2, 2), {"auto_pad": "SAME_UPPER", "strides": [3, 3]}),
    "valid": ((4, 3, 3, 3), {"auto_pad": "VALID"}),
    "dense": ((7, 5), {"transB": 0}),
    "dense with outputs first": ((5, 7), {"transB": 1}),
    "dense over several dimensions": ((7, 5), {}),
}


@pytest.mark.parametrize("name", LAYERS)
def test_patches_times_weights_are_outputs_and_their_products_statistics(name: str) -> None:
    shape, attributes = LAYERS[name]
    operator = "Conv" if len(shape) == 4 else "Gemm" if attributes else "MatMul"
    groups = attributes.get("group", 1)
    inputs = {"Conv": (shape[1] * groups, 7, 8), "Gemm": (7,), "MatMul": (4, 7)}[operator]
    step = graphs.node(operator, "x", "input", "x.weight", **attributes)
    model = graphs.build([step], graphs.weights(x=shape), shape=inputs)
    (layer,) = read_layers(model)
    images = graphs.drawn(model, 3).astype(np.float64)
    patches = find_patches(layer, images)  # (G, P, I)
    assert patches.dtype == np.float64

    expected = graphs.by_reference(model, images)["x"]  # (N, O, H, W) or (..., O)
    rows = np.moveaxis(expected, 1, -1) if operator == "Conv" else expected
    rows = rows.reshape(patches.shape[1], groups, -1).swapaxes(0, 1)  # (G, P, O / G)
    weight = layer.weight.reshape(groups, -1, patches.shape[2])
    outputs = patches @ weight.transpose(0, 2, 1)
    np.testing.assert_allclose(outputs, rows, atol=RTOL_SUMS * np.abs(expected).max())

    batches = iter([images[:2], images[2:]])
    inputs_of = observe_inputs([layer, layer._replace(name="y")], batches, images.mean(axis=0))
    assert inputs_of.keys() == {"x", "y"}
    products = np.einsum("gpi,gpj->gij", patches, patches) / patches.shape[1]
    mean = patches.mean(axis=1)
    for actual, exact in zip(inputs_of["y"], (products, mean, mean), strict=True):
        room = 1e-12 * np.abs(exact).max()  # float64 sums in another order
        np.testing.assert_allclose(actual, exact, rtol=0, atol=room)
