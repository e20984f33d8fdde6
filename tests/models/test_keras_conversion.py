"""Nodes of a converted model know their Keras layers, by values and not by names."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from resnet8.models import keras_conversion, keras_layers, onnx_model
from resnet8.models.keras_layers import KerasLayer
from resnet8.models.keras_model import keras, make_predictor  # first, to be quiet
from resnet8.models.onnx_graph import channels_first

layers = keras.layers


def converted(inner: Callable[[Any], Any]) -> tuple[Any, Any]:
    """A Keras model with some layers in it, and the ONNX model."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((32, 32, 3))
    x = layers.GlobalAveragePooling2D()(inner(layers.Rescaling(1 / 255)(inputs)))
    model = keras.Model(inputs, layers.Dense(10, activation="softmax")(x))
    return model, keras_conversion.convert(model, opset=17, n_classes=10)


def test_keras_layers_of_the_sample(onnx_fp32: Any) -> None:
    found = keras_layers.read(onnx_fp32)
    assert found["conv2d"] == ("batch_normalization", "BatchNormalization", "output")
    assert found["conv2d_permute"] == ("input", "InputLayer", "input")
    assert found["dense"] == ("dense", "Dense", "before activation")
    assert found["dense_softmax"] == ("dense", "Dense", "output")


def test_channels_first_is_everything_between_the_permutation_and_the_pool(
    onnx_fp32: Any,
) -> None:
    names = [node.name for node in onnx_fp32.graph.node]
    assert channels_first(onnx_fp32) == set(names[: names.index("average_pooling2d") + 1])


def test_a_layer_of_two_nodes_is_the_last_one() -> None:
    layer = layers.SeparableConv2D(4, 3, activation="relu", name="separable")
    found = keras_layers.read(converted(layer)[1])
    kind = "SeparableConv2D"
    assert [x for x in found.values() if x.name == "separable"] == [
        KerasLayer("separable", kind, "within"),  # the depthwise convolution
        KerasLayer("separable", kind, "before activation"),
        KerasLayer("separable", kind, "output"),
    ]


def test_layers_of_a_nested_model_have_their_own_names() -> None:
    def inner(x: Any) -> Any:
        nested = keras.Sequential(
            [layers.Conv2D(4, 3, name="conv"), layers.ReLU(name="relu")], name="backbone"
        )
        return nested(layers.Conv2D(3, 3, name="conv")(x))

    found = keras_layers.read(converted(inner)[1])
    assert [found[x].name for x in ("conv", "backbone/conv", "relu")] == [
        "conv",
        "backbone/conv",
        "relu",
    ]


def test_each_call_of_a_shared_layer_is_found() -> None:
    shared = layers.Conv2D(3, 3, name="shared")
    found = keras_layers.read(converted(lambda x: shared(shared(x)))[1])
    names = [layer.name for layer in found.values() if layer.kind == "Conv2D"]
    assert names == ["shared", "shared (2)"]


def test_operations_outside_of_layers_are_found() -> None:
    found = keras_layers.read(converted(lambda x: (x - np.float32([0.1, 0.2, 0.3])) / 0.5)[1])
    kinds = [layer.kind for layer in found.values()]
    assert kinds[:3] == ["Rescaling", "Subtract", "TrueDivide"]


@pytest.mark.parametrize(
    "name", ["input", "forward", "None", "class", "a b", "a|b", "probabilities", "keraslayer0001"]
)
def test_a_layer_of_any_name_is_found_under_it(name: str) -> None:
    model, named = converted(layers.Conv2D(4, 3, name=name))
    layer = KerasLayer(name, "Conv2D", "output")
    node = next(node for node, found in keras_layers.read(named).items() if found == layer)
    assert node in (name, f"{name}_conv")
    images = np.random.default_rng(1).integers(0, 256, (4, 32, 32, 3)).astype(np.float32)
    found, expected = onnx_model.make_predictor(named)(images), make_predictor(model)(images)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_names_that_the_quantizer_would_make_are_avoided() -> None:
    def inner(x: Any) -> Any:
        return layers.Conv2D(4, 3, name="c")(layers.Conv2D(4, 3, name="c_scale")(x))

    found = keras_layers.read(converted(inner)[1])
    assert {found[x].name for x in ("c_scale", "c_conv")} == {"c", "c_scale"}


def test_grouped_convolutions_keep_their_groups() -> None:
    def inner(x: Any) -> Any:
        x = layers.Conv2D(8, 3, strides=4)(x)
        grouped = layers.Conv2D(8, 1, groups=4, use_bias=False)
        return layers.BatchNormalization()(grouped(grouped(layers.Conv2D(8, 3, groups=2)(x))))

    graph = converted(inner)[1].graph
    sizes = {x.name: list(x.dims) for x in graph.initializer}
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    groups = [x.i for node in convolutions for x in node.attribute if x.name == "group"]
    assert groups == [1, 2, 4, 4]
    assert [sizes[node.input[1]][1] for node in convolutions] == [3, 4, 2, 2]
