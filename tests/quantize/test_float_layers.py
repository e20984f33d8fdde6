"""Layers that are left in float by name: really in float, among equalized neighbours."""

from pathlib import Path
from typing import Any

import onnx
import onnxruntime as ort
import pytest

from resnet8.compare.comparison import kl_divergence
from resnet8.core.evaluation import predict
from resnet8.models import onnx_model, torch_model
from resnet8.quantize import onnx_writer, torch_writer
from resnet8.quantize.fit import fit
from resnet8.quantize.layers import read_layers
from resnet8.quantize.quantization import Quantization

LAYERS = ("conv2d_2", "dense")
# What a layer in float may add by chance; neighbours that do not fit it cost a hundredfold.
ROOM = 1.5


@pytest.fixture(scope="module")
def given(onnx_fp32: Any, calibration_images: Any, fit_settings: Any) -> Any:
    """A function that fits with some layers in float, and everything else as in params.yaml."""

    def run(*layers: str) -> Quantization:
        settings = fit_settings.model_copy(update={"float_layers": list(layers)})
        assert settings.equalization > 0
        points = onnx_writer.find_points(onnx_fp32, symmetric=False, float_layers=layers)
        return fit(onnx_fp32, calibration_images, settings, points=points)

    return run


@pytest.fixture(scope="module")
def divergence(onnx_fp32: Any, test_set: Any, given: Any) -> Any:
    """A function that compares a predictor with the float model: as a multiple of all in 8 bits."""
    images = test_set[0]
    original = predict(onnx_model.make_predictor(onnx_fp32), images, batch_size=100)

    def found(predictor: Any) -> float:
        return kl_divergence(original, predict(predictor, images, batch_size=100))

    model = onnx_writer.quantize(onnx_fp32, given(), quant_type="uint8")
    in_8_bits = found(onnx_model.make_predictor(model))
    return lambda predictor: found(predictor) / in_8_bits


@pytest.mark.parametrize("layer", LAYERS)
def test_a_layer_in_float_makes_no_model_worse(
    given: Any, onnx_fp32: Any, torch_fp32: Any, divergence: Any, layer: str
) -> None:
    quantization = given(layer)
    model = onnx_writer.quantize(onnx_fp32, quantization, quant_type="uint8")
    module = torch_writer.quantize(torch_fp32, quantization)
    assert divergence(onnx_model.make_predictor(model)) <= ROOM
    assert divergence(torch_model.make_predictor(module)) <= ROOM


def test_onnx_runtime_keeps_layers_in_float_when_it_opens_the_model(
    given: Any, onnx_fp32: Any, tmp_path: Path
) -> None:
    quantization = given("conv2d", "dense")
    model = onnx_writer.quantize(onnx_fp32, quantization, quant_type="int8")
    onnx.checker.check_model(model, full_check=True)
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "opened.onnx")
    options.log_severity_level = 4
    ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    opened = onnx.load(tmp_path / "opened.onnx")
    weights = [
        onnx.numpy_helper.to_array(x).size
        for x in opened.graph.initializer
        if x.data_type == onnx.TensorProto.FLOAT and len(x.dims) > 1
    ]
    layers = {layer.name: layer.weight.size for layer in read_layers(onnx_fp32)}
    assert {layers["conv2d"], layers["dense"]} <= set(weights)
