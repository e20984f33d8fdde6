"""A difference between given and written quantization is an error that names it."""

from typing import Any

import numpy as np
import onnx
import pytest

from resnet8.core.errors import ArtifactError
from resnet8.core.qparams import Parameter
from resnet8.quantize import onnx_writer, torch_writer
from resnet8.quantize.quantization import Quantization


def add_one(model: onnx.ModelProto, name: str) -> None:
    (tensor,) = [x for x in model.graph.initializer if x.name == name]
    array = onnx.numpy_helper.to_array(tensor).copy()
    array.flat[0] += 1
    tensor.CopyFrom(onnx.numpy_helper.from_array(array, name))


def check(model: onnx.ModelProto, float_model: onnx.ModelProto, quantization: Quantization) -> None:
    onnx_writer.check(model, float_model, quantization, quant_type="uint8")


@pytest.fixture
def model(onnx_fp32: Any, quantization: Quantization) -> onnx.ModelProto:
    return onnx_writer.quantize(onnx_fp32, quantization, quant_type="uint8")


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
    model: onnx.ModelProto, onnx_fp32: Any, quantization: Quantization, name: str, message: str
) -> None:
    check(model, onnx_fp32, quantization)
    add_one(model, name)
    with pytest.raises(ArtifactError, match=f"ONNX Runtime must write {message}"):
        check(model, onnx_fp32, quantization)


def test_check_names_an_operator_and_a_type(
    model: onnx.ModelProto, onnx_fp32: Any, quantization: Quantization
) -> None:
    message = "must write the weights of .+ with 'uint8', got 'int8'"
    other = onnx_writer.quantize(onnx_fp32, quantization, quant_type="uint8_int8")
    with pytest.raises(ArtifactError, match=message):
        check(other, onnx_fp32, quantization)
    (pool,) = [x for x in model.graph.node if x.op_type == "AveragePool"]
    pool.op_type = "MaxPool"
    message = "node average_pooling2d with 'AveragePool', got 'MaxPool'"
    with pytest.raises(ArtifactError, match=message):
        check(model, onnx_fp32, quantization)


def changed(quantization: Quantization, part: str) -> Quantization:
    """Changes a part of the parameters of `conv2d_1`, or of a tensor."""
    layers, activations = dict(quantization.layers), dict(quantization.activations)
    layer = layers["conv2d_1"]
    values, parameters = layer.weight
    match part:
        case "scales":
            wider = parameters._replace(scale=parameters.scale * np.float32(1.5))
            layer = layer._replace(weight=Parameter(values * np.float32(1.5), wider))
        case "codes":
            layer = layer._replace(weight=Parameter(-values, parameters))
        case "biases":
            layer = layer._replace(bias=layer.bias + np.float32(0.1))
        case "tensor":
            tensor = activations["activation_1"]
            activations["activation_1"] = tensor._replace(zero_point=np.array(3))
        case "more":
            layers["more"] = layer
    layers["conv2d_1"] = layer
    if part == "fewer":
        del layers["conv2d_1"]
    return quantization._replace(layers=layers, activations=activations)


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ("scales", "the scales of the weights of conv2d_1 with"),
        ("codes", "the codes of the weights of conv2d_1 with"),
        ("biases", "the biases of conv2d_1 with"),
        ("tensor", "the zero points of activation_1 with"),
        ("more", "the weights of more with .+, got no parameters"),
        ("fewer", "the weights of conv2d_1 with no parameters, got "),
    ],
)
def test_check_of_pytorch_names_a_difference(
    torch_int8: Any, torch_fp32: Any, quantization: Quantization, part: str, message: str
) -> None:
    torch_writer.check(torch_int8, torch_fp32, quantization)
    with pytest.raises(ArtifactError, match=f"torchao must write {message}"):
        torch_writer.check(torch_int8, torch_fp32, changed(quantization, part))
