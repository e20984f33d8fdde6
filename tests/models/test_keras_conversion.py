"""Keras models in ONNX: which node computes which layer, names and operators."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from resnet8.models import keras_conversion, keras_folding, keras_layers, onnx_model
from resnet8.models.keras_layers import KerasLayer
from resnet8.models.keras_model import keras, make_predictor
from resnet8.models.onnx_graph import channels_first
from samples.train import build_resnet8

layers = keras.layers


def converted(inner: Callable[[Any], Any]) -> tuple[Any, Any]:
    """A Keras model with some layers in it, and the ONNX model."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((32, 32, 3))
    x = layers.GlobalAveragePooling2D()(inner(layers.Rescaling(1 / 255)(inputs)))
    model = keras.Model(inputs, layers.Dense(10, activation="softmax")(x))
    return model, keras_conversion.convert(model, opset=17, n_classes=10)


def matched(inner: Callable[[Any], Any]) -> dict[str, KerasLayer]:
    return keras_layers.read(converted(inner)[1])


def test_keras_layers_of_the_sample(onnx_fp32: Any) -> None:
    nodes = keras_layers.read(onnx_fp32)
    assert nodes["conv2d"] == ("batch_normalization", "BatchNormalization", "output")
    assert nodes["conv2d_permute"] == ("input", "InputLayer", "input")
    assert nodes["dense"] == ("dense", "Dense", "before activation")
    assert nodes["dense_softmax"] == ("dense", "Dense", "output")


def test_nodes_of_the_sample_are_named_like_the_keras_layers(
    onnx_fp32: Any, keras_fp32: Any
) -> None:
    operators = {
        "Conv2D": "Conv", "Activation": "Relu", "Add": "Add", "Flatten": "Reshape",
        "AveragePooling2D": "AveragePool", "Dense": "Gemm",
    }  # fmt: skip
    kinds = {layer.name: type(layer).__name__ for layer in keras_fp32.layers}
    expected = {name: operators[kind] for name, kind in kinds.items() if kind in operators}
    expected |= {"conv2d_permute": "Transpose", "dense_softmax": "Softmax"}
    assert {node.name: node.op_type for node in onnx_fp32.graph.node} == expected
    assert Counter(expected.values())["Conv"] == 9


def test_channels_first_is_everything_between_the_permutation_and_the_pool(
    onnx_fp32: Any,
) -> None:
    names = [node.name for node in onnx_fp32.graph.node]
    assert channels_first(onnx_fp32) == set(names[: names.index("average_pooling2d") + 1])


def test_a_layer_of_two_nodes_is_the_last_one() -> None:
    nodes = matched(layers.SeparableConv2D(4, 3, activation="relu", name="separable"))
    places = [(x.kind, x.place) for x in nodes.values() if x.name == "separable"]
    kind = "SeparableConv2D"
    # The depthwise convolution is only a part of the layer.
    assert places == [(kind, "within"), (kind, "before activation"), (kind, "output")]


def test_layers_of_a_nested_model_have_their_own_names() -> None:
    def inner(x: Any) -> Any:
        nested = [layers.Conv2D(4, 3, name="conv"), layers.ReLU(name="relu")]
        return keras.Sequential(nested, name="backbone")(layers.Conv2D(3, 3, name="conv")(x))

    nodes = matched(inner)
    names = ["conv", "backbone/conv", "relu"]
    assert [nodes[name].name for name in names] == names


def test_each_call_of_a_shared_layer_is_found() -> None:
    shared = layers.Conv2D(3, 3, name="shared")
    nodes = matched(lambda x: shared(shared(x))).values()
    assert [x.name for x in nodes if x.kind == "Conv2D"] == ["shared", "shared (2)"]


def test_operations_outside_of_layers_are_found() -> None:
    nodes = matched(lambda x: (x - np.float32([0.1, 0.2, 0.3])) / 0.5)
    assert [x.kind for x in nodes.values()][:3] == ["Rescaling", "Subtract", "TrueDivide"]


@pytest.mark.parametrize("name", ["input", "a|b", "probabilities", "keraslayer0001"])
def test_a_layer_of_any_name_is_found_under_it(name: str) -> None:
    model, named = converted(layers.Conv2D(4, 3, name=name))
    layer = KerasLayer(name, "Conv2D", "output")
    node = next(node for node, x in keras_layers.read(named).items() if x == layer)
    assert node in (name, f"{name}_conv")
    images = np.random.default_rng(1).integers(0, 256, (4, 32, 32, 3)).astype(np.float32)
    expected = make_predictor(model)(images)
    np.testing.assert_allclose(onnx_model.make_predictor(named)(images), expected, atol=1e-5)


def test_names_that_the_quantizer_would_derive_are_avoided() -> None:
    nodes = matched(lambda x: layers.Conv2D(4, 3, name="c")(layers.Conv2D(4, 3, name="c_scale")(x)))
    assert {nodes[x].name for x in ("c_scale", "c_conv")} == {"c", "c_scale"}


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


@pytest.mark.parametrize("opset", [13, 18])
def test_untrained_model_converts_with_all_its_parameters(opset: int) -> None:
    model = build_resnet8(8)  # biases are zero
    onnx = keras_conversion.convert(model, opset=opset, n_classes=10)
    expected = keras_folding.count_folded_parameters(model)
    assert onnx_model.count_parameters(onnx) == expected
    assert onnx_model.describe(onnx)["opset"] == {"ai.onnx": opset}
