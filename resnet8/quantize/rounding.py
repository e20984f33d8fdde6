"""Rounding of weights and biases, layer by layer.

Weights are counted in steps of their scale. Shape letters: G groups, O outputs of a layer,
I inputs of an output.
"""

from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from resnet8.core.qparams import Parameter, QuantizationParameters
from resnet8.core.sections import Fit
from resnet8.models.onnx_graph import codes_of, fake_quantized, with_parameters
from resnet8.quantize.layers import Layer
from resnet8.quantize.observers import Observed
from resnet8.quantize.patches import Inputs, observe_inputs
from resnet8.quantize.quantization import LayerParameters
from resnet8.quantize.scales import LARGEST_CODE, Scales

Matrix = NDArray[np.float64]
Limits = tuple[int, int]  # smallest and largest number of steps
Progress = Callable[[Iterable[str]], Iterable[str]]
# Weights are rounded to these parts of a step first. Otherwise the last bits of LAPACK, which
# differ between CPUs, decide about weights half-way between two codes.
_PARTS = 2**20


def round_layers(
    observed: Observed, settings: Fit, scales: Scales, progress: Progress
) -> dict[str, LayerParameters]:
    """Rounds layers in order of computation, on inputs with all preceding layers rounded."""
    quantized = fake_quantized(observed.model, scales.activations)
    rounded: dict[str, LayerParameters] = {}
    for tensor in progress(list(dict.fromkeys(x.input for x in observed.layers))):
        layers = [x for x in observed.layers if x.input == tensor]
        source = scales.activations[tensor]
        inputs: dict[str, Inputs] = {}
        # BLAS threads wait for each other by spinning, on cores that run the model meanwhile.
        with threadpool_limits(limits=1, user_api="blas"):
            if settings.weight_rounding == "gptq" or settings.bias_correction:
                batches = observed.watch(quantized, [codes_of(tensor)])
                codes = (batch[codes_of(tensor)].astype(np.float64) for batch in batches)
                steps = (x - source.zero_point for x in codes)
                inputs = observe_inputs(layers, steps, observed.statistics[tensor].mean)
            for layer in layers:
                name, weight = layer.name, scales.weights[layer.name]
                rounded[name] = _round_layer(layer, weight, source, settings, inputs.get(name))
        quantized = with_parameters(quantized, {x.name: rounded[x.name].values for x in layers})
    return rounded


def _round_layer(
    layer: Layer,
    weight: QuantizationParameters,
    source: QuantizationParameters,
    settings: Fit,
    inputs: Inputs | None,
) -> LayerParameters:
    """Rounds the weights of a float layer to int8 codes and its bias to int32 codes."""
    values, bias = round_weights(layer, weight, settings, inputs), layer.bias
    if bias is not None:
        exact = bias.astype(np.float64)
        if settings.bias_correction and inputs is not None:
            exact += _mean_error(layer, values, inputs, float(source.scale))
        step = (source.scale * weight.scale).astype(np.float64)
        bias = (np.rint(exact / step) * step).astype(np.float32)
    return LayerParameters(Parameter(values, weight), bias)


def round_weights(
    layer: Layer, parameters: QuantizationParameters, settings: Fit, inputs: Inputs | None = None
) -> NDArray[np.float32]:
    """Rounds weights to values with a code; without statistics of the inputs, to the nearest."""
    steps = layer.matrix / np.broadcast_to(parameters.scale, len(layer.weight))[:, np.newaxis]
    zero_point = int(np.max(parameters.zero_point))
    lowest = -LARGEST_CODE if settings.weight_symmetric else -LARGEST_CODE - 1
    limits = lowest - zero_point, LARGEST_CODE - zero_point
    if settings.weight_rounding == "gptq" and inputs is not None:
        products = inputs.products
        if settings.bias_correction:  # then the bias compensates for mean errors
            products = products - inputs.mean[:, :, np.newaxis] * inputs.mean[:, np.newaxis, :]
        groups = zip(np.split(steps, layer.groups), products, strict=True)
        rounded = [gptq(rows, limits, x, damping=settings.gptq_damping) for rows, x in groups]
        codes = np.concatenate(rounded) + zero_point
    else:
        codes = nearest(steps, limits) + zero_point
    return parameters.dequantize(codes.reshape(layer.weight.shape))


def _mean_error(
    layer: Layer, values: NDArray[np.float32], inputs: Inputs, input_scale: float
) -> NDArray[np.float64]:
    """Returns the mean output of the float layer minus that of the rounded weights, (O,).

    Source: M. Nagel, M. van Baalen, T. Blankevoort, M. Welling (2019), Data-Free Quantization
    Through Weight Equalization and Bias Correction, https://arxiv.org/abs/1906.04721,
    section 4.2, with means from images.
    """
    shape = (layer.groups, len(layer.weight) // layer.groups, -1)  # (G, O / G, I)
    mean = inputs.mean * input_scale
    before = layer.weight.astype(np.float64).reshape(shape) * inputs.float_mean[:, None, :]
    after = values.astype(np.float64).reshape(shape) * mean[:, None, :]
    # Not a matrix product, whose order of additions depends on the CPU.
    return np.asarray(before.sum(axis=-1) - after.sum(axis=-1)).ravel()


def nearest(steps: Matrix, limits: Limits) -> Matrix:
    """Rounds weights to the nearest number of steps."""
    return np.asarray(np.clip(np.rint(np.rint(steps * _PARTS) / _PARTS), *limits))


def gptq(weight: Matrix, limits: Limits, products: Matrix, *, damping: float) -> Matrix:
    """Rounds weights such that the error of the layer's outputs stays small, (O, I).

    Rounds column by column, and compensates for each error with the columns that are not rounded
    yet. The inputs with the largest mean squares come first. `products` (I, I) are those of
    `Inputs`; `damping` is the share of the mean of their diagonal that is added to it.

    Source: E. Frantar, S. Ashkboos, T. Hoefler, D. Alistarh (2023), GPTQ: Accurate
    Post-Training Quantization for Generative Pre-trained Transformers,
    https://arxiv.org/abs/2210.17323, section 3, with its option to order by activations.
    """
    order = np.argsort(-np.diag(products), kind="stable")
    upper = _root_of_inverse(products[np.ix_(order, order)], damping)
    steps = weight[:, order]
    rounded = np.empty_like(weight)
    for column, position in enumerate(order):
        rounded[:, position] = nearest(steps[:, column], limits)
        error = (steps[:, column] - rounded[:, position]) / upper[column, column]
        steps[:, column:] -= np.outer(error, upper[column, column:])
    return rounded


def _root_of_inverse(products: Matrix, damping: float) -> Matrix:
    """Returns the upper triangular U with U.T @ U = the inverse of the damped products, (I, I).

    Products of few or equal images are singular up to rounding: damping grows until they are not.
    """
    mean = float(np.diag(products).mean())
    share = damping * mean if mean > 0 else 1.0
    for _ in range(100):
        try:
            inverse = np.linalg.inv(products + np.eye(len(products)) * share)
            return np.asarray(np.linalg.cholesky((inverse + inverse.T) / 2).T, np.float64)
        except np.linalg.LinAlgError:
            share *= 10
    raise ValueError("The mean products of inputs must be finite.")
