"""Exact values and error bounds of operators, against fractions and float32."""

from fractions import Fraction
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from resnet8.models.onnx_model import open_session
from resnet8.reference.operators import (
    UNIT,
    Bound,
    UnknownOperatorError,
    bound,
    evaluate,
    sum_products,
)
from tests.quantize.graphs import node

OPSET = 17
RNG = np.random.default_rng(0)


def in_float32(operator: onnx.NodeProto, inputs: dict[str, Any]) -> Any:
    """A node's output by ONNX Runtime."""
    info = [
        helper.make_tensor_value_info(x, onnx.TensorProto.FLOAT, inputs[x].shape)
        for x in operator.input[:1]
    ]
    stored = [numpy_helper.from_array(inputs[x], x) for x in operator.input[1:]]
    output = helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)
    graph = helper.make_graph([operator], "one", info, [output], stored)
    opset = helper.make_opsetid("", OPSET)
    model = helper.make_model(graph, opset_imports=[opset], ir_version=8)
    first = operator.input[0]
    return open_session(model).run(None, {first: inputs[first]})[0]


def float32(*shape: int, spread: float = 1.0) -> Any:
    return (RNG.normal(0, spread, shape)).astype(np.float32)


def conv(**attributes: Any) -> onnx.NodeProto:
    return node("Conv", "y", "x", "w", **attributes)


@pytest.mark.parametrize("largest", [255, 2**15], ids=["in float32", "beyond float32"])
@pytest.mark.parametrize(
    ("operator", "shapes"),
    [
        (conv(strides=[2, 1], pads=[1, 0, 2, 1]), [(2, 20, 9, 8), (6, 20, 3, 3)]),
        (conv(group=4, dilations=[2, 2]), [(2, 4, 9, 8), (8, 1, 3, 3)]),
        (conv(auto_pad="SAME_UPPER", strides=[2, 2]), [(2, 3, 8, 8), (5, 3, 3, 3)]),
        (node("Gemm", "y", "x", "w", transB=1), [(4, 300), (10, 300)]),
        (node("MatMul", "y", "x", "w"), [(4, 300), (300, 10)]),
    ],
    ids=["padded", "depthwise", "same", "dense", "matrices"],
)  # fmt: skip
def test_sum_products_is_exact(operator: Any, shapes: Any, largest: int) -> None:
    x = RNG.integers(-largest, largest + 1, shapes[0]).astype(np.float64)
    w = RNG.integers(-127, 128, shapes[1]).astype(np.float64)
    found = sum_products(operator, {"x": x, "w": w}, opset=OPSET)
    assert np.array_equal(found, evaluate(operator, {"x": x, "w": w}, opset=OPSET))


@pytest.mark.parametrize(
    "options",
    [
        {"strides": [2, 2]},
        {"strides": [2, 1], "pads": [1, 0, 1, 1]},
        {"strides": [2, 2], "auto_pad": "SAME_UPPER"},
        {"strides": [2, 2], "auto_pad": "SAME_LOWER"},
        {"auto_pad": "VALID"},
        {"strides": [2, 2], "ceil_mode": 1},
    ],
    ids=str,
)
@pytest.mark.parametrize("name", ["MaxPool", "AveragePool", "AveragePool with its padding"])
def test_evaluate_pools_like_onnx_runtime(name: str, options: Any) -> None:
    included = {"count_include_pad": 1} if "with" in name else {}
    operator = node(name.split(maxsplit=1)[0], "y", "x", kernel_shape=[3, 2], **options, **included)
    x = RNG.integers(-6, 7, (2, 3, 10, 8)).astype(np.float32)  # few sums that float32 rounds
    found = evaluate(operator, {"x": x.astype(np.float64)}, opset=OPSET)
    assert found == pytest.approx(in_float32(operator, {"x": x}), abs=1e-6)


