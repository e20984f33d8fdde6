"""Chooses the quantization of a model from calibration images.

1. `equalization`: divide channels until they have similar ranges.
2. `ranges`: choose the range of each activation.
3. `scales`: choose the scales of weights.
4. `rounding`: round weights and biases layer by layer, with all preceding layers quantized.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import partial

import numpy as np
import onnx
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from resnet8.core.qparams import Parameter
from resnet8.core.sections import Fit
from resnet8.models.onnx_graph import Graph, codes_of, fake_quantized, with_parameters
from resnet8.quantize import equalization, observers, ranges, scales
from resnet8.quantize.layers import Layer, read_layers
from resnet8.quantize.observers import Statistics
from resnet8.quantize.patches import observe_inputs
from resnet8.quantize.quantization import LayerParameters, Quantization
from resnet8.quantize.ranges import Ranges
from resnet8.quantize.rounding import round_layer
from resnet8.quantize.scales import Scales

Progress = Callable[[Iterable[str]], Iterable[str]]
# Streams the values of tensors of a model, see `observers.stream`.
Watch = Callable[[onnx.ModelProto, Collection[str]], Iterator[observers.Batch]]


def fit(  # noqa: PLR0913
    model: onnx.ModelProto,
    images: NDArray[np.uint8],
    settings: Fit,
    *,
    points: Mapping[str, str],
    progress: Progress = iter,
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
    largest = {name: np.maximum(-statistics[name].low, statistics[name].high) for name in points}
    groups = equalization.find_groups(model) if settings.equalization else []
    factors = equalization.find_factors(groups, largest, strength=settings.equalization)
    base = equalization.equalized(model, factors)
    statistics = {name: x.divided(factors.outputs.get(name)) for name, x in statistics.items()}

    observed = {name: statistics[name] for name in points}
    addends = ranges.find_addends(base, points) if settings.activation_range == "mse" else {}
    chosen = _find_ranges(base, watch, settings, observed, addends)
    clipped = sorted(x for x in addends if chosen[x][0] > float(observed[x].low.min()))
    layers = read_layers(base)
    in_8_bits = [x for x in layers if x.input in points and x.name not in settings.float_layers]
    decided = scales.find_scales(
        in_8_bits, chosen, settings, points=points, outputs=outputs, statistics=statistics
    )
    # BLAS threads wait for each other by spinning, on cores that run the model meanwhile.
    with threadpool_limits(limits=1, user_api="blas"):
        rounded = _round_layers(base, in_8_bits, watch, settings, decided, statistics, progress)
    in_float = {
        x.name: LayerParameters(Parameter(x.weight), x.bias)
        for x in layers
        if x.name not in rounded and (x.name in factors.inputs or x.output in factors.outputs)
    }
    consumers = Graph(base).consumers
    quantization = Quantization(
        decided.activations,
        rounded | in_float,
        factors,
        tuple(sorted({*clipped, *(x.output[0] for name in clipped for x in consumers[name])})),
        settings.activation_symmetric,
        tuple(settings.float_layers),
    )
    idle = _find_idle_options(settings, quantization, in_8_bits, chosen, ranges.minmax(observed))
    notes = [f"fit.{option} had no effect on this model." for option in idle]
    if clipped:
        notes.insert(
            0,
            f"{', '.join(clipped)}: clipped below on purpose, because the ReLU behind the addition "
            "discards what is clipped.",
        )
    return quantization._replace(notes=(*notes, *decided.notes))


def _find_ranges(
    model: onnx.ModelProto,
    watch: Watch,
    settings: Fit,
    statistics: Mapping[str, Statistics],
    addends: Mapping[str, str],
) -> Ranges:
    if settings.activation_range == "minmax":
        return ranges.minmax(statistics)
    batches = watch(model, statistics)
    if settings.activation_range != "mse":
        return ranges.library_ranges(batches, settings)
    histograms = observers.find_histograms(batches, statistics, addends)
    symmetric = settings.activation_symmetric
    return {x: ranges.least_squares(y, symmetric=symmetric) for x, y in histograms.items()}


def _round_layers(  # noqa: PLR0913, PLR0917
    base: onnx.ModelProto,
    layers: Sequence[Layer],
    watch: Watch,
    settings: Fit,
    decided: Scales,
    statistics: Mapping[str, Statistics],
    progress: Progress,
) -> dict[str, LayerParameters]:
    """Rounds layers in order of computation, on inputs with all preceding layers rounded."""
    quantized = fake_quantized(base, decided.activations)
    rounded: dict[str, LayerParameters] = {}
    for tensor in progress(list(dict.fromkeys(x.input for x in layers))):
        readers, source = [x for x in layers if x.input == tensor], decided.activations[tensor]
        inputs = {}
        if settings.weight_rounding == "gptq" or settings.bias_correction:
            codes = (batch[codes_of(tensor)] for batch in watch(quantized, [codes_of(tensor)]))
            steps = (x.astype(np.float64) - source.zero_point for x in codes)
            inputs = observe_inputs(readers, steps, statistics[tensor].mean)
        for layer in readers:
            name, weight = layer.name, decided.weights[layer.name]
            rounded[name] = round_layer(layer, weight, source.scale, settings, inputs.get(name))
        quantized = with_parameters(quantized, {x.name: rounded[x.name].values for x in readers})
    return rounded


def _find_idle_options(
    settings: Fit,
    quantization: Quantization,
    layers: Sequence[Layer],
    chosen: Ranges,
    observed: Ranges,
) -> Iterator[str]:
    """Yields each option of `fit` that had no effect on the model."""
    method, strength = settings.activation_range, settings.equalization
    # ONNX Runtime's ranges end at the edge of a bin, so they may differ by two bins, plus 0.01
    # bins for rounding; ranges by least squares are exact.
    tolerance = 0.0 if method == "mse" else 2.01 / settings.histogram_bins  # of the largest value
    if method != "minmax" and all(
        max(np.abs(np.subtract(chosen[name], ends))) <= tolerance * max(map(abs, ends))
        for name, ends in observed.items()
    ):
        yield f"activation_range: {method}"
    if strength > 0 and not quantization.equalization.outputs:
        yield f"equalization: {strength:g}"
    weights, unit = quantization.weights, np.ones((), np.float32)
    if settings.weight_rounding == "gptq" and all(
        np.array_equal(
            round_layer(x, weights[x.name], unit, settings, None).weight.values,
            quantization.layers[x.name].weight.values,
        )
        for x in layers
    ):
        yield "weight_rounding: gptq"
    if settings.bias_correction and all(x.bias is None for x in layers):
        yield "bias_correction: true"
