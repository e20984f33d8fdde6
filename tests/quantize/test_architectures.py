"""Other Keras models than the sample's, from the float model to 8 bits in both runtimes."""

from typing import Any, NamedTuple

import numpy as np
import pytest

from resnet8.models import keras_conversion, onnx_model, torch_conversion, torch_model
from resnet8.models.keras_model import keras  # which is quiet when it is imported there first
from resnet8.models.onnx_graph import with_parameters
from resnet8.quantize import onnx_writer, torch_writer
from resnet8.quantize.fit import fit
from resnet8.quantize.layers import read_layers
from resnet8.reference.check import check
from resnet8.reference.network import Network
from resnet8.reference.results import refuse_unexplained
from resnet8.reference.runtimes import in_onnx_runtime, in_torch
from samples.train import build_resnet8
from tests.quantize import graphs

layers = keras.layers
# Mean difference of probabilities between float and 8 bits, where they spread from 0 to 1.
MEAN_PROBABILITIES = 0.02
# And between runtimes: few codes fall to the other side.
MEAN_RUNTIMES = 0.005


def narrow() -> Any:
    return build_resnet8(6)


def called_twice() -> Any:
    """A layer whose weights two nodes share."""
    inputs = keras.Input((32, 32, 3))
    x = layers.Conv2D(6, 3, strides=4, activation="relu")(inputs)
    twice = layers.Conv2D(6, 3, padding="same", activation="relu")
    x = layers.GlobalAveragePooling2D()(twice(twice(x)))
    return keras.Model(inputs, layers.Dense(10, activation="softmax")(x))


def mobile() -> Any:
    """Depthwise convolutions and clipped activations."""
    inputs = keras.Input((32, 32, 3))
    x = layers.ReLU(6.0)(layers.Conv2D(6, 3, strides=4, padding="same")(inputs))
    x = layers.LeakyReLU()(layers.DepthwiseConv2D(3, padding="same")(x))
    x = layers.ReLU()(layers.Conv2D(6, 1)(x))
    x = layers.ReLU()(layers.Conv2D(6, 1)(x))
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, layers.Dense(10, activation="softmax")(x))


def flattened() -> Any:
    """Pixels that a dense layer tells apart, and one behind another."""
    inputs = keras.Input((32, 32, 3))
    x = layers.Conv2D(4, 3, strides=4, activation="relu")(inputs)
    x = layers.Flatten()(layers.MaxPooling2D(2)(x))
    x = layers.Dense(12, activation="relu")(x)
    return keras.Model(inputs, layers.Dense(10, activation="softmax")(x))


def as_after_training(model: Any, images: Any) -> Any:
    """Scales and moves the logits, so that images of one class differ from those of others."""
    last = read_layers(model)[-1]
    logits = graphs.computed(model, images)[last.output]
    factor = 2 / logits.std(axis=0)  # (K,)
    bias = (last.bias - logits.mean(axis=0)) * factor
    return with_parameters(model, {last.name: (last.weight * factor[:, None], bias)})


class Made(NamedTuple):
    """A float model and what becomes of it."""

    float_model: Any
    quantization: Any
    in_onnx: Any
    in_torch: Any


@pytest.fixture(
    scope="module",
    params=[narrow, called_twice, mobile, flattened],
    ids=lambda build: build.__name__,
)
def made(request: pytest.FixtureRequest, fit_settings: Any, calibration_images: Any) -> Made:
    keras.utils.set_random_seed(0)
    model = request.param()
    rng = np.random.default_rng(0)
    for weight in model.weights:
        if "batch_normalization" in weight.path:
            weight.assign(rng.uniform(0.5, 1.5, weight.shape))
        elif weight.name == "bias":  # exporters leave out those that are all zero
            weight.assign(rng.normal(0, 0.1, weight.shape))
    converted = keras_conversion.convert(model, opset=17, n_classes=10)
    float_model = as_after_training(converted, calibration_images)
    program = torch_model.export(torch_conversion.convert(float_model))
    points = onnx_writer.find_points(float_model, symmetric=False)
    quantization = fit(float_model, calibration_images[:20], fit_settings, points=points)
    return Made(
        float_model,
        quantization,
        onnx_writer.quantize(float_model, quantization, quant_type="uint8"),
        torch_model.export(torch_writer.quantize(program, quantization)),
    )


def test_fit_serves_both_runtimes(made: Made, test_set: Any) -> None:
    images = test_set[0][:50].astype(np.float32)
    expected, found = (
        onnx_model.make_predictor(x)(images) for x in (made.float_model, made.in_onnx)
    )
    assert np.ptp(expected, axis=0).mean() > 10 * MEAN_PROBABILITIES  # images make a difference
    assert np.abs(found - expected).mean() < MEAN_PROBABILITIES
    assert np.abs(torch_model.make_predictor(made.in_torch)(images) - found).mean() < MEAN_RUNTIMES


def test_codes_are_those_of_exact_arithmetic(made: Made, test_set: Any) -> None:
    network = Network(made.float_model, made.quantization)
    models = {"onnx_uint8": in_onnx_runtime(made.in_onnx), "torch_int8": in_torch(made.in_torch)}
    for name, found in check(network, models, test_set[0][:20]).items():
        refuse_unexplained(name, found)
        rows = [row for row in found.tensors.values() if row.in_codes]
        assert all(np.isfinite(row.bound) for row in rows)
        assert len(rows) >= 3
