"""Layers with weights: what is read is what is written, and rounding is NumPy's."""

from typing import Any

import numpy as np
import onnx
import pytest

from resnet8.core.qparams import QuantizationParameters
from resnet8.models.onnx_graph import fake_quantized, with_parameters
from resnet8.quantize.layers import read_layers
from tests.quantize import graphs

KINDS = {
    "Conv": {},
    "Gemm": {"transB": 0},
    "Gemm with outputs first": {"transB": 1},
    "MatMul": {},
}


def one_layer(name: str) -> tuple[onnx.ModelProto, Any, Any]:
    """A model of one layer, its weight with outputs first, and its bias."""
    rng = np.random.default_rng(0)
    shape = (5, 3, 3, 3) if name == "Conv" else (5, 6)
    weight = rng.normal(size=shape).astype(np.float32)
    bias = None if name == "MatMul" else rng.normal(size=5).astype(np.float32)
    outputs_first = name in ("Conv", "Gemm with outputs first")
    arrays = {"x.weight": weight if outputs_first else np.ascontiguousarray(weight.T)}
    if bias is not None:
        arrays["x.bias"] = bias
    step = graphs.node(name.split(maxsplit=1)[0], "x", "input", *arrays, **KINDS[name])
    return graphs.build([step], arrays, shape=shape[1:2] + (8, 8) * (name == "Conv")), weight, bias


@pytest.mark.parametrize("name", KINDS)
def test_read_layers_puts_outputs_first(name: str) -> None:
    model, weight, bias = one_layer(name)
    (layer,) = read_layers(model)
    assert (layer.name, layer.input, layer.output) == ("x", "input", "x")
    np.testing.assert_array_equal(layer.weight, weight)
    np.testing.assert_array_equal(layer.bias, bias)


@pytest.mark.parametrize("name", KINDS)
def test_with_parameters_writes_what_read_layers_read(name: str) -> None:
    model, _, _ = one_layer(name)
    (layer,) = read_layers(model)
    again = with_parameters(model, {"x": (layer.weight, layer.bias)})
    assert again.SerializeToString() == model.SerializeToString()


def test_with_parameters_leaves_the_bias_without_another() -> None:
    model, weight, bias = one_layer("Conv")
    (layer,) = read_layers(with_parameters(model, {"x": (weight + 1, None)}))
    np.testing.assert_array_equal(layer.bias, bias)
    np.testing.assert_array_equal(layer.weight, weight + 1)


def test_with_parameters_gives_each_of_two_layers_with_one_weight_its_own() -> None:
    steps = [
        graphs.node("Conv", "a", "input", "shared"),
        graphs.node("Conv", "b", "a", "shared"),
    ]
    weight = np.random.default_rng(0).normal(size=(3, 3, 1, 1)).astype(np.float32)
    model = graphs.build(steps, {"shared": weight})
    changed = with_parameters(model, {"a": (weight * 2, None), "b": (weight * 3, None)})
    found = [layer.weight for layer in read_layers(changed)]
    np.testing.assert_array_equal(found, [weight * 2, weight * 3])


@pytest.mark.parametrize(
    ("operator", "shapes", "attributes"),
    [
        ("Gemm", (2, 6, 5), {"alpha": 2.0}),
        ("Gemm", (2, 4, 5), {"transA": 1}),
        ("MatMul", (3, 6, 5), {}),
        ("Relu", (), {}),
    ],
    ids=["scaled", "transposed input", "batch of weights", "no weights"],
)
def test_read_layers_leaves_out_what_multiplies_otherwise(
    operator: str, shapes: Any, attributes: Any
) -> None:
    arrays = {"w": np.zeros(shapes[-2:] if shapes[:1] == (2,) else shapes, np.float32)}
    step = graphs.node(operator, "x", "input", *(["w"] if shapes else []), **attributes)
    assert read_layers(graphs.build([step], arrays if shapes else {}, shape=(6,))) == []


def test_read_layers_leaves_out_weights_that_are_computed() -> None:
    weight = np.zeros((6, 5), np.float32)
    steps = [graphs.node("Relu", "w", "stored"), graphs.node("MatMul", "x", "input", "w")]
    assert read_layers(graphs.build(steps, {"stored": weight}, shape=(6,))) == []


def round_trip(values: Any, parameters: QuantizationParameters) -> Any:
    scale, zero_point, *_ = parameters
    codes = np.clip(np.rint(values / scale) + zero_point, 0, 255)
    return ((codes - zero_point) * scale).astype(np.float32)


def test_fake_quantized_rounds_tensors_as_numpy_does() -> None:
    steps = [graphs.node("Relu", "a", "input"), graphs.node("Mul", "b", "a", "factor")]
    model = graphs.build(steps, {"factor": np.array(0.37, np.float32)})
    qparams = {
        "input": QuantizationParameters.per_tensor(0.9, 3),
        "b": QuantizationParameters.per_tensor(0.25, 7),
    }
    images = graphs.drawn(model)
    found = graphs.computed(fake_quantized(model, qparams), images)
    seen = round_trip(images.astype(np.float32), qparams["input"])
    np.testing.assert_array_equal(found["a"], seen)
    np.testing.assert_array_equal(found["b"], seen * np.float32(0.37))
    rounded = round_trip(seen * np.float32(0.37), qparams["b"])
    np.testing.assert_array_equal(found["b/rounded"], rounded)


def test_fake_quantized_gives_all_readers_the_rounded_values() -> None:
    steps = [
        graphs.node("Relu", "a", "input"),
        graphs.node("Neg", "b", "a"),
        graphs.node("Add", "c", "a", "b"),
        graphs.node("Abs", "d", "a"),
    ]
    model = fake_quantized(
        graphs.build(steps, {}), {"a": QuantizationParameters.per_tensor(50.0, 0)}
    )
    found = graphs.computed(model, graphs.drawn(model))
    assert set(np.unique(found["d"]).tolist()) <= {0.0, 50.0, 100.0, 150.0, 200.0, 250.0}
    assert not found["c"].any()
