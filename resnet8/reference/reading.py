"""Reads the operations of a quantized network, step by step."""

from collections.abc import Mapping, Sequence

import onnx

from resnet8.core.qparams import QuantizationParameters
from resnet8.models.onnx_model import OUTPUT
from resnet8.reference import moves, sums
from resnet8.reference.network import IMAGES, Network, Step
from resnet8.reference.operations import Operation, Scope, are_alike, refuse

PIXELS = QuantizationParameters.per_tensor(1.0, 0)  # the codes of images


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
        last step, what the softmax reads, if that has no codes already.

    Raises:
        ArtifactError: integers and tables do not compute one of its operators.
    """
    target = network.activations.get(step.tensor)
    scope = Scope(network, shapes, {IMAGES: PIXELS, **network.activations}, {}, target)
    scope.codes.pop(step.tensor, None)
    if not step.nodes:
        return [moves.read_table(scope, (), (IMAGES, PIXELS), (step.tensor, step.tensor))]
    return _Reader(scope, step).read()


class _Reader:
    def __init__(self, scope: Scope, step: Step) -> None:
        self._scope, self._step = scope, step
        self._found: list[Operation] = []
        self._rescaled: dict[str, str] = {}  # inputs with another scale

    def read(self) -> list[Operation]:
        moving = (*moves.MOVING, *moves.POOLS, "Concat")
        if all(node.op_type in moving for node in self._step.nodes):
            self._rescale()
        for node in self._step.nodes:
            if self._is_softmax(node):
                break
            self._add(self._read(node))
        return self._found

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
        if operator in moves.MOVING and len(computed) == 1:
            return moves.read_move(scope, node)
        if moves.is_function(scope, node):
            return self._read_function(node, computed[0])
        if operator in sums.KINDS and only_computed:
            return sums.read_arithmetic(scope, node)
        if operator in sums.POOLS:
            return sums.read_average(scope, node)
        if operator in moves.POOLS:
            return moves.read_max(scope, node)
        if operator == "Concat" and only_computed:
            return moves.read_concat(scope, node)
        return refuse(node, "be an operator that integers or tables compute", operator)

    def _read_function(self, node: onnx.NodeProto, source: str) -> Operation:
        scope, nodes = self._scope, [node]
        if scope.target is None:
            refuse(node, "have 8-bit codes", "numbers that stay in float")
        before = self._found[-1] if source in scope.rounded else None
        if before and before.output == source:
            if before.grid and node.op_type in sums.CUTTING:
                del self._found[-1], scope.rounded[source]
                return sums.cut(scope, before, node)
            if before.kind == "table":  # rounded once, behind the last function
                del self._found[-1], scope.rounded[source]
                nodes, source = [*before.nodes, node], before.inputs[0]
        output = node.output[0], self._step.tensor
        return moves.read_table(scope, nodes, (source, scope.read(node, source)), output)

    def _add(self, operation: Operation) -> None:
        scope, node = self._scope, operation.nodes[-1]
        known = operation.parameters
        if scope.target is None and not (operation.kind in ("conv", "dense") or known):
            refuse(node, "have 8-bit codes", "numbers that stay in float")
        moved = not operation.grid and operation.kind != "table"
        if moved and scope.codes.keys() >= {*operation.inputs} and known:
            scope.codes[operation.output] = known
        else:
            scope.rounded[operation.output] = known
        inputs = tuple(self._rescaled.get(x, x) for x in operation.inputs)
        self._found.append(operation._replace(inputs=inputs))

    def _rescale(self) -> None:
        """Gives the inputs of operators that only move codes the scale of the output."""
        scope, tensor = self._scope, self._step.tensor
        for source in dict.fromkeys(x for node in self._step.nodes for x in node.input):
            own, target = scope.network.activations.get(source), scope.target
            if own is None or target is None or are_alike(own, target):
                continue
            name = self._rescaled[source] = f"{source} for {tensor}"
            self._found.append(moves.read_table(scope, (), (source, own), (name, tensor)))
            scope.codes[source] = target
