"""Batch normalization is folded in float64 and rounded once, whatever it is behind."""

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from resnet8.models import keras_conversion, onnx_model
from resnet8.models.keras_model import in_float64, keras, make_predictor

layers = keras.layers
# Probabilities of float32 against float64; the largest seen here is 5e-6.
ATOL_FLOAT32 = 1e-4
WITH_KERNEL = {
    "conv": lambda **more: layers.Conv2D(6, 3, **more),
    "depthwise": lambda **more: layers.DepthwiseConv2D(3, depth_multiplier=2, **more),
    "separable": lambda **more: layers.SeparableConv2D(6, 3, **more),
    "transposed": lambda **more: layers.Conv2DTranspose(6, 3, **more),
}


def built(inner: Callable[[Any], Any], seed: int = 0) -> Any:
    """A model around some layers, with random weights and statistics."""
    inputs = keras.Input((32, 32, 3))
    pooled = layers.GlobalAveragePooling2D()(inner(layers.Rescaling(1 / 64)(inputs)))
    model = keras.Model(inputs, layers.Dense(10, activation="softmax")(pooled))
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        spread = rng.normal(0, 0.4, weight.shape)
        weight.assign(np.exp(spread) if weight.name == "moving_variance" else spread)
    return model


def exported(model: Any) -> tuple[onnx.ModelProto, dict[str, NDArray[np.float32]]]:
    """The named ONNX model and its constants."""
    named = keras_conversion.convert(model, opset=17, n_classes=10)
    return named, {x.name: onnx.numpy_helper.to_array(x) for x in named.graph.initializer}


def by_hand(normalization: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    gamma, beta, mean, variance = (x.astype(np.float64) for x in normalization.get_weights())
    scale = gamma / np.sqrt(variance + normalization.epsilon)
    return scale, beta - mean * scale


@pytest.mark.parametrize("use_bias", [True, False])
@pytest.mark.parametrize("kind", WITH_KERNEL)
def test_export_rounds_the_folded_constants_once(kind: str, use_bias: bool) -> None:
    layer = WITH_KERNEL[kind](use_bias=use_bias)
    normalization = layers.BatchNormalization()
    model = built(lambda x: layers.ReLU()(normalization(layer(x))))
    scale, offset = by_hand(normalization)
    *_, kernel = [x.astype(np.float64) for x in layer.get_weights() if x.ndim == 4]
    if use_bias:
        offset = offset + layer.bias.numpy().astype(np.float64) * scale
    by_output = {"depthwise": scale.reshape(3, 2), "transposed": scale[:, None]}.get(kind, scale)
    expected = (kernel * by_output).astype(np.float32)

    constants = exported(model)[1].values()

    assert any(set(x.ravel().tolist()) == set(expected.ravel().tolist()) for x in constants)
    assert any(np.array_equal(x.ravel(), offset.astype(np.float32)) for x in constants)


def test_export_folds_into_a_dense_layer() -> None:
    dense, normalization = layers.Dense(7), layers.BatchNormalization()
    model = built(
        lambda x: layers.Reshape((1, 1, 7))(
            layers.ReLU()(normalization(dense(layers.GlobalAveragePooling2D()(x))))
        )
    )
    scale, offset = by_hand(normalization)
    kernel, bias = (x.astype(np.float64) for x in dense.get_weights())
    named, constants = exported(model)
    assert [x.op_type for x in named.graph.node].count("Gemm") == 2
    found = constants[f"{dense.name}.weight"]
    expected = (kernel * scale).astype(np.float32)
    assert np.array_equal(found, expected) or np.array_equal(found.T, expected)
    assert np.array_equal(
        constants[f"{dense.name}.bias"], (offset + bias * scale).astype(np.float32)
    )


def test_export_leaves_a_scale_and_an_offset_where_nothing_is_before() -> None:
    normalization = layers.BatchNormalization()
    model = built(lambda x: layers.Conv2D(4, 3)(layers.ReLU()(normalization(x))))
    _, constants = exported(model)
    for expected in by_hand(normalization):
        rounded = expected.astype(np.float32)
        assert any(np.array_equal(x.ravel(), rounded) for x in constants.values())


def normalized(x: Any) -> Any:
    return layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(4, 3)(x)))


def axis(x: Any) -> Any:
    return layers.BatchNormalization(axis=1)(layers.Conv2D(4, 3)(x))


def two_readers(x: Any) -> Any:
    return layers.Add()([y := layers.Conv2D(4, 3)(x), layers.BatchNormalization()(y)])


def activation_between(x: Any) -> Any:
    return layers.BatchNormalization()(layers.Conv2D(4, 3, activation="relu")(x))


def neither_scale_nor_offset(x: Any) -> Any:
    return layers.BatchNormalization(scale=False, center=False)(layers.Conv2D(4, 3)(x))


def nested(x: Any) -> Any:
    return keras.Model(inner := keras.Input((32, 32, 3)), normalized(inner))(x)


def shared(x: Any) -> Any:
    normalization, convolution = layers.BatchNormalization(), layers.Conv2D(3, 1)
    return normalization(convolution(normalization(convolution(x))))


@pytest.mark.parametrize(
    "inner", [axis, two_readers, activation_between, neither_scale_nor_offset, nested, shared]
)
def test_export_keeps_the_function(inner: Callable[[Any], Any]) -> None:
    model = built(inner)
    images = np.random.default_rng(1).integers(0, 256, (4, 32, 32, 3)).astype(np.float32)
    converted = onnx_model.make_predictor(exported(model)[0])(images)
    np.testing.assert_allclose(converted, make_predictor(model)(images), atol=ATOL_FLOAT32)


def test_predictor_computes_in_float64_and_rounds_once() -> None:
    model = built(nested)
    images = np.random.default_rng(1).integers(0, 256, (4, 32, 32, 3)).astype(np.float32)
    exact = in_float64(model)
    assert {weight.dtype for weight in exact.weights} == {"float64"}
    expected = exact(images.astype(np.float64)).numpy()
    assert expected.dtype == np.float64
    np.testing.assert_array_equal(make_predictor(model)(images), expected.astype(np.float32))