CASES = {
    "Conv": (node("Conv", "y", "x", "w", "b", pads=[1] * 4), [(3, 8, 6, 6), (5, 8, 3, 3), (5,)]),
    "Gemm": (node("Gemm", "y", "x", "w", "b", transB=1), [(7, 300), (9, 300), (9,)]),
    "MatMul": (node("MatMul", "y", "x", "w"), [(7, 300), (300, 9)]),
    "Add": (node("Add", "y", "x", "w"), [(7, 30), (7, 30)]),
    "Sub": (node("Sub", "y", "x", "w"), [(7, 30), (7, 30)]),
    "Mul": (node("Mul", "y", "x", "w"), [(7, 30), (7, 30)]),
    "Div": (node("Div", "y", "x", "w"), [(7, 30), (7, 30)]),
    "AveragePool": (node("AveragePool", "y", "x", kernel_shape=[3, 3]), [(2, 3, 9, 9)]),
    "GlobalAveragePool": (node("GlobalAveragePool", "y", "x"), [(2, 3, 9, 9)]),
    "Sigmoid": (node("Sigmoid", "y", "x"), [(7, 30)]),
    "Tanh": (node("Tanh", "y", "x"), [(7, 30)]),
    "HardSwish": (node("HardSwish", "y", "x"), [(7, 30)]),
    "Elu": (node("Elu", "y", "x"), [(7, 30)]),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_bound_holds_for_onnx_runtime(name: str) -> None:
    operator, shapes = CASES[name]
    inputs = {x: float32(*s) for x, s in zip(operator.input, shapes, strict=True)}
    wide = {x: y.astype(np.float64) for x, y in inputs.items()}
    expected = evaluate(operator, wide, opset=OPSET)
    constants = {x: wide[x] for x in operator.input[1:]}
    found = bound(operator, {"x": Bound(np.abs(wide["x"]), 0)}, constants, opset=OPSET)
    error = np.abs(in_float32(operator, inputs) - expected)
    assert (error <= found.error).all()
    assert (found.magnitude >= np.abs(expected) * (1 - 1e-12)).all()
    assert error.max() > 0  # float32 is another arithmetic


@pytest.mark.parametrize("name", ["Conv", "Gemm", "MatMul"])
def test_bound_of_a_sum_is_gamma_times_the_absolute_products(name: str) -> None:
    operator, shapes = CASES[name]
    inputs = {x: float32(*s).astype(float) for x, s in zip(operator.input, shapes, strict=True)}
    constants = {x: inputs[x] for x in operator.input[1:]}
    found = bound(operator, {"x": Bound(np.abs(inputs["x"]), 0)}, constants, opset=OPSET)
    terms = {"Conv": 8 * 9 + 1, "Gemm": 301, "MatMul": 301}[name]
    assert found.roundings == terms + 3
    total = evaluate(operator, {x: np.abs(y) for x, y in inputs.items()}, opset=OPSET)
    u = Fraction(1, 2**24)
    gamma = found.roundings * u / (1 - found.roundings * u)
    assert found.error == pytest.approx(float(gamma) * total, rel=1e-12)
    assert Fraction(UNIT) == u


@pytest.mark.parametrize(
    ("operator", "expected"),
    [
        (node("Relu", "y", "x"), [[3.0, 2.0]]),
        (node("LeakyRelu", "y", "x", alpha=0.1), [[3.0, 2.0]]),
        (node("Clip", "y", "x", "low", "high"), [[3.0, 2.0]]),
        (node("Transpose", "y", "x", perm=[1, 0]), [[3.0], [2.0]]),
        (node("Max", "y", "x", "half"), [[3.0, 2.0]]),
        (node("Min", "y", "x", "half"), [[3.0, 2.0]]),
    ],
    ids=lambda x: x.op_type if isinstance(x, onnx.NodeProto) else "",
)
def test_bound_passes_through_what_does_not_round(operator: Any, expected: Any) -> None:
    constants = {"low": np.array(0.0), "high": np.array(1.0), "half": np.array([[0.5, 0.5]])}
    found = bound(operator, {"x": Bound(np.array([[3.0, 2.0]]), 5)}, constants, opset=OPSET)
    assert found.magnitude.tolist() == expected
    assert found.roundings == 5


def test_bound_of_a_product_counts_the_roundings_of_both() -> None:
    bounds = {"x": Bound(np.array([2.0]), 3), "w": Bound(np.array([5.0]), 4)}
    found = bound(node("Mul", "y", "x", "w"), bounds, {}, opset=OPSET)
    assert found.magnitude.tolist() == [10.0]
    assert found.roundings > 3 + 4


@pytest.mark.parametrize("name", ["Softmax", "Sqrt"])
def test_bound_knows_nothing_of(name: str) -> None:
    with pytest.raises(UnknownOperatorError, match=name):
        bound(node(name, "y", "x"), {"x": Bound(np.ones((1, 2)), 0)}, {}, opset=OPSET)
