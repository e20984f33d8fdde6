"""Patches times weights are what ONNX Runtime computes."""

from typing import Any

import numpy as np
import pytest

from resnet8.quantize.layers import read_layers
from resnet8.quantize.patches import find_patches, sum_products
from tests.quantize import graphs

# Of the largest output: float32 sums in another order.
RTOL_SUMS = 1e-5
CONVOLUTIONS = {
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
}


def products(model: Any, images: Any) -> Any:
    """(G, P, O / G) what find_patches makes of the first layer's outputs."""
    (layer,) = read_layers(model)
    rows = find_patches(layer, images.astype(np.float32))
    weight = layer.weight.reshape(layer.groups, len(layer.weight) // layer.groups, -1)
    return rows @ weight.transpose(0, 2, 1)


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_find_patches_times_weights_are_the_outputs_of_a_convolution(name: str) -> None:
    shape, attributes = CONVOLUTIONS[name]
    groups = attributes.get("group", 1)
    arrays = graphs.weights(conv=shape)
    step = graphs.node("Conv", "conv", "input", "conv.weight", **attributes)
    model = graphs.build([step], arrays, shape=(shape[1] * groups, 7, 8))
    images = graphs.drawn(model, 2)
    expected = graphs.computed(model, images)["conv"]  # (N, O, H, W)
    rows = np.moveaxis(expected, 1, -1).reshape(-1, groups, shape[0] // groups)
    room = RTOL_SUMS * np.abs(expected).max()
    np.testing.assert_allclose(products(model, images), rows.swapaxes(0, 1), atol=room)


@pytest.mark.parametrize("transposed", [0, 1])
def test_find_patches_times_weights_are_the_outputs_of_a_gemm(transposed: int) -> None:
    weight = np.random.default_rng(0).normal(size=(5, 7)).astype(np.float32)
    stored = weight if transposed else np.ascontiguousarray(weight.T)
    step = graphs.node("Gemm", "dense", "input", "dense.weight", transB=transposed)
    model = graphs.build([step], {"dense.weight": stored}, shape=(7,))
    images = graphs.drawn(model, 3)
    expected = images.astype(np.float64) @ weight.T.astype(np.float64)
    room = RTOL_SUMS * np.abs(expected).max()
    np.testing.assert_allclose(products(model, images)[0], expected, atol=room)


def test_find_patches_times_weights_are_the_outputs_of_a_product_over_several_dimensions() -> None:
    weight = np.random.default_rng(0).normal(size=(7, 5)).astype(np.float32)
    step = graphs.node("MatMul", "dense", "input", "dense.weight")
    model = graphs.build([step], {"dense.weight": weight}, shape=(4, 7))
    images = graphs.drawn(model, 3)
    expected = graphs.by_reference(model, images)["dense"].reshape(-1, 5)
    room = RTOL_SUMS * np.abs(expected).max()
    np.testing.assert_allclose(products(model, images)[0], expected, atol=room)


def test_find_patches_keeps_double_precision() -> None:
    model = graphs.build([graphs.layer("Conv", "conv", "input")], graphs.weights(conv=(2, 3, 3, 3)))
    (layer,) = read_layers(model)
    assert find_patches(layer, np.ones((1, 3, 8, 8))).dtype == np.float64


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_sum_products_sums_over_the_rows_of_find_patches(name: str) -> None:
    shape, attributes = CONVOLUTIONS[name]
    groups = attributes.get("group", 1)
    step = graphs.node("Conv", "conv", "input", "conv.weight", **attributes)
    model = graphs.build([step], graphs.weights(conv=shape), shape=(shape[1] * groups, 7, 8))
    (layer,) = read_layers(model)
    images = graphs.drawn(model, 2).astype(np.float64)
    rows = find_patches(layer, images)  # (G, P, I)
    sums, n_places = sum_products(layer, images)
    expected = np.einsum("gpi,gpj->gij", rows, rows)
    room = 1e-12 * np.abs(expected).max()  # float64 sums in another order
    np.testing.assert_allclose(sums, expected, rtol=0, atol=room)
    assert n_places == rows.shape[1]
