"""Layers with weights: what is read is what is written, and rounding is NumPy's."""

from typing import Any

import numpy as np
import pytest

from resnet8.core.qparams import QuantizationParameters
from resnet8.models.onnx_graph import fake_quantized, with_parameters
from resnet8.quantize.layers import read_layers
from tests.quantize.graphs import build, computed, drawn, node

RNG = np.random.default_rng(0)
MATRIX = RNG.normal(size=(5, 6)).astype(np.float32)
BIAS = RNG.normal(size=5).astype(np.float32)
# Operator, weight as read, weight as stored, bias, attributes.
READ: dict[str, tuple[str, Any, Any, Any, dict[str, Any]]] = {
    "Conv": ("Conv", kernel := MATRIX[:, :3].reshape(5, 3, 1, 1), kernel, BIAS, {}),
    "Gemm": ("Gemm", MATRIX, MATRIX.T, BIAS, {"transB": 0}),
    "Gemm with outputs first": ("Gemm", MATRIX, MATRIX, BIAS, {"transB": 1}),
    "MatMul": ("MatMul", MATRIX, MATRIX.T, None, {}),
}
LEFT_OUT: dict[str, tuple[str, Any, dict[str, Any]]] = {
    "scaled": ("Gemm", (6, 5), {"alpha": 2.0}),
    "transposed input": ("Gemm", (4, 5), {"transA": 1}),
    "batch of weights": ("MatMul", (3, 6, 5), {}),
    "no weights": ("Relu", None, {}),
}


@pytest.mark.parametrize("name", READ)
def test_with_parameters_writes_what_read_layers_reads_outputs_first(name: str) -> None:
    operator, weight, stored, bias, attributes = READ[name]
    arrays = {"x.weight": np.ascontiguousarray(stored)} | ({} if bias is None else {"b": bias})
    step = node(operator, "x", "input", *arrays, **attributes)
    model = build([step], arrays, shape=(3, 8, 8) if operator == "Conv" else (6,))
    (layer,) = read_layers(model)
    assert (layer.name, layer.input, layer.output) == ("x", "input", "x")
    np.testing.assert_array_equal(layer.weight, weight)
    np.testing.assert_array_equal(layer.bias, bias)
    again = with_parameters(model, {"x": (layer.weight, layer.bias)})
    assert again.SerializeToString() == model.SerializeToString()
    (changed,) = read_layers(with_parameters(model, {"x": (weight + 1, None)}))
    np.testing.assert_array_equal(changed.weight, weight + 1)
    np.testing.assert_array_equal(changed.bias, bias)


@pytest.mark.parametrize("name", LEFT_OUT)
def test_read_layers_leaves_out_what_multiplies_otherwise(name: str) -> None:
    operator, shape, attributes = LEFT_OUT[name]
    arrays = {"w": np.zeros(shape, np.float32)} if shape else {}
    step = node(operator, "x", "input", *arrays, **attributes)
    assert read_layers(build([step], arrays, shape=(6,))) == []


def test_read_layers_leaves_out_weights_that_are_computed() -> None:
    steps = [node("Relu", "w", "stored"), node("MatMul", "x", "input", "w")]
    assert read_layers(build(steps, {"stored": MATRIX.T}, shape=(6,))) == []


def round_trip(values: Any, parameters: QuantizationParameters) -> Any:
    scale, zero_point, *_ = parameters
    codes = np.clip(np.rint(values / scale) + zero_point, 0, 255)
    return ((codes - zero_point) * scale).astype(np.float32)


def test_fake_quantized_rounds_tensors_as_numpy_does_for_all_readers() -> None:
    steps = [
        node("Mul", "b", "input", "factor"),
        node("Neg", "c", "b"),
        node("Add", "d", "b", "c"),
    ]
    model = build(steps, {"factor": np.array(0.37, np.float32)})
    per_tensor = QuantizationParameters.per_tensor
    parameters = {"input": per_tensor(0.9, 3), "b": per_tensor(0.25, 7)}
    images = drawn(model)
    tensors = computed(fake_quantized(model, parameters), images)
    rounded = round_trip(images.astype(np.float32), parameters["input"])
    np.testing.assert_array_equal(tensors["b"], rounded * np.float32(0.37))
    np.testing.assert_array_equal(tensors["c"], -round_trip(tensors["b"], parameters["b"]))
    assert not tensors["d"].any()
