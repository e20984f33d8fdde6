"""Scales of weights that also represent every bias.

The int32 code of a bias counts steps of input scale times weight scale. In a channel with weights
near zero (pruned, or with a decayed batch normalization), steps may be too small for the bias to
fit; in a channel whose products are large beside the steps of its output, they may be too large.
So there is a lower bound on the weight scale, and an upper bound on the product of both scales.

Shape letters: O outputs of a layer, I inputs of an output.
"""

from collections.abc import Collection
from typing import NamedTuple

import numpy as np
import onnx
from numpy.typing import NDArray

from resnet8.core.qparams import N_CODES, QuantizationParameters
from resnet8.core.sections import Fit
from resnet8.models.onnx_graph import PASSING, Graph
from resnet8.quantize.layers import Layer, read_layers
from resnet8.quantize.observers import Observed, Statistics
from resnet8.quantize.ranges import Ranges, to_parameters

LARGEST_CODE = 127  # of int8; symmetric weights do not use code -128
# Code of a bias. Far below the 2**31 of int32, to leave room for bias correction and the sum of
# products, and small enough for float32 to hold it exactly.
_LARGEST_BIAS = 2.0**22
# Least number of bias steps in a step of the output: a bias is off by at most 1/16 output step.
_BIAS_STEPS = 8.0


class Scales(NamedTuple):
    """Quantization parameters of a model.

    activations: by tensor in 8 bits.
    weights: by layer.
    widened: ranges that are wider than chosen: tensor, factor, and the layer that needs it.
    """

    activations: dict[str, QuantizationParameters]
    weights: dict[str, QuantizationParameters]
    widened: list[tuple[str, float, str]]


def find_outputs(model: onnx.ModelProto, points: Collection[str]) -> dict[str, str]:
    """Maps each layer to the tensor in which its output is rounded to 8 bits.

    This is the layer's output, or the output of pass-through operators behind it. A layer whose
    output stays in float (the logits) is mapped to its output.
    """
    consumers = Graph(model).consumers
    outputs = {}
    for layer in read_layers(model):
        tensor = layer.output
        while tensor not in points:
            readers = consumers.get(tensor, [])
            if len(readers) != 1 or readers[0].op_type not in PASSING:
                break
            tensor = readers[0].output[0]
        outputs[layer.name] = tensor if tensor in points else layer.output
    return outputs


def find_scales(observed: Observed, settings: Fit, ranges: Ranges) -> Scales:
    """Chooses the scales of weights, and widens the ranges that biases do not fit."""
    points, statistics = observed.points, observed.statistics
    symmetric = settings.activation_symmetric
    owned = {x: to_parameters(*ends, symmetric=symmetric) for x, ends in ranges.ends.items()}
    weights, widened = {}, []
    for layer in observed.layers:
        output = observed.outputs[layer.name]
        owner = points.get(output)
        input_step = float(owned[points[layer.input]].scale)
        # A float output is held to the steps that it would have in 8 bits.
        low, high = statistics[output].ends
        output_step = float(owned[owner].scale) if owner else (high - low) / (N_CODES - 1)
        bias = 0.0 if layer.bias is None else np.abs(layer.bias, dtype=np.float64)
        # Neither the bias nor an output step may have a code above the largest.
        smallest = np.maximum(bias, output_step or 1.0) / _LARGEST_BIAS / input_step
        parameters = find_weight_parameters(layer.matrix, settings, smallest=smallest)
        largest = output_step / _BIAS_STEPS / input_step
        if output_step and parameters.scale.max() > largest:
            # Bias steps are too large. First, weights may clip whose inputs are zero on all images.
            smallest = np.maximum(smallest, np.minimum(parameters.scale, largest))
            used = layer.matrix * _find_used(layer, statistics[layer.input])
            parameters = find_weight_parameters(used, settings, smallest=smallest)
            # Then the output's range is widened; margins allow for scales rounded to float32.
            needed = float(parameters.scale.max()) * input_step * _BIAS_STEPS * (1 + 1e-6)
            if owner and needed > output_step * (1 + 2e-6):
                owned[owner] = owned[owner]._replace(scale=np.array(needed, np.float32))
                widened.append((owner, needed / output_step, layer.name))
        weights[layer.name] = parameters
    return Scales({name: owned[owner] for name, owner in points.items()}, weights, widened)


def find_weight_parameters(
    weight: NDArray[np.float64], settings: Fit, *, smallest: NDArray[np.float64] | float = 0.0
) -> QuantizationParameters:
    """Returns the int8 quantization parameters that give every weight (O, I) a code.

    `smallest` is one lower bound on the scales, or one for each output. Parameters allow scales for
    each output only with symmetric weights, because a kernel takes one zero point.
    """
    low, high = np.minimum(weight.min(axis=1), 0), np.maximum(weight.max(axis=1), 0)
    if not settings.per_channel:
        low, high, smallest = low.min(), high.max(), np.max(smallest)
    symmetric = settings.weight_symmetric
    step = np.maximum(-low, high) / LARGEST_CODE if symmetric else (high - low) / (N_CODES - 1)
    step = np.maximum(step, smallest)
    scale = np.where(step > 0, step, 1.0).astype(np.float32)
    if settings.per_channel:
        return QuantizationParameters.per_channel(scale, "int8", axis=0)
    zero_point = 0 if symmetric else round(float(-N_CODES // 2 - low / scale))
    return QuantizationParameters.per_tensor(float(scale), zero_point, "int8")


def _find_used(layer: Layer, statistics: Statistics) -> NDArray[np.bool_]:
    """Returns whether the input of each weight is nonzero on any image, (O, I) or broadcastable."""
    used = (statistics.low != 0) | (statistics.high != 0)
    n_outputs, n_channels, *kernel = layer.weight.shape
    if used.size != layer.groups * n_channels:  # a dense layer on more than two dimensions
        return np.ones((1, 1), np.bool_)
    by_output = np.repeat(used.reshape(layer.groups, n_channels), n_outputs // layer.groups, axis=0)
    return np.repeat(by_output, int(np.prod(kernel)), axis=1)
