"""Chooses the quantization of a model from calibration images.

1. `equalization`: divide channels until they have similar ranges.
2. `ranges`, `addends`: choose the range of each activation.
3. `scales`: choose the scales of weights.
4. `rounding`: round weights and biases layer by layer, with all preceding layers quantized.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from resnet8.core.qparams import Parameter, QuantizationParameters
from resnet8.core.sections import Fit
from resnet8.models.onnx_graph import Graph, codes_of, fake_quantized, with_parameters
from resnet8.quantize import addends, equalization, observers, ranges, rounding, scales
from resnet8.quantize.equalization import Equalization
from resnet8.quantize.layers import Layer, read_layers
from resnet8.quantize.observers import Statistics
from resnet8.quantize.patches import find_patches, sum_products
from resnet8.quantize.quantization import LayerParameters, Quantization

Activations = Mapping[str, QuantizationParameters]
Layers = Mapping[str, LayerParameters]
# Streams the values of tensors of a model, see `observers.stream`.
Watch = Callable[[onnx.ModelProto, Collection[str]], Iterator[observers.Batch]]


def fit(  # noqa: PLR0913
    model: onnx.ModelProto,
    images: NDArray[np.uint8],
    settings: Fit,
    *,
    points: Mapping[str, str],
    progress: Callable[[Iterable[str]], Iterable[str]] = iter,
    cores: int | None = None,
) -> Quantization:
    """Chooses the quantization of a model.

    Args:
        model: a folded float model.
        images: (N, 32, 32, 3) uint8 calibration images.
        settings: methods and their options.
        points: maps each tensor in 8 bits to the tensor whose scale it takes.
        progress: wraps the loop over the inputs of layers, like `tqdm.tqdm`.
        cores: number of cores to use, None for all.
    """
    watch = partial(observers.stream, images=images, cores=cores)
    outputs = scales.find_outputs(model, points)
    statistics = observers.observe(watch(model, sorted({*points, *outputs.values()})))
    factors = _find_factors(model, settings, {name: statistics[name] for name in points})
    base = equalization.equalized(model, factors)
    statistics = {name: x.divided(factors.outputs.get(name)) for name, x in statistics.items()}
    observed = {name: statistics[name] for name in points}
    activation_ranges, clipped = _find_ranges(base, watch, settings, observed, points)
    chosen = scales.find_scales(
        [x for x in read_layers(base) if x.input in points and x.name not in settings.float_layers],
        {
            name: ranges.to_parameters(*ends, symmetric=settings.activation_symmetric)
            for name, ends in activation_ranges.items()
        },
        settings,
        points=points,
        outputs=outputs,
        statistics=statistics,
    )
    activations = {name: chosen.activations[owner] for name, owner in points.items()}
    # BLAS threads wait for each other by spinning, on cores that run the model meanwhile.
    with threadpool_limits(limits=1, user_api="blas"):
        layers = _round_layers(
            base, watch, settings, activations, chosen.weights, statistics, progress
        )
    idle = _find_idle_options(base, settings, layers, factors, activation_ranges, observed)
    consumers = Graph(base).consumers
    return Quantization(
        activations,
        layers | _float_layers(base, layers, factors),
        factors,
        tuple(sorted({*clipped, *(x.output[0] for name in clipped for x in consumers[name])})),
        settings.activation_symmetric,
        tuple(settings.float_layers),
        (*_describe_clipped(clipped), *idle, *chosen.notes),
    )


def _find_factors(
    model: onnx.ModelProto, settings: Fit, statistics: Mapping[str, Statistics]
) -> Equalization:
    groups = equalization.find_groups(model) if settings.equalization else []
    largest = {name: np.maximum(-x.low, x.high) for name, x in statistics.items()}
    return equalization.find_factors(groups, largest, strength=settings.equalization)


def _find_ranges(
    model: onnx.ModelProto,
    watch: Watch,
    settings: Fit,
    statistics: Mapping[str, Statistics],
    points: Mapping[str, str],
) -> tuple[ranges.Ranges, list[str]]:
    """Returns the ranges of activations, and the addends that are clipped below on purpose."""
    symmetric = settings.activation_symmetric
    if settings.activation_range == "minmax":
        return ranges.minmax(statistics), []
    if settings.activation_range != "mse":
        return ranges.library_ranges(watch(model, statistics), settings), []
    histograms = observers.find_histograms(watch(model, statistics), statistics)
    chosen = {x: ranges.least_squares(y, symmetric=symmetric) for x, y in histograms.items()}
    pairs = addends.find_addends(model, points)
    joint = addends.find_histograms(watch(model, {*pairs, *pairs.values()}), pairs, statistics)
    chosen |= {x: addends.least_squares(y, symmetric=symmetric) for x, y in joint.items()}
    return chosen, sorted(x for x in pairs if chosen[x][0] > float(statistics[x].low.min()))


def _describe_clipped(tensors: Sequence[str]) -> list[str]:
    if not tensors:
        return []
    return [
        f"{', '.join(tensors)}: clipped below on purpose, because the ReLU behind the addition "
        "discards what is clipped."
    ]


def _round_layers(  # noqa: PLR0913, PLR0917
    base: onnx.ModelProto,
    watch: Watch,
    settings: Fit,
    activations: Activations,
    weights: Mapping[str, QuantizationParameters],
    statistics: Mapping[str, Statistics],
    progress: Callable[[Iterable[str]], Iterable[str]],
) -> dict[str, LayerParameters]:
    """Rounds the layers in order of computation."""
    quantized = fake_quantized(base, activations)
    readers: dict[str, list[Layer]] = {}
    for layer in read_layers(base):
        if layer.name in weights:
            readers.setdefault(layer.input, []).append(layer)
    needs_inputs = settings.weight_rounding == "gptq" or settings.bias_correction
    rounded: dict[str, LayerParameters] = {}
    for tensor in progress(list(readers)):
        layers, source = readers[tensor], activations[tensor]
        inputs: dict[str, rounding.Inputs] = {}
        if needs_inputs:
            batches = watch(quantized, [codes_of(tensor)])
            steps = (
                batch[codes_of(tensor)].astype(np.float64) - source.zero_point for batch in batches
            )
            inputs = _observe_inputs(layers, steps, statistics[tensor].mean)
        for layer in layers:
            rounded[layer.name] = rounding.round_layer(
                layer, weights[layer.name], source.scale, settings, inputs.get(layer.name)
            )
        new = {x.name: (rounded[x.name].weight.values, rounded[x.name].bias) for x in layers}
        quantized = with_parameters(quantized, new)
    return rounded


def _observe_inputs(
    layers: Sequence[Layer], batches: Iterable[NDArray[np.float64]], float_mean: NDArray[np.float64]
) -> dict[str, rounding.Inputs]:
    """Returns the input statistics of layers with the same input.

    Args:
        layers: the layers.
        batches: 8-bit inputs in steps of their scale: whole numbers, whose sums are exact.
        float_mean: mean input in the float model.
    """
    products: dict[str, Any] = dict.fromkeys((layer.name for layer in layers), 0.0)
    counts = dict.fromkeys(products, 0)
    total: Any = 0.0
    for steps in batches:
        total = total + steps.sum(axis=0)
        for layer in layers:
            batch_products, n_positions = sum_products(layer, steps)
            products[layer.name] = products[layer.name] + batch_products
            counts[layer.name] += n_positions
    return {
        layer.name: rounding.Inputs(
            products[layer.name] / counts[layer.name],
            find_patches(layer, total[np.newaxis]).sum(axis=1) / counts[layer.name],
            find_patches(layer, float_mean[np.newaxis]).mean(axis=1),
        )
        for layer in layers
    }


def _float_layers(
    base: onnx.ModelProto, rounded: Layers, factors: Equalization
) -> dict[str, LayerParameters]:
    """Returns the equalized parameters of the layers that stay in float."""
    return {
        layer.name: LayerParameters(Parameter(layer.weight), layer.bias)
        for layer in read_layers(base)
        if layer.name not in rounded
        and (layer.name in factors.inputs or layer.output in factors.outputs)
    }


def _find_idle_options(  # noqa: PLR0913, PLR0917
    base: onnx.ModelProto,
    settings: Fit,
    layers: Layers,
    factors: Equalization,
    activation_ranges: ranges.Ranges,
    statistics: Mapping[str, Statistics],
) -> list[str]:
    """Returns a sentence for each option of `fit` that had no effect."""
    idle = {
        f"activation_range: {settings.activation_range}": settings.activation_range != "minmax"
        and _clip_nothing(activation_ranges, ranges.minmax(statistics), settings),
        f"equalization: {settings.equalization:g}": settings.equalization > 0
        and not factors.outputs,
        "weight_rounding: gptq": settings.weight_rounding == "gptq"
        and _are_nearest(base, layers, symmetric=settings.weight_symmetric),
        "bias_correction: true": settings.bias_correction
        and all(layer.bias is None for layer in layers.values()),
    }
    return [
        f"fit.{option} had no effect on this model." for option, is_idle in idle.items() if is_idle
    ]


def _clip_nothing(chosen: ranges.Ranges, observed: ranges.Ranges, settings: Fit) -> bool:
    """Returns whether ranges end at the observed values.

    ONNX Runtime's ranges end at the edge of a bin, so they may differ by two bins, plus 0.01 bins
    for rounding; ranges by least squares are exact.
    """
    bins = settings.histogram_bins if settings.activation_range != "mse" else np.inf
    tolerance = 2.01 / bins  # relative to the largest value
    return all(
        max(np.abs(np.subtract(chosen[name], ends))) <= tolerance * max(map(abs, ends))
        for name, ends in observed.items()
    )


def _are_nearest(base: onnx.ModelProto, layers: Layers, *, symmetric: bool) -> bool:
    """Returns whether all weights have the nearest code."""
    for layer in read_layers(base):
        if layer.name in layers:
            values, parameters = layers[layer.name].weight
            if parameters is not None:
                codes = rounding.nearest(layer.matrix, parameters, symmetric=symmetric)
                if (parameters.dequantize(codes.reshape(values.shape)) != values).any():
                    return False
    return True
