"""Layers with weights: what is read is what is written, and rounding is NumPy's."""

from typing import Any

import numpy as np
import pytest

from resnet8.core.qparams import QuantizationParameters
from resnet8.models.onnx_graph import fake_quantized, with_parameters
from resnet8.quantize.layers import read_layers
from tests.quantize.graphs import build, computed, drawn, node

KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "Conv": ("Conv", {}),
    "Gemm": ("Gemm", {"transB": 0}),
    "Gemm with outputs first": ("Gemm", {"transB": 1}),
    "MatMul": ("MatMul", {}),
}


@pytest.mark.parametrize("name", KINDS)
def test_with_parameters_writes_what_read_layers_reads_outputs_first(name: str) -> None:
    operator, attributes = KINDS[name]
    rng, is_conv = np.random.default_rng(0), operator == "Conv"
    weight = rng.normal(size=(5, 3, 3, 3) if is_conv else (5, 6)).astype(np.float32)
    arrays = {"x.weight": weight}
    if not is_conv and not attributes.get("transB"):
        arrays["x.weight"] = np.ascontiguousarray(weight.T)
    if operator != "MatMul":
        arrays["x.bias"] = rng.normal(size=5).astype(np.float32)
    step = node(operator, "x", "input", *arrays, **attributes)
    model = build([step], arrays, shape=(3, 8, 8) if is_conv else (6,))
    (layer,) = read_layers(model)
    assert (layer.name, layer.input, layer.output) == ("x", "input", "x")
    np.testing.assert_array_equal(layer.weight, weight)
    np.testing.assert_array_equal(layer.bias, arrays.get("x.bias"))
    again = with_parameters(model, {"x": (layer.weight, layer.bias)})
    assert again.SerializeToString() == model.SerializeToString()
    (changed,) = read_layers(with_parameters(model, {"x": (weight + 1, None)}))
    np.testing.assert_array_equal(changed.weight, weight + 1)
    np.testing.assert_array_equal(changed.bias, arrays.get("x.bias"))


def test_with_parameters_gives_each_of_two_layers_with_one_weight_its_own() -> None:
    steps = [node("Conv", "a", "input", "shared"), node("Conv", "b", "a", "shared")]
    weight = np.random.default_rng(0).normal(size=(3, 3, 1, 1)).astype(np.float32)
    model = build(steps, {"shared": weight})
    changed = with_parameters(model, {"a": (weight * 2, None), "b": (weight * 3, None)})
    weights = [layer.weight for layer in read_layers(changed)]
    np.testing.assert_array_equal(weights, [weight * 2, weight * 3])


@pytest.mark.parametrize(
    ("operator", "shape", "attributes"),
    [
        ("Gemm", (6, 5), {"alpha": 2.0}),
        ("Gemm", (4, 5), {"transA": 1}),
        ("MatMul", (3, 6, 5), {}),
        ("Relu", None, {}),
    ],
    ids=["scaled", "transposed input", "batch of weights", "no weights"],
)
def test_read_layers_leaves_out_what_multiplies_otherwise(
    operator: str, shape: Any, attributes: Any
) -> None:
    arrays = {"w": np.zeros(shape, np.float32)} if shape else {}
    step = node(operator, "x", "input", *arrays, **attributes)
    assert read_layers(build([step], arrays, shape=(6,))) == []


def test_read_layers_leaves_out_weights_that_are_computed() -> None:
    steps = [node("Relu", "w", "stored"), node("MatMul", "x", "input", "w")]
    assert read_layers(build(steps, {"stored": np.zeros((6, 5), np.float32)}, shape=(6,))) == []


def round_trip(values: Any, parameters: QuantizationParameters) -> Any:
    scale, zero_point, *_ = parameters
    codes = np.clip(np.rint(values / scale) + zero_point, 0, 255)
    return ((codes - zero_point) * scale).astype(np.float32)


def test_fake_quantized_rounds_tensors_as_numpy_does_for_all_readers() -> None:
    steps = [
        node("Relu", "a", "input"),
        node("Mul", "b", "a", "factor"),
        node("Neg", "c", "b"),
        node("Add", "d", "b", "c"),
    ]
    model = build(steps, {"factor": np.array(0.37, np.float32)})
    parameters = {
        "input": QuantizationParameters.per_tensor(0.9, 3),
        "b": QuantizationParameters.per_tensor(0.25, 7),
    }
    images = drawn(model)
    tensors = computed(fake_quantized(model, parameters), images)
    rounded = round_trip(images.astype(np.float32), parameters["input"])
    np.testing.assert_array_equal(tensors["a"], rounded)
    np.testing.assert_array_equal(tensors["b"], rounded * np.float32(0.37))
    again = round_trip(tensors["b"], parameters["b"])
    np.testing.assert_array_equal(tensors["b/rounded"], again)
    np.testing.assert_array_equal(tensors["c"], -again)
    assert not tensors["d"].any()
