"""Keras models in ONNX: nodes and layers, names, and folded batch normalization."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import numpy_helper

from resnet8.models import keras_conversion, keras_folding, keras_layers, onnx_model
from resnet8.models.keras_graph import flatten
from resnet8.models.keras_model import keras, make_predictor
from resnet8.models.onnx_graph import channels_first
from resnet8.models.onnx_network import read_layers
from samples.layer_kinds import build
from samples.train import build_resnet8

layers = keras.layers
# Probabilities of float32 against float64; the largest seen here is 5e-6.
ATOL_FLOAT32 = 1e-4
WITH_KERNEL = {
    "conv": lambda **more: layers.Conv2D(6, 3, **more),
    "depthwise": lambda **more: layers.DepthwiseConv2D(3, depth_multiplier=2, **more),
    "separable": lambda **more: layers.SeparableConv2D(6, 3, **more),
    "transposed": lambda **more: layers.Conv2DTranspose(6, 3, **more),
    "dense": lambda **more: layers.Dense(6, **more),
}
Inner = Callable[[Any], Any]


def converted(inner: Inner) -> tuple[Any, Any]:
    """A Keras model with some layers in it, and the ONNX model."""
    model = build(lambda x: inner(layers.Rescaling(1 / 64)(x)))
    return model, keras_conversion.convert(model, opset=17, n_classes=10)


def stores(model: Any, values: NDArray[np.float64]) -> bool:
    """Returns whether a tensor of a model has these values, rounded to float32, in any layout."""
    stored = (numpy_helper.to_array(x) for x in model.graph.initializer)
    expected = np.sort(values.astype(np.float32).ravel())
    return any(np.array_equal(np.sort(x.ravel()), expected) for x in stored)


def test_layers_and_names_of_the_sample(onnx_fp32: Any, keras_fp32: Any) -> None:
    nodes = keras_layers.read(onnx_fp32)
    assert nodes["conv2d"] == ("batch_normalization", "BatchNormalization", "output")
    assert nodes["conv2d_permute"] == ("input", "InputLayer", "input")
    assert nodes["dense"] == ("dense", "Dense", "before activation")
    assert nodes["dense_softmax"] == ("dense", "Dense", "output")
    operators = {
        "Conv2D": "Conv", "Activation": "Relu", "Add": "Add", "Flatten": "Reshape",
        "AveragePooling2D": "AveragePool", "Dense": "Gemm",
    }  # fmt: skip
    kinds = {layer.name: type(layer).__name__ for layer in keras_fp32.layers}
    expected = {name: operators[kind] for name, kind in kinds.items() if kind in operators}
    expected |= {"conv2d_permute": "Transpose", "dense_softmax": "Softmax"}
    assert {node.name: node.op_type for node in onnx_fp32.graph.node} == expected
    # Everything between the permutation and the pool.
    names = [node.name for node in onnx_fp32.graph.node]
    assert channels_first(onnx_fp32) == set(names[: names.index("average_pooling2d") + 1])


def nested(x: Any) -> Any:
    inner = [layers.Conv2D(4, 3, name="conv"), layers.BatchNormalization(name="norm")]
    return keras.Sequential(inner, name="backbone")(layers.Conv2D(3, 3, name="conv")(x))


def shared(x: Any) -> Any:
    norm, conv = layers.BatchNormalization(name="norm"), layers.Conv2D(3, 1, name="conv")
    return norm(conv(norm(conv(x))))


def shared_operation(x: Any) -> Any:
    inputs = keras.Input((None, None, 3))
    twice = keras.Model(inputs, inputs / 0.5, name="twice")
    return twice(layers.ReLU()(twice(x)))


@pytest.mark.parametrize(
    ("inner", "expected"),
    [
        (  # the depthwise convolution is only a part of the layer
            layers.SeparableConv2D(4, 3, activation="relu", name="layer"),
            [("layer", "within"), ("layer", "before activation"), ("layer", "output")],
        ),
        (nested, [("conv", "output"), ("norm", "output")]),
        (
            lambda x: (conv := layers.Conv2D(3, 3, name="conv"))(conv(x)),
            [("conv", "output"), ("conv (2)", "output")],
        ),
        (
            lambda x: (x - np.float32([0.1, 0.2, 0.3])) / 0.5,
            [("Subtract", "output"), ("TrueDivide", "output")],
        ),
    ],
    ids=["layer of several nodes", "nested", "shared", "operations outside of layers"],
)
def test_nodes_are_matched_with_layers(inner: Inner, expected: list[tuple[str, str]]) -> None:
    names = {name for name, _ in expected}
    matched = keras_layers.read(converted(inner)[1]).values()
    named = [(x.name if x.name in names else x.kind, x.place) for x in matched]
    assert [x for x in named if x[0] in names] == expected


def test_grouped_convolutions_keep_their_groups() -> None:
    def inner(x: Any) -> Any:
        x = layers.Conv2D(8, 3, strides=4)(x)
        grouped = layers.Conv2D(8, 1, groups=4, use_bias=False)
        return layers.BatchNormalization()(grouped(grouped(layers.Conv2D(8, 3, groups=2)(x))))

    convolutions = read_layers(converted(inner)[1])
    sizes = [x.weights for x in convolutions if x.operator == "Conv"]
    assert sizes == [8 * 3 * 9, 8 * 4 * 9, 8 * 2, 8 * 2]


def by_hand(normalization: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    gamma, beta, mean, variance = (x.astype(np.float64) for x in normalization.get_weights())
    scale = gamma / np.sqrt(variance + normalization.epsilon)
    return scale, beta - mean * scale


@pytest.mark.parametrize("use_bias", [True, False])
@pytest.mark.parametrize("kind", WITH_KERNEL)
def test_batch_normalization_is_folded_and_rounded_once(kind: str, use_bias: bool) -> None:
    layer, normalization = WITH_KERNEL[kind](use_bias=use_bias), layers.BatchNormalization()
    pool = layers.GlobalAveragePooling2D() if kind == "dense" else layers.Identity()
    _, model = converted(lambda x: layers.ReLU()(normalization(layer(pool(x)))))
    scale, offset = by_hand(normalization)
    *_, kernel = [x.astype(np.float64) for x in layer.get_weights() if x.ndim > 1]
    if use_bias:
        offset = offset + layer.bias.numpy().astype(np.float64) * scale
    by_output = {"depthwise": scale.reshape(3, 2), "transposed": scale[:, None]}.get(kind, scale)
    assert stores(model, kernel * by_output)
    assert stores(model, offset)


def test_a_scale_and_an_offset_remain_where_nothing_is_before() -> None:
    normalization = layers.BatchNormalization()
    _, model = converted(lambda x: layers.Conv2D(4, 3)(layers.ReLU()(normalization(x))))
    assert all(stores(model, expected) for expected in by_hand(normalization))


@pytest.mark.parametrize(
    "inner",
    [
        lambda x: layers.BatchNormalization(axis=1)(layers.Conv2D(4, 3)(x)),
        lambda x: layers.Add()([y := layers.Conv2D(4, 3)(x), layers.BatchNormalization()(y)]),
        lambda x: layers.BatchNormalization()(layers.Conv2D(4, 3, activation="relu")(x)),
        lambda x: layers.BatchNormalization(scale=False, center=False)(layers.Conv2D(4, 3)(x)),
        nested,
        shared,
        shared_operation,
    ],
    ids=["axis", "two readers", "activation", "neither", "nested", "shared", "shared operation"],
)
def test_the_function_is_kept(inner: Inner) -> None:
    model, exported = converted(inner)
    images = np.random.default_rng(1).integers(0, 256, (4, 32, 32, 3)).astype(np.float32)
    expected = flatten(model, dtype="float64").model(images.astype(np.float64)).numpy()
    assert expected.dtype == np.float64  # the predictor rounds once
    np.testing.assert_array_equal(make_predictor(model)(images), expected.astype(np.float32))
    rows = onnx_model.make_predictor(exported)(images)
    np.testing.assert_allclose(rows, expected, atol=ATOL_FLOAT32)


@pytest.mark.parametrize("opset", [13, 18])
def test_untrained_model_converts_with_all_its_parameters(opset: int) -> None:
    model = build_resnet8(8)  # biases are zero
    exported = keras_conversion.convert(model, opset=opset, n_classes=10)
    expected = keras_folding.count_folded_parameters(model)
    assert onnx_model.count_parameters(exported) == expected
    assert onnx_model.describe(exported)["opset"] == {"ai.onnx": opset}


def test_folded_parameters_of_the_sample_by_hand(keras_fp32: Any) -> None:
    # Kernels and biases of nine convolutions and the dense layer; the seven batch
    # normalizations disappear. (kernel area, channels in, channels out)
    convolutions = [(9, 3, 16), (9, 16, 16), (9, 16, 16), (9, 16, 32), (9, 32, 32), (1, 16, 32)]
    convolutions += [(9, 32, 64), (9, 64, 64), (1, 32, 64)]
    expected = sum((area * c_in + 1) * c_out for area, c_in, c_out in convolutions) + 65 * 10
    assert keras_folding.count_folded_parameters(keras_fp32) == expected == 77_706
    assert keras_fp32.count_params() == 78_666  # as MLPerf Tiny's README has it


@pytest.mark.parametrize(
    "inner",
    [
        layers.Rescaling([0.1, 0.2, 0.3]),
        layers.BatchNormalization(),
        lambda x: layers.BatchNormalization()(layers.Conv2D(3, 1, activation="relu")(x)),
        layers.Conv2D(3, 1, activation="hard_swish"),
        layers.ReLU(max_value=3),
    ],
)
def test_count_folded_parameters_does_not_guess(inner: Inner) -> None:
    assert keras_folding.count_folded_parameters(build(inner)) is None
