"""Cross-layer equalization: makes the ranges of a tensor's channels similar.

Dividing a channel of a layer's output by a factor, and multiplying the weights of the layers that
read it by the same factor, changes nothing in float, if everything between is positively
homogeneous (f(s x) = s f(x) for s > 0): ReLU, pooling, additions of tensors with the same factors.
Then one scale for the whole tensor suits all its channels.

Source: M. Nagel, M. van Baalen, T. Blankevoort, M. Welling (2019), Data-Free Quantization
Through Weight Equalization and Bias Correction, https://arxiv.org/abs/1906.04721, section 4.1.
In contrast to the paper, additions tie tensors to groups with the same factors, and the factors
follow the ranges of activations, because weights have a scale for each output channel anyway.

Shape letters: C channels.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, NamedTuple

import numpy as np
import onnx
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from resnet8.core.errors import ArtifactError
from resnet8.models.onnx_graph import Graph, infer_shapes, with_parameters
from resnet8.quantize.layers import Layer, read_layers

# Operators with one input and an output of the same channels, homogeneous in each channel.
_HOMOGENEOUS = ("Relu", "LeakyRelu", "AveragePool", "GlobalAveragePool", "MaxPool", "Identity")
_SMALLEST = 0.01  # factor: channels that are silent on all images stay small
# Factors are multiples of 1 / 4096, far coarser than the last bits of a power, which differ
# between CPUs.
_GRID = 4096
METADATA = "equalization"  # key of the JSON form of factors in the file of a quantized model
Factors = NDArray[np.float32]  # (C,)


class FactorGroup(BaseModel):
    """Tensors and layers with the same factors: `numerators / denominator`, one a channel.

    outputs: tensors between layers, in order of computation.
    inputs: layers with weights that read one of them.
    """

    model_config = ConfigDict(extra="forbid", strict=True)

    numerators: list[Annotated[int, Field(ge=1, le=_GRID)]] = Field(min_length=1)
    denominator: Annotated[int, Field(ge=_GRID, le=_GRID)] = _GRID
    outputs: list[str]
    inputs: list[str]

    @property
    def factors(self) -> Factors:
        return (np.array(self.numerators) / self.denominator).astype(np.float32)


class Equalization(NamedTuple):
    """Factors that channels are divided by: float model over equalized model."""

    groups: tuple[FactorGroup, ...] = ()

    @property
    def outputs(self) -> dict[str, Factors]:
        """The factors of tensors."""
        return {name: group.factors for group in self.groups for name in group.outputs}

    @property
    def inputs(self) -> dict[str, Factors]:
        """The factors of layers' inputs."""
        return {name: group.factors for group in self.groups for name in group.inputs}

    def encode(self) -> list[dict[str, Any]]:
        """Returns the JSON form."""
        return [group.model_dump() for group in self.groups]


def decode(text: str) -> Equalization:
    """Reads the factors in a model's file; raises ValueError if the text has another form."""
    return Equalization(TypeAdapter(tuple[FactorGroup, ...]).validate_json(text or "[]"))


def find_factors(
    model: onnx.ModelProto, largest: Mapping[str, NDArray[np.float32]], *, strength: float
) -> Equalization:
    """Chooses factors from 0.01 to 1; the channel with the largest range gets 1.

    `largest` has the largest absolute values (C,) of observed tensors. The strength is from 0 (no
    change) to 1 (equal ranges).
    """
    groups = []
    for tensors, consumers in _find_groups(model):
        ranges = [largest[tensor] for tensor in tensors if tensor in largest]
        shares = [x / x.max() for x in ranges if x.max() > 0]
        if strength and shares:
            exact = np.maximum(np.max(shares, axis=0), _SMALLEST).astype(np.float64) ** strength
            parts = np.rint(exact * _GRID).astype(int).tolist()
            groups.append(FactorGroup(numerators=parts, outputs=tensors, inputs=consumers))
    return Equalization(tuple(groups))


