"""ONNX Runtime's quantized models: everything that should be in 8 bits is."""

import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from resnet8.core.errors import ArtifactError, ParamsError
from resnet8.core.evaluation import predict
from resnet8.core.qparams import QuantizationParameters
from resnet8.models import onnx_model
from resnet8.quantize import onnx_writer
from resnet8.quantize.fit import fit
from resnet8.quantize.quantization import Quantization

# Settings that need no second look at the images.
QUICK = {
    "activation_range": "minmax",
    "equalization": 0.0,
    "weight_rounding": "nearest",
    "bias_correction": False,
}
# What Q/DQ pairs give is the same in all types; float sums may be ordered otherwise.
ATOL_TYPES = 1e-6


def arrays_of(model: onnx.ModelProto) -> dict[str, Any]:
    return {x.name: onnx.numpy_helper.to_array(x) for x in model.graph.initializer}


def test_onnx_runtime_runs_integer_kernels(onnx_quantized: Any, tmp_path: Path) -> None:
    name, model = onnx_quantized
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    options.log_severity_level = 3
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    if name == "int8":  # on x86, ONNX Runtime prefers float to most S8 convolutions
        options.add_session_config_entry("session.qdqisint8allowed", "1")
    ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    operators = Counter(node.op_type for node in onnx.load(tmp_path / "optimized.onnx").graph.node)
    kernels = {"QLinearConv": 9, "QLinearAdd": 3, "QLinearAveragePool": 1, "QGemm": 1}
    assert {name: operators[name] for name in kernels} == kernels
    assert not {"Conv", "Add", "AveragePool", "Gemm"} & operators.keys()


@pytest.mark.parametrize("saturate", [True, False])
def test_saturates_where_signs_are_mixed_and_products_saturate(
    onnx_quantized: Any, monkeypatch: pytest.MonkeyPatch, saturate: bool
) -> None:
    name, model = onnx_quantized
    monkeypatch.setattr(onnx_model, "products_saturate", lambda: saturate)
    assert onnx_model.saturates(model) == (saturate and name == "uint8_int8")


@pytest.fixture(scope="module")
def fitted(onnx_fp32: Any, calibration_images: Any, fit_settings: Any) -> Any:
    """A function that fits a quantization the quick way, with other settings."""

    def run(**changes: Any) -> Quantization:
        settings = fit_settings.model_copy(update=QUICK | changes)
        points = onnx_writer.find_points(
            onnx_fp32, symmetric=settings.activation_symmetric, float_layers=settings.float_layers
        )
        return fit(onnx_fp32, calibration_images[:20], settings, points=points)

    return run


def code_by_code(weight: Any, parameters: QuantizationParameters) -> Any:
    """The int8 codes that weights stand for, in double precision."""
    scale = np.broadcast_to(parameters.scale, len(weight)).reshape(-1, *[1] * (weight.ndim - 1))
    return np.rint(weight.astype(np.float64) / scale) + parameters.zero_point.max()


def assert_given_parameters(
    model: onnx.ModelProto, source: onnx.ModelProto, given: Quantization
) -> None:
    """Checks scales, zero points, codes and biases as the file has them."""
    arrays = arrays_of(model)
    inputs = {node.name: node.input for node in source.graph.node}
    offset = {np.dtype(np.int8): 128, np.dtype(np.uint8): 0}
    rounded = {x.input[0] for x in model.graph.node if x.op_type == "QuantizeLinear"}
    assert rounded == given.activations.keys()
    own = {x.input[0]: x.input[1:] for x in model.graph.node if x.op_type == "QuantizeLinear"}
    for tensor, parameters in given.activations.items():
        scale, zero_point = (arrays[name] for name in own[tensor])
        assert float(scale) == parameters.scale, tensor
        assert int(zero_point) + offset[zero_point.dtype] == parameters.zero_point, tensor
    for name, parameters in given.weights.items():
        tensor, weight, bias = inputs[name]
        codes, scale, zero_point = (
            arrays[f"{weight}_{part}"] for part in ("quantized", "scale", "zero_point")
        )
        moved = offset[codes.dtype] - 128  # int8 codes are what a quantization has
        stored = codes.T if name == "dense" else codes
        values = given.layers[name].weight.values
        expected = code_by_code(values, parameters)
        np.testing.assert_array_equal(stored.astype(int) + moved, expected, err_msg=name)
        assert scale.shape == parameters.scale.shape
        np.testing.assert_array_equal(scale, parameters.scale)
        np.testing.assert_array_equal(zero_point.astype(int) + moved, parameters.zero_point)
        step = parameters.scale.astype(np.float64) * float(given.activations[tensor].scale)
        steps = np.rint(given.layers[name].bias / step)
        assert arrays[f"{bias}_quantized"].dtype == np.int32
        np.testing.assert_array_equal(arrays[f"{bias}_quantized"], steps, err_msg=name)


