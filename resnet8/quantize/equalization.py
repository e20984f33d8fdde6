"""Cross-layer equalization: channels of one tensor brought to similar ranges.

Dividing a channel behind a layer and multiplying the weights of the layers that read it by the
same factor changes nothing in float, as long as what lies between is positively homogeneous
(f(s x) = s f(x) for s > 0): ReLU, pooling, additions of tensors scaled alike. One scale for
the whole tensor then serves all its channels.

Source: M. Nagel, M. van Baalen, T. Blankevoort, M. Welling (2019), Data-Free Quantization
Through Weight Equalization and Bias Correction, https://arxiv.org/abs/1906.04721, section 4.1.
Here additions tie tensors to groups that share their factors, and the factors follow the
ranges of activations, because weights have a scale for each output channel anyway.

Shape letters: C channels.
"""

import json
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Annotated, NamedTuple

import numpy as np
import onnx
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from resnet8.core.errors import ArtifactError
from resnet8.models.onnx_graph import Graph, infer_shapes, with_parameters
from resnet8.quantize.layers import Layer, read_layers

# Operators with one input and an output of the same channels, homogeneous in each.
_HOMOGENEOUS = ("Relu", "LeakyRelu", "AveragePool", "GlobalAveragePool", "MaxPool", "Identity")
_SMALLEST = 0.01  # of the factors: channels that are silent on all images stay small
# Factors are multiples of 1 / 4096, far coarser than the error of a power, whose last bits are
# another CPU's others.
_GRID = 4096
METADATA = "equalization"  # where a quantized model's file has what `encode` returned
_Shapes = Mapping[str, Sequence[int]]
Factors = NDArray[np.float32]  # (C,)


class Equalization(NamedTuple):
    """Factors by which channels were divided: the float model's over the equalized model's.

    outputs: by tensor between layers; tensors are called like the nodes.
    inputs: by layer with weights, of the tensor that it reads.
    """

    outputs: Mapping[str, Factors] = MappingProxyType({})
    inputs: Mapping[str, Factors] = MappingProxyType({})


class Group(NamedTuple):
    """Tensors whose channels must be divided alike, in the order of computation.

    producers: layers whose outputs are in the group.
    consumers: layers whose inputs are.
    """

    tensors: tuple[str, ...]
    producers: tuple[str, ...]
    consumers: tuple[str, ...]


def find_groups(model: onnx.ModelProto) -> list[Group]:
    """The groups of tensors between layers that can be divided.

    A group that an operator of another kind touches, the model's input or its output among
    them, stays as it is and is not returned.
    """
    layers = {layer.name: layer for layer in read_layers(model)}
    shapes = infer_shapes(model)
    graph = Graph(model)
    group_of: dict[str, set[str]] = {}
    fixed = {x.name for x in [*model.graph.input, *model.graph.output]}

    def join(*tensors: str) -> None:
        joined = set().union(*(group_of.get(tensor, {tensor}) for tensor in tensors))
        group_of.update(dict.fromkeys(joined, joined))

    for node in model.graph.node:
        layer = layers.get(node.name)
        if layer is not None and layer.kind != "MatMul" and _is_plain(layer):
            join(layer.input)
            join(layer.output)
        elif _keeps_channels(node, shapes):
            join(*(x for x in node.input if not graph.is_constant(x)), node.output[0])
        else:
            fixed.update(node.input, node.output)
    order = list(dict.fromkeys(tensor for node in model.graph.node for tensor in node.output))
    groups = {id(group): group for group in group_of.values()}.values()
    found = []
    places = {tensor: place for place, tensor in enumerate(order)}
    for members in sorted(groups, key=lambda group: min(places.get(x, -1) for x in group)):
        producers = tuple(x.name for x in layers.values() if x.output in members)
        consumers = tuple(x.name for x in layers.values() if x.input in members)
        if not members & fixed and producers and consumers:
            found.append(
                Group(tuple(sorted(members, key=places.__getitem__)), producers, consumers)
            )
    return found


def _is_plain(layer: Layer) -> bool:
    return layer.groups == 1 or _is_depthwise(layer)


def _is_depthwise(layer: Layer) -> bool:
    return layer.groups == len(layer.weight) and layer.weight.shape[1] == 1


def _keeps_channels(node: onnx.NodeProto, shapes: _Shapes) -> bool:
    """Whether the node's inputs and output have the same channels and may be scaled together."""
    after = list(shapes.get(node.output[0], []))
    if node.op_type == "Add":
        return len(node.input) == 2 and all(list(shapes.get(x, [])) == after for x in node.input)
    if node.op_type == "Reshape":  # (N, C, 1, 1) to (N, C)
        before = list(shapes.get(node.input[0], []))
        return len(after) == 2 and before[1:2] == after[1:] and all(x == 1 for x in before[2:])
    return node.op_type in _HOMOGENEOUS


