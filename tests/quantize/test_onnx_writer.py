"""ONNX Runtime's quantized models: everything that should be in 8 bits is, and nothing else.

tests/reference/test_check.py compares their codes with exact arithmetic.
"""

from collections import Counter
from pathlib import Path
from typing import Any

import onnx
import onnxruntime as ort
import pytest

from resnet8.compare.comparison import kl_divergence
from resnet8.core.errors import ParamsError
from resnet8.core.evaluation import predict
from resnet8.models import onnx_model, torch_model
from resnet8.quantize import onnx_writer, torch_writer
from resnet8.quantize.layers import read_layers
from resnet8.quantize.quantization import Quantization
from tests.quantize.graphs import fitted

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


def test_quantize_gives_the_same_bytes_twice_and_leaves_the_float_model_alone(
    onnx_quantized: Any, onnx_fp32: Any, quantization: Quantization
) -> None:
    quant_type, model = onnx_quantized
    before = onnx_fp32.SerializeToString(deterministic=True)
    again = onnx_writer.quantize(onnx_fp32, quantization, quant_type=quant_type)
    expected = model.SerializeToString(deterministic=True)
    assert again.SerializeToString(deterministic=True) == expected
    assert onnx_fp32.SerializeToString(deterministic=True) == before


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
    images, layers = calibration_images[:100], list(FLOAT_LAYERS)
    given = fitted(onnx_fp32, fit_settings, images, float_layers=layers)
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