def test_quantize_writes_the_parameters_that_are_given(
    onnx_quantized: Any, onnx_fp32: Any, quantization: Quantization
) -> None:
    assert_given_parameters(onnx_quantized[1], onnx_fp32, quantization)


@pytest.mark.parametrize(
    ("quant_type", "changes"),
    [
        ("int8", {"per_channel": False}),
        ("uint8", {"per_channel": False, "weight_symmetric": False}),
        ("uint8_int8", {"activation_symmetric": True}),
        ("uint8", {"float_layers": ["conv2d_3", "add_1", "flatten"]}),
    ],
    ids=["per tensor", "asymmetric weights", "symmetric activations", "float layers"],
)
def test_quantize_writes_parameters_of_every_form(
    onnx_fp32: Any, fitted: Any, quant_type: Any, changes: Any
) -> None:
    given = fitted(**changes)
    model = onnx_writer.quantize(onnx_fp32, given, quant_type=quant_type)
    assert_given_parameters(model, onnx_fp32, given)


def test_types_give_the_same_predictions_where_sums_are_float(
    onnx_quantized: Any, onnx_fp32: Any, quantization: Quantization, test_set: Any
) -> None:
    reference = onnx_writer.quantize(onnx_fp32, quantization, quant_type="int8")
    expected, found = (
        onnx_model.make_predictor(x, as_written=True)(test_set[0][:50].astype(np.float32))
        for x in (reference, onnx_quantized[1])
    )
    np.testing.assert_allclose(found, expected, atol=ATOL_TYPES)


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


def test_find_points_refuses_a_float_layer_that_is_not_there(onnx_fp32: Any) -> None:
    message = (
        r"^fit\.float_layers must name layers out of conv2d_permute, conv2d, .+, dense_softmax, "
        r"got conv2d_33\.$"
    )
    with pytest.raises(ParamsError, match=message):
        onnx_writer.find_points(onnx_fp32, symmetric=False, float_layers=["conv2d_3", "conv2d_33"])


def test_find_points_maps_tensors_in_8_bits_to_those_whose_scale_they_take(onnx_fp32: Any) -> None:
    points = onnx_writer.find_points(onnx_fp32, symmetric=False)
    assert points["activation_6"] == "activation_6"
    assert points["average_pooling2d"] == points["flatten"] == "average_pooling2d"
    assert not {"dense", "probabilities", "conv2d"} & points.keys()
    # An asymmetric range replaces a ReLU, a symmetric range does not.
    assert "conv2d" in onnx_writer.find_points(onnx_fp32, symmetric=True)


def test_predictions_mostly_agree_with_float_but_are_not_the_same(
    onnx_quantized: Any, onnx_fp32: Any, test_set: Any
) -> None:
    images, _ = test_set
    before, after = (
        predict(onnx_model.make_predictor(model), images, batch_size=100)
        for model in (onnx_fp32, onnx_quantized[1])
    )
    agreement = np.mean(before.argmax(axis=1) == after.argmax(axis=1))
    assert agreement >= 0.95
    assert np.abs(before - after).max() > 1e-3


def test_file_gives_the_same_predictions_in_a_process_with_onnx_runtime_alone(
    onnx_quantized: Any, test_set: Any, tmp_path: Path
) -> None:
    images = test_set[0][:16].astype(np.float32)
    onnx.save(onnx_quantized[1], tmp_path / "model.onnx")
    np.save(tmp_path / "images.npy", images)
    script = """
import sys
sys.modules.update(dict.fromkeys(["onnx", "resnet8"]))
import numpy, onnxruntime
options = onnxruntime.SessionOptions()
options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
options.add_session_config_entry("session.disable_quant_qdq", sys.argv[1])
providers = ["CPUExecutionProvider"]
session = onnxruntime.InferenceSession("model.onnx", options, providers=providers)
numpy.save("out.npy", session.run(None, {"input": numpy.load("images.npy")})[0])
"""
    as_written = str(int(onnx_quantized[0] == "int8"))
    subprocess.run([sys.executable, "-c", script, as_written], cwd=tmp_path, check=True)
    expected = onnx_model.make_predictor(onnx_quantized[1])(images)
    np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), expected)


def test_quantize_gives_the_same_bytes_twice_and_leaves_the_float_model_alone(
    onnx_fp32: Any, quantization: Quantization
) -> None:
    before = onnx_fp32.SerializeToString(deterministic=True)
    first, second = (
        onnx_writer.quantize(onnx_fp32, quantization, quant_type="uint8").SerializeToString(
            deterministic=True
        )
        for _ in range(2)
    )
    assert first == second
    assert onnx_fp32.SerializeToString(deterministic=True) == before
