"""Exact values of operators, and bounds of their float32 errors.

Values come from ONNX's reference evaluator, in float64. Bounds follow rounding error analysis: the
error of a sum of n products in float32, added in any order, is at most gamma(n) = n u / (1 - n u)
times the sum of the products' absolute values, with u = 2**-24. A bound is
gamma(roundings) * magnitude; the magnitude of a tensor is its operator applied to the magnitudes
of its inputs and to absolute weights.

Source: N. J. Higham (2002), Accuracy and Stability of Numerical Algorithms, 2nd edition, sections
3.1 and 4.2.
"""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import onnx
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from onnx import helper
from onnx.reference import ReferenceEvaluator

from resnet8.models.onnx_graph import attributes
from resnet8.models.onnx_model import open_session
from resnet8.quantize.patches import find_padding

Values = NDArray[np.float64]
Arrays = Mapping[str, NDArray[Any]]

_WHOLE = 2.0**24  # float32 represents integers up to it
_POOLS = ("AveragePool", "MaxPool")
UNIT = 2.0**-24  # half the distance from 1 to the next larger float32
# Float32 roundings besides the terms of a sum. Dequantizing is one product. A sum of products
# dequantizes the weight, multiplies and adds the bias; a sum of integers is converted and
# multiplied by a product of scales. Quantizing divides, or multiplies by an inverse, and adds the
# zero point.
DEQUANTIZING, ADDING_UP, SCALING_A_SUM, QUANTIZING = 1, 3, 4, 3
# Error of implementations of nonlinear functions, in roundings of 1.
_NONLINEAR_ROUNDINGS = 8

_MOVING = (
    "Concat", "Flatten", "Identity", "Pad", "Reshape", "Slice", "Squeeze", "Transpose", "Unsqueeze",
)  # fmt: skip
_SUMS = ("Add", "AveragePool", "Conv", "Gemm", "GlobalAveragePool", "MatMul", "Mean", "Mul", "Sum")
_SELECTING = ("GlobalMaxPool", "Max", "MaxPool")
# Functions f of one number with |f(x) - f(y)| <= |x - y| and |f(x)| <= |x|.
_CONTRACTING = ("LeakyRelu", "Relu")
# Functions with |f(x) - f(y)| <= 2 |x - y| and |f(x)| <= 2 |x| + 1.
_NONLINEAR = ("Elu", "Erf", "HardSigmoid", "HardSwish", "Selu", "Sigmoid", "Softplus", "Tanh")
# Operators that compute the magnitude of another operator.
_OF_MAGNITUDES = {"Clip": "Identity", "Min": "Max", "Sub": "Add"}


class Bound(NamedTuple):
    """A bound of a float32 error: gamma(roundings) * magnitude.

    magnitude: at least the absolute value of each value.
    roundings: largest number of float32 roundings of each product.
    """

    magnitude: Values
    roundings: int

    @property
    def error(self) -> Values:
        """Largest error of each value."""
        return self.magnitude * (self.roundings * UNIT / (1 - self.roundings * UNIT))


class UnknownOperatorError(ValueError):
    """An operator without a known error bound."""


def evaluate(node: onnx.NodeProto, inputs: Arrays, *, opset: int) -> Values:
    """Computes a node from float64 inputs, or int64 shapes; floats of any type become float64."""
    if node.op_type in _POOLS and inputs[node.input[0]].ndim == 4:
        options = attributes(node)
        if not options.get("ceil_mode") and "dilations" not in options:
            return _pool(node, inputs[node.input[0]])
    given = {x: inputs[x] for x in node.input if x}
    (output,) = ReferenceEvaluator(_model_of(node, given, opset)).run(None, given)
    values = np.asarray(output)
    return values if values.dtype.kind in "bi" else values.astype(np.float64)


def sum_products(node: onnx.NodeProto, inputs: Arrays, *, opset: int) -> Values:
    """Adds products of integers exactly, in a convolution or matrix product without a bias.

    Float32 adds integers up to 2**24 exactly in any order, and many times faster than float64,
    which serves for larger sums.
    """
    values, weights = (inputs[x] for x in node.input)
    axes = tuple(range(1, weights.ndim)) if node.op_type == "Conv" else None
    if np.abs(weights).sum(axis=axes).max() * np.abs(values).max() >= _WHOLE:
        return evaluate(node, inputs, opset=opset)
    given = {x: inputs[x].astype(np.float32) for x in node.input}
    session = open_session(_model_of(node, given, opset))
    return np.asarray(session.run(None, given)[0], np.float64)


