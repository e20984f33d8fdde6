"""Whatever a library writes otherwise than decided is refused by its name."""

from typing import Any

import numpy as np
import onnx
import pytest

from resnet8.core.errors import ArtifactError
from resnet8.quantize import onnx_writer, torch_writer
from resnet8.quantize.onnx_written import read_written
from resnet8.quantize.storage import Numbers

Change = tuple[str, str]  # what is changed, and what the message says


def constant(model: onnx.ModelProto, name: str) -> onnx.TensorProto:
    (found,) = [x for x in model.graph.initializer if x.name == name]
    return found


def add_one(model: onnx.ModelProto, name: str, place: int = 0) -> None:
    tensor = constant(model, name)
    array = onnx.numpy_helper.to_array(tensor).copy()
    array.flat[place] += 1
    tensor.CopyFrom(onnx.numpy_helper.from_array(array, name))


def check(model: onnx.ModelProto, float_model: onnx.ModelProto, numbers: Numbers) -> None:
    onnx_writer.check(model, float_model, numbers, quant_type="uint8")


@pytest.fixture
def model(onnx_fp32: Any, numbers: Numbers) -> onnx.ModelProto:
    return onnx_writer.quantize(onnx_fp32, numbers, quant_type="uint8")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("conv2d.weight_quantized", "the weight codes of conv2d with"),
        ("conv2d.weight_scale", "the weight scales of conv2d with"),
        ("conv2d_5.bias_quantized", "the biases of conv2d_5 with"),
        ("conv2d_5.bias_quantized_scale", "the biases of conv2d_5 with"),
        ("dense.weight_quantized", "the weight codes of dense with"),
        ("dense.weight_zero_point", "the weight zero points of dense with"),
        ("activation_scale", "activation with"),
        ("activation_zero_point", "activation with"),
    ],
)
def test_check_names_a_number_that_was_written_otherwise(
    model: onnx.ModelProto, onnx_fp32: Any, numbers: Numbers, name: str, message: str
) -> None:
    check(model, onnx_fp32, numbers)
    add_one(model, name)
    with pytest.raises(ArtifactError, match=f"ONNX Runtime must write {message}"):
        check(model, onnx_fp32, numbers)


def test_check_names_an_operator_that_is_gone(
    model: onnx.ModelProto, onnx_fp32: Any, numbers: Numbers
) -> None:
    (pool,) = [x for x in model.graph.node if x.op_type == "AveragePool"]
    pool.op_type = "MaxPool"
    with pytest.raises(
        ArtifactError, match="node average_pooling2d with 'AveragePool', got 'MaxPool'"
    ):
        check(model, onnx_fp32, numbers)


def test_check_names_a_type_that_was_not_asked_for(onnx_fp32: Any, numbers: Numbers) -> None:
    model = onnx_writer.quantize(onnx_fp32, numbers, quant_type="uint8_int8")
    with pytest.raises(ArtifactError, match="must write weights with .+, got .+int8"):
        check(model, onnx_fp32, numbers)


def test_read_written_gives_back_what_was_decided(onnx_quantized: Any, numbers: Numbers) -> None:
    written = read_written(onnx_quantized[1], numbers.layers)
    for name, layer in numbers.layers.items():
        assert np.array_equal(written.layers[name].codes, layer.codes)
        assert np.array_equal(written.layers[name].bias, layer.bias)
    assert set(written.activations) == set(numbers.activations)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: x._replace(scale=x.scale * np.float32(1.5)), "the weight scales of conv2d_1"),
        (lambda x: x._replace(codes=-x.codes), "the weight codes of conv2d_1"),
        (lambda x: x._replace(bias=x.bias + np.float32(0.1)), "the biases of conv2d_1"),
    ],
    ids=["scale", "codes", "bias"],
)
def test_check_of_pytorch_names_what_was_written_otherwise(
    torch_int8: Any, torch_fp32: Any, numbers: Numbers, change: Any, message: str
) -> None:
    torch_writer.check(torch_int8, torch_fp32, numbers)
    others = numbers.layers | {"conv2d_1": change(numbers.layers["conv2d_1"])}
    with pytest.raises(ArtifactError, match=f"torchao must write {message}"):
        torch_writer.check(torch_int8, torch_fp32, numbers._replace(layers=others))


def test_check_of_pytorch_names_a_tensor(
    torch_int8: Any, torch_fp32: Any, numbers: Numbers
) -> None:
    others = numbers.activations | {
        "add": numbers.activations["input"]._replace(zero_point=3),
        "activation_1": numbers.activations["activation_1"]._replace(zero_point=3),
    }
    with pytest.raises(ArtifactError, match="torchao must write (add|activation_1) with"):
        torch_writer.check(torch_int8, torch_fp32, numbers._replace(activations=others))
