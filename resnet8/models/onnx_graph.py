"""Look-ups in ONNX graphs, and edited copies of them.

Shape letters: C channels, O outputs and I inputs of a layer, h x w pixels of a kernel.
"""

from collections import Counter
from collections.abc import Collection, Mapping
from functools import cached_property
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from resnet8.core.qparams import Parameter, QuantizationParameters

# Ends the names of tensors that keep a layer in float; see quantize.float_parts.
KEPT_IN_FLOAT = "/in_float"
# Pass-through operators: their output is quantized in place of their input.
PASSING = (
    "Clip", "Flatten", "Identity", "LeakyRelu", "Pad", "Relu",
    "Reshape", "Squeeze", "Transpose", "Unsqueeze",
)  # fmt: skip
_TO_CHANNELS_FIRST, _TO_CHANNELS_LAST = [0, 3, 1, 2], [0, 2, 3, 1]
QUANTIZE, DEQUANTIZE = "QuantizeLinear", "DequantizeLinear"
_WITH_PARAMETERS = ("Conv", "Gemm", "MatMul")


class Graph:
    """Look-ups in a model's graph, cached at the first use of each."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.nodes = list(model.graph.node)
        self._initializers = {x.name: x for x in model.graph.initializer}

    def is_constant(self, tensor: str) -> bool:
        return tensor in self._initializers

    @cached_property
    def constants(self) -> dict[str, NDArray[Any]]:
        """The initializers by name."""
        return {name: numpy_helper.to_array(x) for name, x in self._initializers.items()}

    @cached_property
    def producers(self) -> dict[str, onnx.NodeProto]:
        """The node that computes each tensor."""
        return {tensor: node for node in self.nodes for tensor in node.output}

    @cached_property
    def consumers(self) -> dict[str, list[onnx.NodeProto]]:
        """The nodes that read each tensor, in order."""
        consumers: dict[str, list[onnx.NodeProto]] = {}
        for node in self.nodes:
            for tensor in node.input:
                consumers.setdefault(tensor, []).append(node)
        return consumers

    def quantize_steps(self) -> dict[str, onnx.NodeProto]:
        """Maps quantized tensors to the QuantizeLinear nodes that read them."""
        return {node.input[0]: node for node in self.nodes if node.op_type == QUANTIZE}

    def quantization_of(self, step: onnx.NodeProto) -> QuantizationParameters:
        """The quantization parameters of a QuantizeLinear or DequantizeLinear node."""
        scale, zero_point = self.constants[step.input[1]], self.constants[step.input[2]]
        axis = int(attributes(step).get("axis", 1)) if scale.ndim else None
        dtype = zero_point.dtype.name
        return QuantizationParameters(scale, zero_point.astype(np.int64), dtype, axis)

    def parameter(self, tensor: str, *, transposed: bool = False) -> Parameter | None:
        """A stored tensor, dequantized if it is stored in 8 bits; None if it is computed."""
        step, quantization = self.producers.get(tensor), None
        if step is not None and step.op_type == DEQUANTIZE and self.is_constant(step.input[0]):
            tensor, quantization = step.input[0], self.quantization_of(step)
        if not self.is_constant(tensor):
            return None
        stored = self.constants[tensor]
        values = quantization.dequantize(stored) if quantization else stored.astype(np.float32)
        if transposed:
            values = np.ascontiguousarray(values.T)
            if quantization and quantization.axis is not None:
                quantization = quantization._replace(axis=1 - quantization.axis)
        return Parameter(values, quantization)


def attributes(node: onnx.NodeProto) -> dict[str, Any]:
    """The attributes of a node by name."""
    return {x.name: helper.get_attribute_value(x) for x in node.attribute}


def metadata(model: onnx.ModelProto) -> dict[str, str]:
    """The metadata of a model by key."""
    return {entry.key: entry.value for entry in model.metadata_props}


def stores_outputs_last(node: onnx.NodeProto) -> bool:
    """Returns whether the weight of a node is (I, O), as in MatMul and Gemm without transB."""
    return node.op_type == "MatMul" or (
        node.op_type == "Gemm" and not attributes(node).get("transB", 0)
    )


def read_parameters(model: onnx.ModelProto) -> dict[str, dict[str, Parameter]]:
    """The weights and biases of all layers, output channels along the first axis."""
    graph = Graph(model)
    parameters: dict[str, dict[str, Parameter]] = {}
    for node in graph.nodes:
        if node.op_type in _WITH_PARAMETERS:
            for kind, tensor in zip(("weight", "bias"), node.input[1:], strict=False):
                transposed = kind == "weight" and stores_outputs_last(node)
                if parameter := graph.parameter(tensor, transposed=transposed):
                    parameters.setdefault(node.name, {})[kind] = parameter
    return parameters


def infer_types(
    model: onnx.ModelProto, *, strict: bool = False
) -> dict[str, onnx.TypeProto.Tensor]:
    """The element types and shapes of inputs, intermediate tensors and outputs."""
    graph = onnx.shape_inference.infer_shapes(model, strict_mode=strict, data_prop=True).graph
    values = [*graph.input, *graph.value_info, *graph.output]
    return {value.name: value.type.tensor_type for value in values}


def infer_shapes(model: onnx.ModelProto) -> dict[str, list[int]]:
    """The shapes of inputs, intermediate tensors and outputs; 0 for unknown dimensions."""
    types = infer_types(model)
    return {name: [dim.dim_value for dim in x.shape.dim] for name, x in types.items()}


def channels_first(model: onnx.ModelProto) -> set[str]:
    """The computed tensors with layout (N, C, H, W); the model's input is (N, H, W, C)."""
    shapes = infer_shapes(model)
    tensors = set[str]()
    for node in model.graph.node:
        permutation = list(attributes(node).get("perm", []))  # of a Transpose
        kept = node.input[0] in tensors and permutation != _TO_CHANNELS_LAST
        four_dimensions = len(shapes.get(node.output[0], [])) == 4
        if four_dimensions and (kept or permutation == _TO_CHANNELS_FIRST):
            tensors.add(node.output[0])
    return tensors


