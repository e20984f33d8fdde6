"""Whatever a library writes otherwise than decided is refused by its name."""

from typing import Any

import numpy as np
import onnx
import pytest
from resnet8.quantize.onnx_written import read_written

from resnet8.core.errors import ArtifactError
from resnet8.core.qparams import Parameter
from resnet8.quantize import onnx_writer, torch_writer
from resnet8.quantize.quantization import LayerParameters, Quantization

Change = tuple[str, str]  # what is changed, and what the message says


def constant(model: onnx.ModelProto, name: str) -> onnx.TensorProto:
    (found,) = [x for x in model.graph.initializer if x.name == name]
    return found


def add_one(model: onnx.ModelProto, name: str, place: int = 0) -> None:
    tensor = constant(model, name)
    array = onnx.numpy_helper.to_array(tensor).copy()
    array.flat[place] += 1
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


def test_check_names_an_operator_that_is_gone(
    model: onnx.ModelProto, onnx_fp32: Any, quantization: Quantization
) -> None:
    (pool,) = [x for x in model.graph.node if x.op_type == "AveragePool"]
    pool.op_type = "MaxPool"
    with pytest.raises(
        ArtifactError, match="node average_pooling2d with 'AveragePool', got 'MaxPool'"
    ):
        check(model, onnx_fp32, quantization)


def test_check_names_a_type_that_was_not_asked_for(
    onnx_fp32: Any, quantization: Quantization
) -> None:
    model = onnx_writer.quantize(onnx_fp32, quantization, quant_type="uint8_int8")
    with pytest.raises(
        ArtifactError, match="must write the weights of .+ with 'uint8', got 'int8'"
    ):
        check(model, onnx_fp32, quantization)


def test_read_written_gives_back_what_was_decided(
    onnx_quantized: Any, quantization: Quantization
) -> None:
    written = read_written(onnx_quantized[1], quantization.layers)
    for name, layer in quantization.layers.items():
        np.testing.assert_array_equal(written.layers[name].weight.values, layer.weight.values)
        np.testing.assert_array_equal(written.layers[name].bias, layer.bias)
    assert set(written.activations) == set(quantization.activations)


def with_wider_steps(layer: LayerParameters) -> LayerParameters:
    values, quantization = layer.weight
    wider = quantization._replace(scale=quantization.scale * np.float32(1.5))
    return layer._replace(weight=Parameter(values * np.float32(1.5), wider))


def with_other_codes(layer: LayerParameters) -> LayerParameters:
    return layer._replace(weight=layer.weight._replace(values=-layer.weight.values))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (with_wider_steps, "the scales of the weights of conv2d_1 with"),
        (with_other_codes, "the codes of the weights of conv2d_1 with"),
        (lambda x: x._replace(bias=x.bias + np.float32(0.1)), "the biases of conv2d_1 with"),
    ],
    ids=["scale", "codes", "bias"],
)
def test_check_of_pytorch_names_what_was_written_otherwise(
    torch_int8: Any, torch_fp32: Any, quantization: Quantization, change: Any, message: str
) -> None:
    torch_writer.check(torch_int8, torch_fp32, quantization)
    others = quantization.layers | {"conv2d_1": change(quantization.layers["conv2d_1"])}
    with pytest.raises(ArtifactError, match=f"torchao must write {message}"):
        torch_writer.check(torch_int8, torch_fp32, quantization._replace(layers=others))


def test_check_of_pytorch_names_a_tensor(
    torch_int8: Any, torch_fp32: Any, quantization: Quantization
) -> None:
    others = quantization.activations | {
        "add": quantization.activations["input"]._replace(zero_point=np.array(3)),
        "activation_1": quantization.activations["activation_1"]._replace(zero_point=np.array(3)),
    }
    with pytest.raises(
        ArtifactError, match="torchao must write the zero points of (add|activation_1) with"
    ):
        torch_writer.check(torch_int8, torch_fp32, quantization._replace(activations=others))


def test_check_of_pytorch_names_a_layer_that_should_be_in_float(
    torch_int8: Any, torch_fp32: Any, quantization: Quantization
) -> None:
    others = {name: x for name, x in quantization.layers.items() if name != "conv2d_1"}
    message = "torchao must write the weights of conv2d_1 with no parameters, got "
    with pytest.raises(ArtifactError, match=message):
        torch_writer.check(torch_int8, torch_fp32, quantization._replace(layers=others))


def test_check_of_pytorch_names_a_layer_that_should_be_in_8_bits(
    torch_int8: Any, torch_fp32: Any, quantization: Quantization
) -> None:
    others = dict(quantization.layers) | {"more": quantization.layers["conv2d_1"]}
    message = "torchao must write the weights of more with .+, got no parameters"
    with pytest.raises(ArtifactError, match=message):
        torch_writer.check(torch_int8, torch_fp32, quantization._replace(layers=others))
