"""Parts of a model that stay in float when ONNX Runtime quantizes it."""

from collections.abc import Collection

import numpy as np
import onnx
from onnx import helper, numpy_helper

from resnet8.models.onnx_graph import DEQUANTIZE, KEPT_IN_FLOAT, Graph, remove_unused

# 8-bit logits or probabilities tie, and the order of classes decides about the top-1 class. So the
# operators at the end of a model, from the logits on, stay in float.
_HEAD = (
    "Add", "Clip", "Concat", "Div", "Exp", "Flatten", "Identity", "Mean", "Mul", "ReduceMax",
    "ReduceSum", "Relu", "Reshape", "Softmax", "Squeeze", "Sub", "Sum", "Transpose", "Unsqueeze",
)  # fmt: skip
# Operators whose outputs may be too large, or too close to zero, for 256 values; and operators in
# front of them that compute norms and deviations.
_UNBOUNDED = ("Div", "Exp", "Log", "Pow", "Reciprocal")
_BEFORE = (
    "Add", "Clip", "GlobalAveragePool", "Max", "Min", "Mul", "Neg", "ReduceMean", "ReduceSum",
    "Reshape", "Sqrt", "Squeeze", "Sub", "Unsqueeze",
)  # fmt: skip
_WITH_WEIGHTS = ("Conv", "ConvTranspose", "Gemm")


def find_head(model: onnx.ModelProto) -> set[str]:
    """Returns the nodes that compute probabilities from logits."""
    head: set[str] = set()
    tensors = {output.name for output in model.graph.output}
    for node in reversed(model.graph.node):
        if node.op_type in _HEAD and not tensors.isdisjoint(node.output):
            head.add(node.name)
            tensors.update(node.input)
    return head


def find_normalizations(model: onnx.ModelProto) -> set[str]:
    """Returns the nodes that compute divisors or divide, and multiplications by their results."""
    graph = Graph(model)
    names: set[str] = set()
    for node in reversed(graph.nodes):
        readers = {x.name for output in node.output for x in graph.consumers.get(output, [])}
        is_before = node.op_type in _BEFORE and bool(readers) and readers <= names
        if node.op_type in _UNBOUNDED or is_before:
            names.add(node.name)
    unbounded = {x.output[0] for x in graph.nodes if x.op_type in _UNBOUNDED}
    return names | {
        x.name for x in graph.nodes if x.op_type == "Mul" and not unbounded.isdisjoint(x.input)
    }


def leave_in_float(
    quantized: onnx.ModelProto, model: onnx.ModelProto, head: Collection[str]
) -> None:
    """Bypasses the dequantization of constants of operators without weights, and of logits.

    The last dense layer still multiplies 8-bit inputs with 8-bit weights, but its 32-bit sums are
    not rounded to 256 values in front of the softmax. `quantized` is changed in place; `model` is
    the float model with all constants, and `head` the result of `find_head`.
    """
    graph, originals = Graph(quantized), {f"{x.name}_quantized": x for x in model.graph.initializer}
    restored = {}
    for node in graph.nodes:
        for position, tensor in enumerate(node.input):
            step = graph.producers.get(tensor)
            if step is None or step.op_type != DEQUANTIZE:
                continue
            original = originals.get(step.input[0])
            if original and node.op_type not in (*_WITH_WEIGHTS, "MatMul"):
                node.input[position] = original.name
                restored[original.name] = original
            elif {x.name for x in graph.consumers[tensor]} <= {*head}:
                node.input[position] = graph.producers[step.input[0]].input[0]
    missing = [x for x in restored.values() if not graph.is_constant(x.name)]
    quantized.graph.initializer.extend(missing)
    remove_unused(quantized.graph)


def keep_float_layers(model: onnx.ModelProto) -> None:
    """Inserts a Clip without effect in front of layers with float weights, in place.

    When ONNX Runtime opens a model, it rounds float weights that directly follow a
    DequantizeLinear to 8 bits, with one scale for all.

    Source: onnxruntime/core/optimizer/qdq_transformer/weight_bias_quantization.cc,
    https://github.com/microsoft/onnxruntime
    """
    graph, nodes = Graph(model), list(model.graph.node)
    dequantized = {x.output[0] for x in nodes if x.op_type == DEQUANTIZE}
    del model.graph.node[:]
    ends = np.finfo(np.float32)
    for node in nodes:
        has_float_weights = node.op_type in _WITH_WEIGHTS and graph.is_constant(node.input[1])
        if has_float_weights and node.input[0] in dequantized:
            clip = f"{node.name}{KEPT_IN_FLOAT}"
            limits = {f"{clip}/low": ends.min, f"{clip}/high": ends.max}
            for name, value in limits.items():
                model.graph.initializer.append(numpy_helper.from_array(np.array(value), name))
            model.graph.node.append(
                helper.make_node("Clip", [node.input[0], *limits], [clip], clip)
            )
            node.input[0] = clip
        model.graph.node.append(node)