def remove_unused(graph: onnx.GraphProto) -> None:
    """Removes nodes and initializers that no output of the graph depends on."""
    needed = {output.name for output in graph.output}
    kept = []
    for node in reversed(graph.node):
        if needed.intersection(node.output):
            needed.update(node.input)
            kept.append(node)
    initializers = [initializer for initializer in graph.initializer if initializer.name in needed]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(reversed(kept))
    graph.initializer.extend(initializers)


def copy_of(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy that can be edited."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    return copy


def for_one_image(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy with batch size 1, whose other shapes are to be inferred again."""
    copy = copy_of(model)
    del copy.graph.value_info[:]
    for value in copy.graph.output:
        value.type.tensor_type.ClearField("shape")
    for value in copy.graph.input:
        for batch in value.type.tensor_type.shape.dim[:1]:
            batch.dim_value = 1
    return copy


def with_outputs(model: onnx.ModelProto, tensors: Collection[str]) -> onnx.ModelProto:
    """A copy with intermediate tensors as further outputs."""
    copy = copy_of(model)
    present = {value.name for value in copy.graph.output}
    wanted = [name for name in tensors if name not in present]
    copy.graph.output.extend(onnx.ValueInfoProto(name=name) for name in wanted)
    return copy


def with_parameters(
    model: onnx.ModelProto,
    parameters: Mapping[str, tuple[NDArray[np.float32] | None, NDArray[np.float32] | None]],
) -> onnx.ModelProto:
    """A copy of a float model with other weights and biases, by layer.

    A weight has outputs first; None keeps a weight or bias. One that other layers share is replaced
    for its layer alone.
    """
    copy = copy_of(model)
    nodes = {node.name: node for node in copy.graph.node}
    constants = {x.name: x for x in copy.graph.initializer}
    uses = Counter(tensor for node in copy.graph.node for tensor in node.input)
    for name, arrays in parameters.items():
        node = nodes[name]
        for position, array in enumerate(arrays, start=1):
            if array is None:
                continue
            outputs_last = position == 1 and stores_outputs_last(node)
            tensor = node.input[position]
            if uses[tensor] > 1:
                uses[tensor] -= 1
                node.input[position] = tensor = f"{tensor}/{name}"
                constants[tensor] = copy.graph.initializer.add()
            stored = np.ascontiguousarray(array.T) if outputs_last else array
            constants[tensor].CopyFrom(numpy_helper.from_array(stored, tensor))
    return copy


def fake_quantized(
    model: onnx.ModelProto, activations: Mapping[str, QuantizationParameters]
) -> onnx.ModelProto:
    """A copy that rounds inputs and computed tensors to 8 bits, with one scale for each."""
    copy = copy_of(model)
    graph, nodes = copy.graph, list(copy.graph.node)
    steps = {}
    for tensor, (scale, zero_point, dtype, _) in activations.items():
        codes, parameters = codes_of(tensor), [f"{tensor}/scale", f"{tensor}/zero_point"]
        arrays = np.asarray(scale, np.float32), np.asarray(zero_point, dtype)
        graph.initializer.extend(map(numpy_helper.from_array, arrays, parameters))
        steps[tensor] = [
            helper.make_node(QUANTIZE, [tensor, *parameters], [codes]),
            helper.make_node(DEQUANTIZE, [codes, *parameters], [f"{tensor}/rounded"]),
        ]
    del graph.node[:]
    for value in graph.input:
        graph.node.extend(steps.get(value.name, []))
    for node in nodes:
        node.input[:] = [f"{x}/rounded" if x in steps else x for x in node.input]
        graph.node.append(node)
        for tensor in node.output:
            graph.node.extend(steps.get(tensor, []))
    return copy


def codes_of(tensor: str) -> str:
    """The tensor with the 8-bit codes of a tensor in a model by `fake_quantized`."""
    return f"{tensor}/codes"
