"""ONNX Runtime's quantized models: everything that should be in 8 bits is, and nothing else."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from resnet8.compare.comparison import kl_divergence
from resnet8.core.errors import ParamsError
from resnet8.core.evaluation import predict
from resnet8.core.qparams import QuantizationParameters
from resnet8.models import onnx_model, torch_model
from resnet8.quantize import onnx_writer, torch_writer
from resnet8.quantize.layers import read_layers
from resnet8.quantize.quantization import Quantization
from tests.quantize.graphs import QUICK, fitted, small_resnet

# What Q/DQ pairs give is the same in all types; float sums may be ordered otherwise.
ATOL_TYPES = 1e-6
FLOAT_LAYERS = ("conv2d", "conv2d_2", "dense")
# What layers in float may add by chance; neighbors that do not fit them cost a hundredfold.
ROOM = 1.5


def opened(
    model: onnx.ModelProto, folder: Path, level: str = "ALL", *, allow_int8: bool = False
) -> onnx.ModelProto:
    """The model as ONNX Runtime optimizes it when it opens the file."""
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(folder / "opened.onnx")
    options.log_severity_level = 4
    options.graph_optimization_level = getattr(ort.GraphOptimizationLevel, f"ORT_ENABLE_{level}")
    if allow_int8:  # on x86, ONNX Runtime prefers float to most S8 convolutions
        options.add_session_config_entry("session.qdqisint8allowed", "1")
    ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return onnx.load(folder / "opened.onnx")


def test_onnx_runtime_runs_integer_kernels(onnx_quantized: Any, tmp_path: Path) -> None:
    name, model = onnx_quantized
    graph = opened(model, tmp_path, "EXTENDED", allow_int8=name == "int8").graph
    operators = Counter(node.op_type for node in graph.node)
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


def code_by_code(weight: Any, parameters: QuantizationParameters) -> Any:
    """The int8 codes that weights stand for, in double precision."""
    scale = np.broadcast_to(parameters.scale, len(weight)).reshape(-1, *[1] * (weight.ndim - 1))
    return np.rint(weight.astype(np.float64) / scale) + parameters.zero_point.max()


def assert_given_parameters(
    model: onnx.ModelProto, source: onnx.ModelProto, given: Quantization
) -> None:
    """Checks scales, zero points, codes and biases as the file has them."""
    arrays = {x.name: onnx.numpy_helper.to_array(x) for x in model.graph.initializer}
    inputs = {node.name: node.input for node in source.graph.node}
    offset = {np.dtype(np.int8): 128, np.dtype(np.uint8): 0}
    steps = {x.input[0]: x.input[1:] for x in model.graph.node if x.op_type == "QuantizeLinear"}
    assert steps.keys() == given.activations.keys()
    for tensor, parameters in given.activations.items():
        scale, zero_point = (arrays[name] for name in steps[tensor])
        assert float(scale) == parameters.scale, tensor
        assert int(zero_point) + offset[zero_point.dtype] == parameters.zero_point, tensor
    for name, parameters in given.weights.items():
        tensor, weight, bias = inputs[name]
        codes, scale, zero_point = (
            arrays[f"{weight}_{part}"] for part in ("quantized", "scale", "zero_point")
        )
        moved = offset[codes.dtype] - 128  # int8 codes are what a quantization has
        stored = codes.T if name == "dense" else codes
        expected = code_by_code(given.layers[name].weight.values, parameters)
        np.testing.assert_array_equal(stored.astype(int) + moved, expected, err_msg=name)
        assert scale.shape == parameters.scale.shape
        np.testing.assert_array_equal(scale, parameters.scale)
        np.testing.assert_array_equal(zero_point.astype(int) + moved, parameters.zero_point)
        step = parameters.scale.astype(np.float64) * float(given.activations[tensor].scale)
        steps_of_bias = np.rint(given.layers[name].bias / step)
        assert arrays[f"{bias}_quantized"].dtype == np.int32
        np.testing.assert_array_equal(arrays[f"{bias}_quantized"], steps_of_bias, err_msg=name)


def test_quantize_writes_the_same_codes_in_all_types_and_the_same_bytes_twice(
    onnx_quantized: Any, onnx_fp32: Any, quantization: Quantization, test_set: Any
) -> None:
    quant_type, model = onnx_quantized
    assert_given_parameters(model, onnx_fp32, quantization)
    before = onnx_fp32.SerializeToString(deterministic=True)
    again = onnx_writer.quantize(onnx_fp32, quantization, quant_type=quant_type)
    assert again.SerializeToString(deterministic=True) == model.SerializeToString(
        deterministic=True
    )
    assert onnx_fp32.SerializeToString(deterministic=True) == before
    images = test_set[0][:50].astype(np.float32)
    reference = onnx_writer.quantize(onnx_fp32, quantization, quant_type="int8")
    expected, actual = (
        onnx_model.make_predictor(x, as_written=True)(images) for x in (reference, model)
    )
    np.testing.assert_allclose(actual, expected, atol=ATOL_TYPES)


@pytest.mark.parametrize(
    ("quant_type", "changes"),
    [
        ("int8", {"per_channel": False}),
        ("uint8", {"per_channel": False, "weight_symmetric": False}),
        ("uint8_int8", {"activation_symmetric": True}),
        ("uint8", {"float_layers": ["conv1", "add", "flatten"]}),
    ],
    ids=["per tensor", "asymmetric weights", "symmetric activations", "float layers"],
)
def test_quantize_writes_parameters_of_every_form(
    fit_settings: Any, quant_type: Any, changes: Any
) -> None:
    model = small_resnet()
    given = fitted(model, fit_settings, **QUICK | changes)
    quantized = onnx_writer.quantize(model, given, quant_type=quant_type)
    assert_given_parameters(quantized, model, given)


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


def test_layers_that_are_left_in_float_stay_in_float_and_make_no_model_worse(
    *,
    onnx_fp32: Any,
    torch_fp32: Any,
    calibration_images: Any,
    quantization: Quantization,
    fit_settings: Any,
    test_set: Any,
    tmp_path: Path,
) -> None:
    assert quantization.equalization.groups  # neighbors are equalized
    given = fitted(onnx_fp32, fit_settings, calibration_images, float_layers=list(FLOAT_LAYERS))
    model = onnx_writer.quantize(onnx_fp32, given, quant_type="int8")
    onnx.checker.check_model(model, full_check=True)
    stored = [
        onnx.numpy_helper.to_array(x).size
        for x in opened(model, tmp_path).graph.initializer
        if x.data_type == onnx.TensorProto.FLOAT and len(x.dims) > 1
    ]
    sizes = {layer.name: layer.weight.size for layer in read_layers(onnx_fp32)}
    assert {sizes[name] for name in FLOAT_LAYERS} <= set(stored)

    in_8_bits = onnx_writer.quantize(onnx_fp32, quantization, quant_type="int8")
    original, reference, in_onnx, in_torch = (
        predict(predictor, test_set[0][:200], batch_size=100)
        for predictor in (
            *map(onnx_model.make_predictor, (onnx_fp32, in_8_bits, model)),
            torch_model.make_predictor(torch_writer.quantize(torch_fp32, given)),
        )
    )
    limit = ROOM * kl_divergence(original, reference)
    assert kl_divergence(original, in_onnx) <= limit
    assert kl_divergence(original, in_torch) <= limit