def _find_groups(model: onnx.ModelProto) -> Iterator[tuple[list[str], list[str]]]:
    """Yields tensors between layers that can be divided together, and the layers that read them.

    Left out are tensors that are tied to the model's input or output, or to one that an operator
    reads or computes that is not homogeneous.
    """
    layers = {layer.name: layer for layer in read_layers(model)}
    shapes = infer_shapes(model)
    graph = Graph(model)
    group_of: dict[str, set[str]] = {}
    fixed = {x.name for x in [*model.graph.input, *model.graph.output]}

    def join(*tensors: str) -> None:
        """Merges the groups of tensors."""
        joined = set().union(*(group_of.get(tensor, {tensor}) for tensor in tensors))
        group_of.update(dict.fromkeys(joined, joined))

    for node in graph.nodes:
        layer = layers.get(node.name)
        if layer and layer.kind != "MatMul" and (layer.groups == 1 or _is_depthwise(layer)):
            join(layer.input)
            join(layer.output)
        elif _keeps_channels(node, shapes):
            join(*(x for x in node.input if not graph.is_constant(x)), node.output[0])
        else:
            fixed.update(node.input, node.output)
    order = [tensor for node in graph.nodes for tensor in node.output if tensor in group_of]
    producers = {x.output for x in layers.values()}
    groups = {id(group_of[tensor]): group_of[tensor] for tensor in order}  # each group once
    for members in groups.values():
        consumers = [x.name for x in layers.values() if x.input in members]
        if members.isdisjoint(fixed) and consumers and not members.isdisjoint(producers):
            yield [x for x in order if x in members], consumers


def _is_depthwise(layer: Layer) -> bool:
    return layer.groups == len(layer.weight) and layer.weight.shape[1] == 1


def _keeps_channels(node: onnx.NodeProto, shapes: Mapping[str, Sequence[int]]) -> bool:
    """Returns whether inputs and output have the same channels and may be divided together."""
    after = shapes.get(node.output[0], [])
    if node.op_type == "Add":
        return len(node.input) == 2 and all(shapes.get(x, []) == after for x in node.input)
    if node.op_type == "Reshape":  # (N, C, 1, 1) to (N, C)
        before = shapes.get(node.input[0], [])
        return len(after) == 2 and before[1:2] == after[1:] and all(x == 1 for x in before[2:])
    return node.op_type in _HOMOGENEOUS


def equalized(model: onnx.ModelProto, equalization: Equalization) -> onnx.ModelProto:
    """Returns an equivalent model with its channels divided by their factors.

    Raises:
        ArtifactError: the factors belong to another model.
    """
    by_tensor, by_layer = equalization.outputs, equalization.inputs
    parameters = {}
    for layer in read_layers(model):
        weight, bias = layer.weight, layer.bias
        outputs, inputs = by_tensor.get(layer.output), by_layer.get(layer.name)
        if inputs is not None:
            axis = 0 if _is_depthwise(layer) else 1
            check_count(layer.name, inputs, weight.shape[axis])
            weight = weight * along(inputs, axis, weight.ndim)
        if outputs is not None:
            check_count(layer.name, outputs, len(weight))
            weight = weight / along(outputs, 0, weight.ndim)
            bias = None if bias is None else bias / outputs
        parameters[layer.name] = (weight, bias)
    return with_parameters(model, parameters)


def along(factors: Factors, axis: int, ndim: int) -> Factors:
    """Reshapes factors (C,) for broadcasting along the channel axis."""
    return factors.reshape([-1 if x == axis else 1 for x in range(ndim)])


def check_count(layer: str, factors: Factors, n_channels: int) -> None:
    """Raises an ArtifactError unless there is a factor for each channel of a layer."""
    if len(factors) != n_channels:
        raise ArtifactError(
            f"The equalization of {layer} must have a factor for each of {n_channels} channels, "
            f"got {len(factors)}. Run `dvc repro` to make it again."
        )
