"""Exact values and error bounds of operators, against fractions and float32."""

from fractions import Fraction
from typing import Any

import numpy as np
import onnx
import pytest

from resnet8.models.onnx_model import open_session
from resnet8.reference.operators import (
    Bound,
    UnknownOperatorError,
    bound,
    evaluate,
    sum_products,
)
from tests.quantize.graphs import build, node

OPSET = 17
RNG = np.random.default_rng(0)


def in_float32(operator: onnx.NodeProto, inputs: dict[str, Any]) -> Any:
    """A node's output by ONNX Runtime."""
    values = inputs["input"]
    constants = {name: array for name, array in inputs.items() if name != "input"}
    session = open_session(build([operator], constants, shape=values.shape[1:]))
    return session.run(None, {"input": values})[0]


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
    sums = sum_products(operator, {"x": x, "w": w}, opset=OPSET)
    assert np.array_equal(sums, evaluate(operator, {"x": x, "w": w}, opset=OPSET))


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
    operator = node(
        name.split(maxsplit=1)[0], "y", "input", kernel_shape=[3, 2], **options, **included
    )
    x = RNG.integers(-6, 7, (2, 3, 10, 8)).astype(np.float32)  # few sums that float32 rounds
    pooled = evaluate(operator, {"input": x.astype(np.float64)}, opset=OPSET)
    assert pooled == pytest.approx(in_float32(operator, {"input": x}), abs=1e-6)


# Operator, shapes, and the roundings of its output: terms of a sum, and three more.
CASES = [
    (node("Conv", "y", "input", "w", "b", pads=[1] * 4),
     [(3, 8, 6, 6), (5, 8, 3, 3), (5,)], 8 * 9 + 1 + 3),
    (node("Gemm", "y", "input", "w", "b", transB=1), [(7, 300), (9, 300), (9,)], 300 + 1 + 3),
    (node("MatMul", "y", "input", "w"), [(7, 300), (300, 9)], 300 + 1 + 3),
    (node("Add", "y", "input", "w"), [(7, 30), (7, 30)], 2 + 3),
    (node("Sub", "y", "input", "w"), [(7, 30), (7, 30)], 2 + 3),
    (node("Mul", "y", "input", "w"), [(7, 30), (7, 30)], 2 + 3),
    (node("Div", "y", "input", "w"), [(7, 30), (7, 30)], 2 + 3),
    (node("AveragePool", "y", "input", kernel_shape=[3, 3]), [(2, 3, 9, 9)], 9 + 3),
    (node("GlobalAveragePool", "y", "input"), [(2, 3, 9, 9)], 81 + 3),
    *((node(name, "y", "input"), [(7, 30)], 8) for name in ("Elu", "HardSwish", "Sigmoid", "Tanh")),
]  # fmt: skip


@pytest.mark.parametrize(
    ("operator", "shapes", "roundings"), CASES, ids=[x.op_type for x, *_ in CASES]
)
def test_bound_holds_for_onnx_runtime(operator: Any, shapes: Any, roundings: int) -> None:
    inputs = {x: float32(*s) for x, s in zip(operator.input, shapes, strict=True)}
    wide = {x: y.astype(np.float64) for x, y in inputs.items()}
    expected = evaluate(operator, wide, opset=OPSET)
    constants = {x: wide[x] for x in operator.input[1:]}
    limit = bound(operator, {"input": Bound(np.abs(wide["input"]), 0)}, constants, opset=OPSET)
    assert limit.roundings == roundings
    u = Fraction(1, 2**24)
    gamma = float(roundings * u / (1 - roundings * u))
    assert limit.error == pytest.approx(gamma * limit.magnitude, rel=1e-12)
    error = np.abs(in_float32(operator, inputs) - expected)
    assert (error <= limit.error).all()
    assert (limit.magnitude >= np.abs(expected) * (1 - 1e-12)).all()
    assert error.max() > 0  # float32 is another arithmetic
    if operator.op_type in ("Conv", "Gemm", "MatMul"):  # the sum of absolute products
        total = evaluate(operator, {x: np.abs(y) for x, y in wide.items()}, opset=OPSET)
        assert limit.magnitude == pytest.approx(total, rel=1e-12)


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
    limit = bound(operator, {"x": Bound(np.array([[3.0, 2.0]]), 5)}, constants, opset=OPSET)
    assert limit.magnitude.tolist() == expected
    assert limit.roundings == 5


def test_bound_of_a_product_counts_the_roundings_of_both() -> None:
    bounds = {"x": Bound(np.array([2.0]), 3), "w": Bound(np.array([5.0]), 4)}
    limit = bound(node("Mul", "y", "x", "w"), bounds, {}, opset=OPSET)
    assert (limit.magnitude.tolist(), limit.roundings) == ([10.0], 3 + 4 + 2 + 3)


@pytest.mark.parametrize("name", ["Softmax", "Sqrt"])
def test_bound_is_unknown_of(name: str) -> None:
    with pytest.raises(UnknownOperatorError, match=name):
        bound(node(name, "y", "x"), {"x": Bound(np.ones((1, 2)), 0)}, {}, opset=OPSET)