def _model_of(node: onnx.NodeProto, inputs: Arrays, opset: int) -> onnx.ModelProto:
    """Returns a model of one node; its output has the type of the first input."""
    types = {x: helper.np_dtype_to_tensor_dtype(array.dtype) for x, array in inputs.items()}
    info = [helper.make_tensor_value_info(x, types[x], array.shape) for x, array in inputs.items()]
    output = helper.make_tensor_value_info(node.output[0], types[node.input[0]], None)
    graph = helper.make_graph([node], "node", info, [output])
    opsets = [helper.make_opsetid("", opset)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def _pool(node: onnx.NodeProto, values: Values) -> Values:
    """Computes a pool over two dimensions; the reference evaluator would loop over all places.

    Source: https://onnx.ai/onnx/operators/onnx__AveragePool.html
    """
    options = attributes(node)
    kernel, strides = options["kernel_shape"], options.get("strides", [1, 1])
    sides = find_padding(options, values.shape[2:], spans=kernel, strides=strides)
    padding = [(0, 0), (0, 0), *sides]

    def windows(array: Values, outside: float) -> Values:
        padded = np.pad(array, padding, constant_values=outside)
        views = sliding_window_view(padded, tuple(kernel), axis=(2, 3))
        return views[:, :, :: strides[0], :: strides[1]]

    if node.op_type == "MaxPool":
        return np.asarray(windows(values, -np.inf).max(axis=(-2, -1)))
    outside = float(options.get("count_include_pad", 0))
    counts = windows(np.ones((1, 1, *values.shape[2:])), outside).sum(axis=(-2, -1))
    return np.asarray(windows(values, 0.0).sum(axis=(-2, -1)) / counts)


def bound(
    node: onnx.NodeProto, bounds: Mapping[str, Bound], constants: Arrays, *, opset: int
) -> Bound:
    """Bounds the error of a node's output, given those of its computed inputs.

    Raises:
        UnknownOperatorError: no bound is known.
    """
    computed = [bounds[x] for x in node.input if x in bounds]
    before = max(x.roundings for x in computed)
    operator = _OF_MAGNITUDES.get(node.op_type, node.op_type)
    if operator in _CONTRACTING:
        return computed[0]
    if operator in _NONLINEAR:
        return Bound(2 * computed[0].magnitude + 1, before + _NONLINEAR_ROUNDINGS)
    divides_by_constant = operator == "Div" and node.input[1] in constants
    if operator not in _MOVING + _SUMS + _SELECTING and not divides_by_constant:
        raise UnknownOperatorError(operator)
    inputs = {x: bounds[x].magnitude if x in bounds else constants[x] for x in node.input if x}
    inputs = {x: np.abs(y) if y.dtype.kind == "f" else y for x, y in inputs.items()}
    positive = onnx.NodeProto()
    positive.CopyFrom(node)
    positive.op_type = operator
    if operator == "Identity":
        del positive.input[1:]
    magnitude = evaluate(positive, inputs, opset=opset)
    if operator in _MOVING + _SELECTING:
        return Bound(magnitude, before)
    total = sum(x.roundings for x in computed) if operator == "Mul" else before
    return Bound(magnitude, total + _count_terms(node, inputs) + ADDING_UP)


def _count_terms(node: onnx.NodeProto, inputs: Arrays) -> int:
    """Returns the largest number of terms of a sum."""
    if node.op_type == "Conv":
        return math.prod(inputs[node.input[1]].shape[1:]) + 1
    if node.op_type in ("Gemm", "MatMul"):
        return int(inputs[node.input[0]].shape[-1]) + 1
    if node.op_type == "AveragePool":
        return math.prod(attributes(node)["kernel_shape"])
    if node.op_type == "GlobalAveragePool":
        return math.prod(inputs[node.input[0]].shape[2:])
    return len(node.input)
