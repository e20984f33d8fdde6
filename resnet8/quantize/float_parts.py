"""Leaves parts of a model that ONNX Runtime has quantized in float: logits, constants, layers."""

from collections.abc import Collection

import numpy as np
import onnx
from onnx import helper, numpy_helper

from resnet8.models.onnx_graph import DEQUANTIZE, KEPT_IN_FLOAT, Graph, remove_unused

# 8-bit probabilities tie: the top-1 class becomes a matter of order. So do 8-bit logits. In float
# is therefore what a model computes at its end with operators such as these.
_HEAD = (
    *("Add", "Clip", "Concat", "Div", "Exp", "Flatten", "Identity", "Mean", "Mul", "ReduceMax"),
    *("ReduceSum", "Relu", "Reshape", "Softmax", "Squeeze", "Sub", "Sum", "Transpose", "Unsqueeze"),
)
# Operators whose outputs may be so large, or so near to zero, that 256 numbers cannot tell them
# apart; and those in front of them that norms and deviations are computed with.
_UNBOUNDED = ("Div", "Exp", "Log", "Pow", "Reciprocal")
_BEFORE = (
    *("Add", "Clip", "GlobalAveragePool", "Max", "Min", "Mul", "Neg", "ReduceMean", "ReduceSum"),
    *("Reshape", "Sqrt", "Squeeze", "Sub", "Unsqueeze"),
)
_WITH_WEIGHTS = ("Conv", "ConvTranspose", "Gemm")


def find_head(model: onnx.ModelProto) -> set[str]:
    """The nodes that make probabilities of logits."""
    found: set[str] = set()
    wanted = {output.name for output in model.graph.output}
    for node in reversed(model.graph.node):
        if node.op_type in _HEAD and not wanted.isdisjoint(node.output):
            found.add(node.name)
            wanted.update(node.input)
    return found


def find_statistics(model: onnx.ModelProto) -> set[str]:
    """The nodes that compute what activations are divided by, and those that multiply with it."""
    graph = Graph(model)
    found: set[str] = set()
    for node in reversed(graph.nodes):
        readers = [
            reader.name for output in node.output for reader in graph.consumers.get(output, [])
        ]
        only_there = bool(readers) and found.issuperset(readers)
        if node.op_type in _UNBOUNDED or (node.op_type in _BEFORE and only_there):
            found.add(node.name)
    unbounded = {x.output[0] for x in graph.nodes if x.op_type in _UNBOUNDED}
    return found | {
        x.name for x in graph.nodes if x.op_type == "Mul" and not unbounded.isdisjoint(x.input)
    }


def leave_constants_in_float(quantized: onnx.ModelProto, model: onnx.ModelProto) -> None:
    """Gives operators without weights their constants back, which ONNX Runtime rounds to 8 bits.

    Args:
        quantized: is changed.
        model: the float model.
    """
    graph, originals = Graph(quantized), {f"{x.name}_quantized": x for x in model.graph.initializer}
    used = {}
    for node in graph.nodes:
        for position, tensor in enumerate(node.input):
            step = graph.producers.get(tensor)
            stored = step and step.op_type == DEQUANTIZE and originals.get(step.input[0])
            if stored and node.op_type not in (*_WITH_WEIGHTS, "MatMul"):
                node.input[position] = stored.name
                used[stored.name] = stored
    quantized.graph.initializer.extend(x for x in used.values() if not graph.is_constant(x.name))
    remove_unused(quantized.graph)


def leave_logits_in_float(model: onnx.ModelProto, head: Collection[str]) -> None:
    """Removes the Q/DQ pair between the dense layer and the softmax.

    The dense layer still multiplies 8-bit values with 8-bit weights; its 32-bit sums become
    numbers at once, instead of 256 different ones.

    Args:
        model: is changed.
        head: the nodes from the logits on.
    """
    graph = Graph(model)
    for node in graph.nodes:
        for position, tensor in enumerate(node.input):
            dequantize = graph.producers.get(tensor)
            only_there = {x.name for x in graph.consumers.get(tensor, [])} <= {*head}
            if only_there and dequantize and dequantize.op_type == DEQUANTIZE:
                node.input[position] = graph.producers[dequantize.input[0]].input[0]
    remove_unused(model.graph)


def keep_float_layers(model: onnx.ModelProto) -> None:
    """Puts a Clip that changes nothing in front of layers whose weights are in float.

    When ONNX Runtime opens a model, it gives float weights that directly follow a
    DequantizeLinear 8 bits, rounded to the nearest with one scale for all.

    Source: onnxruntime/core/optimizer/qdq_transformer/weight_bias_quantization.cc,
    https://github.com/microsoft/onnxruntime
    """
    graph, nodes = Graph(model), list(model.graph.node)
    dequantized = {x.output[0] for x in nodes if x.op_type == DEQUANTIZE}
    del model.graph.node[:]
    ends = np.finfo(np.float32)
    for node in nodes:
        if node.op_type in _WITH_WEIGHTS and graph.is_constant(node.input[1]):
            tensor = node.input[0]
            if tensor in dequantized:
                kept = f"{node.name}{KEPT_IN_FLOAT}"
                limits = [f"{kept}/low", f"{kept}/high"]
                for name, value in zip(limits, (ends.min, ends.max), strict=True):
                    model.graph.initializer.append(numpy_helper.from_array(np.array(value), name))
                model.graph.node.append(helper.make_node("Clip", [tensor, *limits], [kept], kept))
                node.input[0] = kept
        model.graph.node.append(node)
