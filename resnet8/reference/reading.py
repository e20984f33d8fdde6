"""Reads the operations of a quantized network, step by step.

Shape letters: C channels, H x W places.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx

from resnet8.core.qparams import QuantizationParameters
from resnet8.models.onnx_graph import attributes
from resnet8.models.onnx_model import OUTPUT
from resnet8.reference import sums
from resnet8.reference.network import IMAGES, Network, Step
from resnet8.reference.operations import (
    Operation,
    Parameters,
    Scope,
    code_of,
    refuse,
    same_codes,
)

PIXELS = QuantizationParameters.per_tensor(1.0, 0)  # the codes of images
_MOVING = ("Flatten", "Identity", "Pad", "Reshape", "Slice", "Squeeze", "Transpose", "Unsqueeze")
_MAX_POOLS = ("GlobalMaxPool", "MaxPool")
_CLIPPING = ("Clip", "Relu")
# Functions of each number alone; and of two numbers, where one is constant.
_FUNCTIONS = (
    *("Abs", "Celu", "Clip", "Elu", "Erf", "HardSigmoid", "HardSwish", "LeakyRelu", "Neg", "Relu"),
    *("Selu", "Sigmoid", "Softplus", "Softsign", "Tanh", "ThresholdedRelu"),
)
_FUNCTIONS_OF_TWO = ("Add", "Div", "Max", "Min", "Mul", "PRelu", "Sub")


def read_operations(
    network: Network, step: Step, shapes: Mapping[str, Sequence[int]]
) -> list[Operation]:
    """Reads the operations of one step of a network.

    Args:
        network: quantized.
        step: one of its steps.
        shapes: of the tensors that the step reads and computes, without the axis of images.

    Returns:
        In the order of computation. The last one gives the codes of the step's tensor; in the
        last step, the input of the softmax, if that has no codes already.

    Raises:
        ArtifactError: integers and tables do not compute one of its operators.
    """
    target = network.activations.get(step.tensor)
    scope = Scope(network, shapes, {IMAGES: PIXELS, **network.activations}, {}, target)
    scope.codes.pop(step.tensor, None)
    if not step.nodes:
        return [_read_table(scope, (), (IMAGES, PIXELS), (step.tensor, step.tensor))]
    return _Reader(scope, step).read()


class _Reader:
    def __init__(self, scope: Scope, step: Step) -> None:
        self._scope, self._step = scope, step
        self._operations: list[Operation] = []
        self._rescaled: dict[str, str] = {}  # inputs with another scale

    def read(self) -> list[Operation]:
        moving = (*_MOVING, *_MAX_POOLS, "Concat")
        if all(node.op_type in moving for node in self._step.nodes):
            self._rescale_inputs()
        for node in self._step.nodes:
            if self._is_softmax(node):
                break
            self._add(self._read(node))
        return self._operations

    def _is_softmax(self, node: onnx.NodeProto) -> bool:
        if node.op_type != "Softmax" or node.output[0] != OUTPUT:
            return False
        shape = self._scope.shapes[node.input[0]]
        if len(shape) != 1:
            refuse(node, "read one number for each class", f"shape {tuple(shape)}")
        return True

    def _read(self, node: onnx.NodeProto) -> Operation:  # noqa: PLR0911
        scope, operator = self._scope, node.op_type
        layer, computed = scope.network.layers.get(node.name), scope.computed(node)
        only_computed = len(computed) == len(node.input)
        if layer is not None:
            return sums.read_layer(scope, node, layer)
        if operator in _MOVING and len(computed) == 1:
            return _read_move(scope, node)
        if _is_function(scope, node):
            return self._read_function(node, computed[0])
        if operator in sums.KINDS and only_computed:
            return sums.read_arithmetic(scope, node)
        if operator in sums.AVERAGE_POOLS:
            return sums.read_average(scope, node)
        if operator in _MAX_POOLS:
            windows, _ = sums.read_windows(scope, node)
            return _moved(scope, "max_pool", node, node.input[:1], numbers=windows)
        if operator == "Concat" and only_computed:
            n_axes = len(scope.shapes[node.output[0]]) + 1
            axis = int(attributes(node)["axis"]) % n_axes - 1  # without the axis of images
            return _moved(scope, "concat", node, node.input, numbers={"axis": axis})
        return refuse(node, "be an operator that integers or tables compute", operator)

    def _read_function(self, node: onnx.NodeProto, source: str) -> Operation:
        scope, nodes = self._scope, [node]
        if scope.target is None:
            refuse(node, "have 8-bit codes", "numbers that stay in float")
        before = self._operations[-1] if source in scope.rounded else None
        if before and before.output == source:
            if before.grid and node.op_type in _CLIPPING:
                del self._operations[-1], scope.rounded[source]
                return sums.clip_output(scope, before, node)
            if before.kind == "table":  # a chain of functions is rounded once, after the last
                del self._operations[-1], scope.rounded[source]
                nodes, source = [*before.nodes, node], before.inputs[0]
        output = node.output[0], self._step.tensor
        return _read_table(scope, nodes, (source, scope.read(node, source)), output)

    def _add(self, operation: Operation) -> None:
        scope, node = self._scope, operation.nodes[-1]
        parameters = operation.parameters
        if scope.target is None and not (operation.kind in ("conv", "dense") or parameters):
            refuse(node, "have 8-bit codes", "numbers that stay in float")
        moved = not operation.grid and operation.kind != "table"
        if moved and scope.codes.keys() >= {*operation.inputs} and parameters:
            scope.codes[operation.output] = parameters
        else:
            scope.rounded[operation.output] = parameters
        inputs = tuple(self._rescaled.get(x, x) for x in operation.inputs)
        self._operations.append(operation._replace(inputs=inputs))

    def _rescale_inputs(self) -> None:
        """Converts the inputs of operators that only move codes to the scale of the output."""
        scope, tensor, target = self._scope, self._step.tensor, self._scope.target
        for source in dict.fromkeys(x for node in self._step.nodes for x in node.input):
            parameters = scope.network.activations.get(source)
            if parameters is None or target is None or same_codes(parameters, target):
                continue
            name = self._rescaled[source] = f"{source} for {tensor}"
            self._operations.append(_read_table(scope, (), (source, parameters), (name, tensor)))
            scope.codes[source] = target


def _read_move(scope: Scope, node: onnx.NodeProto) -> Operation:
    """Reads an operator that moves codes, by applying it to the numbers of their places."""
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
    known = {**scope.codes, **scope.rounded}
    first, *others = (known.get(x) for x in inputs)
    if first is None or not all(x and same_codes(x, first) for x in others):
        refuse(node, "read 8-bit codes of one scale", ", ".join(inputs))
    return Operation(kind, (node,), tuple(inputs), node.output[0], first, **rest)


def _is_function(scope: Scope, node: onnx.NodeProto) -> bool:
    """True if a node computes each number from one number."""
    computed = scope.computed(node)
    constants = [scope.network.constants[x] for x in node.input if x and x not in computed]
    if len(computed) != 1 or any(x.size != 1 for x in constants):
        return False
    of_two = node.op_type in _FUNCTIONS_OF_TWO and len(constants) == 1
    return node.op_type in _FUNCTIONS or of_two


def _read_table(
    scope: Scope,
    nodes: Sequence[onnx.NodeProto],
    source: tuple[str, Parameters],
    output: tuple[str, str],
) -> Operation:
    """Tabulates a chain of functions, for each code of its input.

    Args:
        scope: of the nodes.
        nodes: the chain; empty to convert codes to another scale.
        source: its input.
        output: the tensor that it computes, and the one whose scale this has.

    Raises:
        ArtifactError: a function is not finite.
    """
    tensor, parameters = source
    steps = (parameters.codes - parameters.zero_point).astype(np.float64)
    values = steps * float(parameters.scale)
    for node in nodes:
        values = scope.network.apply(node, {tensor: values})
        tensor = node.output[0]
        if not np.isfinite(values).all():
            refuse(node, "have a finite value for every code", "infinity or no number")
    # ravel: a constant may have more axes.
    codes = scope.network.quantize(output[1], values.ravel()).astype(np.uint8)
    return Operation(
        "table", tuple(nodes), source[:1], output[0], scope.target, arrays={"table": codes}
    )
