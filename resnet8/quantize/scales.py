"""Scales of weights, with which every bias is represented as well.

A bias has an int32 code in steps of input scale times weight scale. A channel with weights near
zero (pruned, or its batch normalization decayed) would get steps so small that the bias does not
fit, and one whose products are large beside its output steps so large that the bias is lost. So
a weight scale has a lower bound, and a product of scales an upper one.

Shape letters: C channels, O outputs of a layer, I numbers that each is computed from.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import onnx
from numpy.typing import NDArray

from resnet8.core.qparams import N_CODES, QuantizationParameters
from resnet8.models.onnx_graph import PASSING, Graph
from resnet8.quantize import rounding
from resnet8.quantize.layers import Layer, read_layers
from resnet8.quantize.observers import Seen

# Of the code of a bias. Far below the 2**31 that int32 takes, so that the correction of the bias
# and the sum of products have room, and float32 carries the code without a loss.
_LARGEST_BIAS = 2.0**22
# Steps of a bias in a step of the output, at least: a bias is off by at most half of one, 1/16.
_BIAS_STEPS = 8.0


class Scales(NamedTuple):
    """The scales of a model.

    activations: by tensor, some with a wider range than was asked for.
    weights: by layer.
    notes: why a range is wider, a sentence each.
    """

    activations: dict[str, QuantizationParameters]
    weights: dict[str, QuantizationParameters]
    notes: tuple[str, ...]


def find_outputs(model: onnx.ModelProto, points: Collection[str]) -> dict[str, str]:
    """The tensor in which each layer's output is rounded to 8 bits, by layer.

    It is the layer's output, or what operators that only cut off, bend or move values make of it.
    A layer whose output is not rounded (the logits) has its output.
    """
    consumers = Graph(model).consumers
    found = {}
    for layer in read_layers(model):
        tensor = layer.output
        while tensor not in points:
            behind = consumers.get(tensor, [])
            if [node.op_type in PASSING for node in behind] != [True]:
                break
            tensor = behind[0].output[0]
        found[layer.name] = tensor if tensor in points else layer.output
    return found


def find_scales(  # noqa: PLR0913
    layers: Sequence[Layer],
    activations: Mapping[str, QuantizationParameters],
    *,
    points: Mapping[str, str],
    rounded_as: Mapping[str, str],
    seen: Mapping[str, Seen],
    symmetric: bool,
    per_channel: bool,
) -> Scales:
    """Decides the scales of weights.

    Args:
        layers: to round, in the order of computation.
        activations: by tensor with a scale of its own.
        points: the tensors that are rounded to 8 bits, each with the one whose scale it has.
        rounded_as: see `find_outputs`.
        seen: the range of each tensor of `points` and of `rounded_as`.
        symmetric: of weights, see `rounding.find_scales`.
        per_channel: likewise.
    """
    activations, weights, notes = dict(activations), {}, []
    for layer in layers:
        source, output = points[layer.input], rounded_as[layer.name]
        owner = points.get(output)
        step = float(activations[source].scale)
        # A float output is held to the steps that it would have in 8 bits.
        output_step = (
            float(activations[owner].scale) if owner else _span(seen[output]) / (N_CODES - 1)
        )
        weight = layer.weight.reshape(len(layer.weight), -1).astype(np.float64)
        bias = np.zeros(len(weight)) if layer.bias is None else np.abs(layer.bias, dtype=np.float64)
        smallest = np.maximum(bias, output_step or 1.0) / _LARGEST_BIAS / step
        found = rounding.find_scales(
            weight, smallest=smallest, symmetric=symmetric, per_channel=per_channel
        )
        largest = output_step / _BIAS_STEPS / step
        if output_step and found.scale.max() > largest:
            # First at the cost of weights that no image had a use for.
            smallest = np.maximum(smallest, np.minimum(found.scale, largest))
            found = rounding.find_scales(
                weight * _used(layer, seen[layer.input]),
                smallest=smallest,
                symmetric=symmetric,
                per_channel=per_channel,
            )
            needed = float(found.scale.max()) * step * _BIAS_STEPS * (1 + 1e-6)
            if owner and needed > output_step * (1 + 2e-6):
                activations[owner] = activations[owner]._replace(scale=np.array(needed, np.float32))
                notes.append(
                    f"The range of {owner} is {needed / output_step:.1f} times as wide as "
                    f"chosen, because {layer.name} adds up products in larger steps."
                )
        weights[layer.name] = found
    return Scales(activations, weights, tuple(notes))


def _span(seen: Seen) -> float:
    """The length of a tensor's range, widened to 0."""
    return max(float(seen.high.max()), 0.0) - min(float(seen.low.min()), 0.0)


def _used(layer: Layer, seen: Seen) -> NDArray[np.bool_]:
    """(O, I) whether the input of each weight was ever other than zero; broadcasts."""
    used = (seen.low != 0) | (seen.high != 0)
    outputs, channels, *kernel = layer.weight.shape
    if used.size != layer.groups * channels:  # a dense layer on more than two dimensions
        return np.ones((1, 1), np.bool_)
    by_output = np.repeat(used.reshape(layer.groups, channels), outputs // layer.groups, axis=0)
    return np.repeat(by_output, int(np.prod(kernel)), axis=1)
