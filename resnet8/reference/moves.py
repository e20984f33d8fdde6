"""Operations that make codes of single codes: moves, maxima and tables.

Shape letters: C channels, H x W places.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx

from resnet8.models.onnx_graph import attributes
from resnet8.reference.operations import (
    Operation,
    Parameters,
    Scope,
    are_alike,
    code_of,
    refuse,
)
from resnet8.reference.windows import read_windows

MOVING = ("Flatten", "Identity", "Pad", "Reshape", "Slice", "Squeeze", "Transpose", "Unsqueeze")
POOLS = ("GlobalMaxPool", "MaxPool")
# Functions of each number alone; and of two numbers, where one is constant.
_FUNCTIONS = (
    *("Abs", "Celu", "Clip", "Elu", "Erf", "HardSigmoid", "HardSwish", "LeakyRelu", "Neg", "Relu"),
    *("Selu", "Sigmoid", "Softplus", "Softsign", "Tanh", "ThresholdedRelu"),
)
_FUNCTIONS_OF_TWO = ("Add", "Div", "Max", "Min", "Mul", "PRelu", "Sub")


def read_max(scope: Scope, node: onnx.NodeProto) -> Operation:
    """Reads a max pool."""
    return _moved(
        scope, "max_pool", node, node.input[:1], numbers=read_windows(scope, node).numbers
    )


def read_concat(scope: Scope, node: onnx.NodeProto) -> Operation:
    """Reads a concatenation; its axis is counted without that of images."""
    axis = int(attributes(node)["axis"]) % (len(scope.shapes[node.output[0]]) + 1) - 1
    return _moved(scope, "concat", node, node.input, numbers={"axis": axis})


def read_move(scope: Scope, node: onnx.NodeProto) -> Operation:
    """Reads an operator that moves codes, by what it makes of their numbers."""
    (source,) = scope.computed(node)
    shape = scope.shapes[source]
    size = math.prod(shape)
    numbers = np.arange(size, dtype=np.float64).reshape(1, *shape)
    one, other = (scope.network.apply(node, {source: numbers + x}).ravel() for x in (0, size))
    is_moved = other - one == size  # else a constant of Pad
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
    if first is None or not all(x and are_alike(x, first) for x in others):
        refuse(node, "read 8-bit codes of one scale", ", ".join(inputs))
    return Operation(kind, (node,), tuple(inputs), node.output[0], first, **rest)


def is_function(scope: Scope, node: onnx.NodeProto) -> bool:
    """Whether a node computes each number from one number."""
    computed = scope.computed(node)
    constants = [scope.network.constants[x] for x in node.input if x and x not in computed]
    if len(computed) != 1 or any(x.size != 1 for x in constants):
        return False
    of_two = node.op_type in _FUNCTIONS_OF_TWO and len(constants) == 1
    return node.op_type in _FUNCTIONS or of_two


def read_table(
    scope: Scope,
    nodes: Sequence[onnx.NodeProto],
    source: tuple[str, Parameters],
    output: tuple[str, str],
) -> Operation:
    """The codes that a chain of functions gives, for each code of its input.

    Args:
        scope: around it.
        nodes: of the chain; none to give codes another scale.
        source: its input.
        output: the tensor that it gives, and the one whose scale this has.

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
    # A constant may have more axes.
    codes = scope.network.quantize(output[1], values.ravel()).astype(np.uint8)
    return Operation(
        "table", tuple(nodes), source[:1], output[0], scope.target, arrays={"table": codes}
    )
