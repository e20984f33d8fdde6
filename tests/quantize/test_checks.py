"""A warning of a quantization library is an error, and a difference in what it wrote, too."""

import logging
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest

from resnet8.core.errors import ArtifactError
from resnet8.core.qparams import Parameter
from resnet8.models.onnx_graph import copy_of
from resnet8.quantize import onnx_writer, torch_writer
from resnet8.quantize.checks import no_warnings
from resnet8.quantize.quantization import Quantization

LOGGER = logging.getLogger("some.library")


@pytest.mark.parametrize("warn", [lambda x: LOGGER.warning("%s.", x), warnings.warn])
def test_no_warnings_raises_what_is_logged_or_warned(warn: Callable[[str], None]) -> None:
    message = r"Some library must .+, got: The scale is small\. Leave"
    with pytest.raises(ArtifactError, match=message), no_warnings("Some library"):
        warn("The scale\n  is small")


def test_no_warnings_ignores_lower_levels_and_passes_on_an_error() -> None:
    handlers = list(logging.getLogger().handlers)
    with no_warnings("Some library"):
        LOGGER.info("The bias was changed.")
    with pytest.raises(KeyError, match="mine"), no_warnings("Some library"):
        {"first": LOGGER.warning("first")}["mine"]
    assert logging.getLogger().handlers == handlers


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("conv2d.weight_quantized", "the codes of the weights of conv2d with"),
        ("conv2d.weight_scale", "the scales of the weights of conv2d with"),
        ("conv2d_5.bias_quantized", "the biases of conv2d_5 with"),
        ("conv2d_5.bias_quantized_scale", "the biases of conv2d_5 with"),
        ("dense.weight_quantized", "the codes of the weights of dense with"),
        ("dense.weight_zero_point", "the zero points of the weights of dense with"),
        ("activation_scale", "the scales of activation with"),
        ("activation_zero_point", "the zero points of activation with"),
    ],
)
def test_check_names_a_number_that_was_written_otherwise(
    onnx_models: dict[str, Any], quantization: Quantization, name: str, message: str
) -> None:
    model = copy_of(onnx_models["uint8"])
    (tensor,) = [x for x in model.graph.initializer if x.name == name]
    array = onnx.numpy_helper.to_array(tensor).copy()
    array.flat[0] += 1
    tensor.CopyFrom(onnx.numpy_helper.from_array(array, name))
    with pytest.raises(ArtifactError, match=f"ONNX Runtime must write {message}"):
        onnx_writer.check(model, quantization, quant_type="uint8")


def test_check_names_another_type(onnx_models: dict[str, Any], quantization: Quantization) -> None:
    model = onnx_models["uint8"]
    onnx_writer.check(model, quantization, quant_type="uint8")
    message = "must write the weights of .+ with 'int8', got 'uint8'"
    with pytest.raises(ArtifactError, match=message):
        onnx_writer.check(model, quantization, quant_type="uint8_int8")


@pytest.mark.parametrize("change", ["a tensor without parameters", "symmetric ranges"])
def test_quantize_refuses_parameters_for_other_tensors(
    onnx_fp32: Any, quantization: Quantization, change: str
) -> None:
    activations = {k: x for k, x in quantization.activations.items() if k != "activation_3"}
    given = (
        quantization._replace(activations=activations)
        if change == "a tensor without parameters"
        else quantization._replace(symmetric=True)  # then a Q/DQ pair precedes each ReLU
    )
    with pytest.raises(ArtifactError, match=r"ONNX Runtime must write \w+ with no parameters, got"):
        onnx_writer.quantize(onnx_fp32, given, quant_type="int8")


LAYER, TENSOR = "conv2d_1", "activation_1"


def changed(quantization: Quantization, part: str) -> Quantization:
    """Changes a part of the parameters of a layer or a tensor."""
    layers, activations = dict(quantization.layers), dict(quantization.activations)
    values, parameters = layers[LAYER].weight
    if part == "codes":
        layers[LAYER] = layers[LAYER]._replace(weight=Parameter(-values, parameters))
    elif part == "biases":
        layers[LAYER] = layers[LAYER]._replace(bias=layers[LAYER].bias + np.float32(0.1))
    elif part == "tensor":
        activations[TENSOR] = activations[TENSOR]._replace(zero_point=np.array(3))
    elif part == "more":
        layers["more"] = layers[LAYER]
    elif part == "fewer":
        del layers[LAYER]
    return quantization._replace(layers=layers, activations=activations)


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ("codes", f"the codes of the weights of {LAYER} with"),
        ("biases", f"the biases of {LAYER} with"),
        ("tensor", f"the zero points of {TENSOR} with"),
        ("more", "the weights of more with .+, got no parameters"),
        ("fewer", f"the weights of {LAYER} with no parameters, got "),
    ],
)
def test_check_of_pytorch_names_a_difference(
    torch_int8: Any, torch_fp32: Any, quantization: Quantization, part: str, message: str
) -> None:
    with pytest.raises(ArtifactError, match=f"torchao must write {message}"):
        torch_writer.check(torch_int8, torch_fp32, changed(quantization, part))