def find_factors(
    groups: Sequence[Group], largest: Mapping[str, NDArray[np.float32]], *, strength: float
) -> Equalization:
    """Finds what to divide channels by, so that their ranges become alike.

    Args:
        groups: of tensors that are divided together.
        largest: by tensor, as far as observed, (C,): each channel's largest absolute value.
        strength: from 0 (no change) to 1 (ranges equal).

    Returns:
        Factors from 0.01 to 1; 1 for the channel with the largest range.
    """
    outputs: dict[str, Factors] = {}
    inputs: dict[str, Factors] = {}
    for group in groups:
        observed = [largest[tensor] for tensor in group.tensors if tensor in largest]
        seen = [x for x in observed if x.max() > 0]
        if strength and seen:
            shares = np.max([x / x.max() for x in seen], axis=0)
            exact = np.maximum(shares, _SMALLEST).astype(np.float64) ** strength
            shared = (np.rint(exact * _GRID) / _GRID).astype(np.float32)
            outputs.update(dict.fromkeys(group.tensors, shared))
            inputs.update(dict.fromkeys(group.consumers, shared))
    return Equalization(outputs, inputs)


def equalized(model: onnx.ModelProto, equalization: Equalization) -> onnx.ModelProto:
    """A model that computes the same with its channels divided by their factors.

    Raises:
        ArtifactError: the factors are another model's.
    """
    parameters = {}
    for layer in read_layers(model):
        weight, bias = layer.weight, layer.bias
        outputs = equalization.outputs.get(layer.output)
        inputs = equalization.inputs.get(layer.name)
        if inputs is not None:
            along = 0 if _is_depthwise(layer) else 1
            check_count(layer.name, inputs, weight.shape[along])
            weight = weight * _along(inputs, along, weight.ndim)
        if outputs is not None:
            check_count(layer.name, outputs, len(weight))
            weight = weight / _along(outputs, 0, weight.ndim)
            bias = None if bias is None else bias / outputs
        parameters[layer.name] = (weight, bias)
    return with_parameters(model, parameters)


def check_count(layer: str, factors: Factors, n_channels: int) -> None:
    """Checks that a layer has as many channels as there are factors.

    Raises:
        ArtifactError: it has not.
    """
    if len(factors) != n_channels:
        raise ArtifactError(
            f"The equalization of {layer} must have a factor for each of {n_channels} channels, "
            f"got {len(factors)}. Run `dvc repro` to make it again."
        )


def _along(factors: Factors, axis: int, ndim: int) -> Factors:
    return factors.reshape([-1 if x == axis else 1 for x in range(ndim)])


class _Group(BaseModel):
    """Tensors and layers with the same factors, which are multiples of 1 / `denominator`."""

    model_config = ConfigDict(extra="forbid", strict=True)

    numerators: list[Annotated[int, Field(ge=1, le=_GRID)]] = Field(min_length=1)
    denominator: Annotated[int, Field(ge=_GRID, le=_GRID)] = _GRID
    outputs: list[str]
    inputs: list[str]


_GROUPS = TypeAdapter(list[_Group])


def encode(equalization: Equalization) -> str:
    """Writes factors as JSON; empty without any."""
    found: dict[tuple[int, ...], _Group] = {}
    for kind, by_name in equalization._asdict().items():
        for name, factors in by_name.items():
            numerators = np.rint(factors * _GRID).astype(int).tolist()
            group = _Group(numerators=numerators, outputs=[], inputs=[])
            getattr(found.setdefault(tuple(numerators), group), kind).append(name)
    groups = [group.model_dump() for group in found.values()]
    return json.dumps(groups, separators=(",", ":")) if groups else ""


def as_metadata(equalization: Equalization) -> dict[str, str]:
    """The entry in the metadata of an equalized model's file; none without factors."""
    text = encode(equalization)
    return {METADATA: text} if text else {}


def decode(text: str) -> Equalization:
    """Reads what `encode` returned.

    Raises:
        ValueError: it is something else.
    """
    equalization = Equalization({}, {})
    for group in _GROUPS.validate_json(text) if text else ():
        factors = (np.array(group.numerators) / group.denominator).astype(np.float32)
        equalization = Equalization(
            {**equalization.outputs, **dict.fromkeys(group.outputs, factors)},
            {**equalization.inputs, **dict.fromkeys(group.inputs, factors)},
        )
    return equalization
