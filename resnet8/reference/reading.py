"""Reads the operations of a quantized network, step by step.

Shape letters: C channels, H x W positions.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx

from resnet8.core.qparams import QuantizationParameters
from resnet8.models.onnx_graph import attributes
from resnet8.models.onnx_model import OUTPUT
from resnet8.reference import operations
from resnet8.reference.network import IMAGES, PIXELS, Network, Step
from resnet8.reference.operations import Operation, Scope, code_of, refuse

_MOVING = ("Flatten", "Identity", "Pad", "Reshape", "Slice", "Squeeze", "Transpose", "Unsqueeze")
_MAX_POOLS = ("GlobalMaxPool", "MaxPool")
# Functions of each number alone; and of two numbers, where one is constant.
_FUNCTIONS = (
    "Abs", "Celu", "Clip", "Elu", "Erf", "HardSigmoid", "HardSwish", "LeakyRelu", "Neg", "Relu",
    "Selu", "Sigmoid", "Softplus", "Softsign", "Tanh", "ThresholdedRelu",
)  # fmt: skip
_FUNCTIONS_OF_TWO = ("Add", "Div", "Max", "Min", "Mul", "PRelu", "Sub")


def read_operations(
    network: Network, step: Step, shapes: Mapping[str, Sequence[int]]
) -> list[Operation]:
    """Reads the operations of one step, given the shapes of its tensors for one image.

    The last operation gives the codes of the step's tensor; in the last step, the input of the
    softmax, if that has no codes already.

    Raises:
        ArtifactError: integers and tables do not compute one of its operators.
    """
    target = network.activations.get(step.tensor)
    scope = Scope(network, shapes, {IMAGES: PIXELS, **network.activations}, {}, target)
    scope.codes.pop(step.tensor, None)
    if not step.nodes:
        return [_read_table(scope, (), IMAGES, step.tensor)]
    rescaled = _rescale_inputs(scope, step)
    sequence = [*rescaled.values()]
    for node in step.nodes:
        if _is_softmax(scope, node):
            break
        operation = _read(scope, node, sequence)
        if target is None and operation.kind not in ("conv", "dense") and not operation.parameters:
            refuse(node, "have 8-bit codes", "numbers that stay in float")
        # Codes that are only moved stay readable; rounded ones can be moved, clipped or tabulated.
        moved = not operation.grid and operation.kind != "table"
        if moved and operation.parameters and scope.codes.keys() >= {*operation.inputs}:
            scope.codes[operation.output] = operation.parameters
        else:
            scope.rounded[operation.output] = operation.parameters
        inputs = [rescaled[x].output if x in rescaled else x for x in operation.inputs]
        sequence.append(operation._replace(inputs=tuple(inputs)))
    return sequence


def _rescale_inputs(scope: Scope, step: Step) -> dict[str, Operation]:
    """Converts the inputs of operators that only move codes to the scale of the output."""
    rescaled: dict[str, Operation] = {}
    moving = (*_MOVING, *_MAX_POOLS, "Concat")
    if scope.target and all(node.op_type in moving for node in step.nodes):
        for source in dict.fromkeys(x for node in step.nodes for x in node.input):
            parameters = scope.network.activations.get(source)
            if parameters and not _same_codes(parameters, scope.target):
                rescaled[source] = _read_table(scope, (), source, f"{source} for {step.tensor}")
                scope.codes[source] = scope.target
    return rescaled


def _is_softmax(scope: Scope, node: onnx.NodeProto) -> bool:
    if node.op_type != "Softmax" or node.output[0] != OUTPUT:
        return False
    shape = scope.shapes[node.input[0]]
    if len(shape) != 1:
        refuse(node, "read one number for each class", f"shape {tuple(shape)}")
    return True


def _read(scope: Scope, node: onnx.NodeProto, before: list[Operation]) -> Operation:  # noqa: PLR0911
    """Reads a node; an operation that it joins is removed from `before`, the earlier ones."""
    operator, computed = node.op_type, scope.computed(node)
    only_computed = len(computed) == len(node.input)
    if node.name in scope.network.layers:
        return operations.read_layer(scope, node)
    if operator in _MOVING and len(computed) == 1:
        return _read_move(scope, node)
    if _is_function(scope, node):
        return _read_function(scope, node, before)
    if operator in operations.ARITHMETIC and only_computed:
        return operations.read_arithmetic(scope, node)
    if operator in operations.AVERAGE_POOLS:
        return operations.read_average(scope, node)
    if operator in _MAX_POOLS:
        windows, _ = operations.read_windows(scope, node)
        return _moved(scope, "max_pool", node, node.input[:1], numbers=windows)
    if operator == "Concat" and only_computed:
        n_axes = len(scope.shapes[node.output[0]]) + 1
        axis = int(attributes(node)["axis"]) % n_axes - 1  # without the axis of images
        return _moved(scope, "concat", node, node.input, numbers={"axis": axis})
    return refuse(node, "be an operator that integers or tables compute", operator)


def _read_function(scope: Scope, node: onnx.NodeProto, before: list[Operation]) -> Operation:
    """Reads a function of one number, alone or joined with the operation before it."""
    (source,) = scope.computed(node)
    if before and before[-1].output == source and source in scope.rounded:
        last = before[-1]
        if last.grid and node.op_type in ("Clip", "Relu"):
            del before[-1], scope.rounded[source]
            return operations.clip_output(scope, last, node)
        if last.kind == "table":  # a chain of functions is rounded once, after the last
            del before[-1], scope.rounded[source]
            return _read_table(scope, (*last.nodes, node), last.inputs[0], node.output[0])
    scope.read(node, source)
    return _read_table(scope, (node,), source, node.output[0])


def _read_table(
    scope: Scope, nodes: tuple[onnx.NodeProto, ...], source: str, output: str
) -> Operation:
    """Tabulates a chain of functions for each code of its input; refuses one that is not finite."""
    parameters, tensor = scope.codes[source], source
    steps = (parameters.codes - parameters.zero_point).astype(np.float64)
    values = steps * float(parameters.scale)
    for node in nodes:
        values = scope.network.apply(node, {tensor: values})
        tensor = node.output[0]
        if not np.isfinite(values).all():
            refuse(node, "have a finite value for every code", "infinity or no number")
    if scope.target is None:
        refuse(nodes[-1], "have 8-bit codes", "numbers that stay in float")
    table = scope.target.quantize(values.ravel())  # ravel: a constant may have more axes
    return Operation("table", nodes, (source,), output, scope.target, arrays={"table": table})


def _read_move(scope: Scope, node: onnx.NodeProto) -> Operation:
    """Reads an operator that moves codes, by applying it to their indices."""
    (source,) = scope.computed(node)
    shape = scope.shapes[source]
    size = math.prod(shape)
    numbers = np.arange(size, dtype=np.float64).reshape(1, *shape)
    one, other = (scope.network.apply(node, {source: numbers + x}).ravel() for x in (0, size))
    is_moved = other - one == size  # False for the constant of a Pad
    indices = np.where(is_moved, one, -1).astype(np.int32)
    if np.array_equal(indices, np.arange(size)):
        return _moved(scope, "reshape", node, [source])
    operation = _moved(scope, "move", node, [source], arrays={"indices": indices})
    if is_moved.all() or operation.parameters is None:
        return operation
    fill = code_of(float(one[~is_moved][0]), operation.parameters)
    return operation._replace(numbers={"fill": fill})


def _moved(
    scope: Scope, kind: str, node: onnx.NodeProto, inputs: Sequence[str], **rest: Any
) -> Operation:
    """An operation that keeps the values of codes; its inputs must have one scale."""
    known = {**scope.codes, **scope.rounded}
    first, *others = (known.get(x) for x in inputs)
    if first is None or not all(x and _same_codes(x, first) for x in others):
        refuse(node, "read 8-bit codes of one scale", ", ".join(inputs))
    return Operation(kind, (node,), tuple(inputs), node.output[0], first, **rest)


def _same_codes(one: QuantizationParameters, other: QuantizationParameters) -> bool:
    return bool(one.scale == other.scale and one.zero_point == other.zero_point)


def _is_function(scope: Scope, node: onnx.NodeProto) -> bool:
    """True if a node computes each number from one number."""
    computed = scope.computed(node)
    constants = [scope.network.constants[x] for x in node.input if x and x not in computed]
    if len(computed) != 1 or any(x.size != 1 for x in constants):
        return False
    of_two = node.op_type in _FUNCTIONS_OF_TWO and len(constants) == 1
    return node.op_type in _FUNCTIONS or of_two
