"""Finds how a model is quantized, from calibration images.

Shape letters: N images, C channels, G groups, O outputs of a layer, I numbers that each is
computed from.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import onnx
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from resnet8.core.qparams import Parameter, QuantizationParameters
from resnet8.core.sections import Fit
from resnet8.models.onnx_graph import codes_of, fake_quantized, with_parameters
from resnet8.quantize import addends, equalization, observers, ranges, rounding, scales
from resnet8.quantize.layers import Layer, read_layers
from resnet8.quantize.patches import find_patches, sum_products
from resnet8.quantize.quantization import LayerParameters, Quantization

Activations = Mapping[str, QuantizationParameters]
# A model and names of tensors -> what batches of the images make of them
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
    """Decides how a model is quantized.

    First the channels are equalized, then each tensor gets a range, then layer by layer the
    weights are rounded on what the layers before, already quantized, make of the images.

    Args:
        model: a folded float model.
        images: (N, 32, 32, 3) uint8 calibration images.
        settings: which methods to take.
        points: the tensors that are rounded to 8 bits, each with the one whose scale it has.
        progress: wraps the loop over layers' inputs, as `tqdm.tqdm` does.
        cores: that may be used, None for all.
    """
    watch = partial(observers.stream, images=images, cores=cores)
    rounded_as = scales.find_outputs(model, points)
    seen = observers.observe(watch(model, sorted({*points, *rounded_as.values()})))
    groups = equalization.find_groups(model) if settings.equalization else []
    factors = equalization.find_factors(
        groups,
        {name: np.maximum(-seen[name].low, seen[name].high) for name in points},
        strength=settings.equalization,
    )
    base = equalization.equalized(model, factors)
    seen = {name: x.divided(factors.outputs.get(name)) for name, x in seen.items()}
    pairs = addends.find_addends(base, points) if settings.activation_range == "mse" else {}
    found = _find_ranges(base, watch, settings, {name: seen[name] for name in points}, pairs)
    symmetric = settings.activation_symmetric
    own = {name: ranges.to_parameters(*ends, symmetric=symmetric) for name, ends in found.items()}
    chosen = scales.find_scales(
        [layer for layer in read_layers(base) if _is_rounded(layer, points, settings)],
        own,
        points=points,
        rounded_as=rounded_as,
        seen=seen,
        symmetric=settings.weight_symmetric,
        per_channel=settings.per_channel,
    )
    activations = {name: chosen.activations[owner] for name, owner in points.items()}
    # BLAS threads wait for each other by spinning, on cores that run the model meanwhile.
    with threadpool_limits(limits=1, user_api="blas"):
        layers, rounded_alike = _round_layers(
            base, watch, settings, activations, chosen.weights, seen, progress
        )
    seen_ends = {name: ends for name, ends in ranges.minmax(seen).items() if name in points}
    idle = {
        f"fit.activation_range: {settings.activation_range}": settings.activation_range != "minmax"
        and _are_alike(found, seen_ends, settings),
        f"fit.equalization: {settings.equalization:g}": settings.equalization > 0
        and not factors.outputs,
        "fit.weight_rounding: gptq": settings.weight_rounding == "gptq" and rounded_alike,
        "fit.bias_correction: true": settings.bias_correction
        and all(layer.bias is None for layer in layers.values()),
    }
    clipped = sorted(x for x in pairs if found[x][0] > seen_ends[x][0])
    relu_aware = tuple(sorted({*clipped, *addends.find_additions(base, clipped)}))
    notes = (
        *addends.describe(clipped),
        *(f"{option} had no effect on this model." for option, is_idle in idle.items() if is_idle),
        *chosen.notes,
    )
    in_float = {
        layer.name: LayerParameters(Parameter(layer.weight), layer.bias)
        for layer in read_layers(base)
        if layer.name not in layers
        and (layer.name in factors.inputs or layer.output in factors.outputs)
    }
    return Quantization(
        activations,
        layers | in_float,
        factors,
        relu_aware,
        symmetric,
        tuple(settings.float_layers),
        notes,
    )


def _find_ranges(
    model: onnx.ModelProto,
    watch: Watch,
    settings: Fit,
    seen: Mapping[str, observers.Seen],
    pairs: Mapping[str, str],
) -> ranges.Ranges:
    symmetric = settings.activation_symmetric
    if settings.activation_range == "minmax":
        return ranges.minmax(seen)
    batches = watch(model, seen)
    if settings.activation_range == "mse":
        found = ranges.least_squares(observers.find_histograms(batches, seen), symmetric=symmetric)
        joint = addends.find_histograms(watch(model, {*pairs, *pairs.values()}), pairs, seen)
        return found | addends.least_squares(joint, symmetric=symmetric)
    return ranges.library_ranges(
        batches,
        method=settings.activation_range,
        symmetric=symmetric,
        percentile=settings.percentile,
        bins=settings.histogram_bins,
        levels=settings.entropy_levels,
    )


def _are_alike(found: ranges.Ranges, seen: ranges.Ranges, settings: Fit) -> bool:
    """Whether ranges clip nothing: they end within two bins of the values that were seen.

    ONNX Runtime's ranges end at the edge of a bin; those of least squares at a value.
    """
    bins = settings.histogram_bins if settings.activation_range != "mse" else np.inf
    tolerance = 2.01 / bins  # of the largest value
    return all(
        max(np.abs(np.subtract(found[name], ends))) <= tolerance * max(map(abs, ends))
        for name, ends in seen.items()
    )


def _round_layers(  # noqa: PLR0913, PLR0917
    base: onnx.ModelProto,
    watch: Watch,
    settings: Fit,
    activations: Activations,
    weights: Mapping[str, QuantizationParameters],
    seen: Mapping[str, observers.Seen],
    progress: Callable[[Iterable[str]], Iterable[str]],
) -> tuple[dict[str, LayerParameters], bool]:
    """Rounds the layers in the order of computation.

    Returns:
        Their parameters, and whether rounding to the nearest gave the same codes.
    """
    quantized = fake_quantized(base, activations)
    readers: dict[str, list[Layer]] = {}
    for layer in read_layers(base):
        if layer.name in weights:
            readers.setdefault(layer.input, []).append(layer)
    found: dict[str, LayerParameters] = {}
    alike = True
    looks = settings.weight_rounding == "gptq" or settings.bias_correction
    for tensor in progress(list(readers)):
        layers = readers[tensor]
        source = activations[tensor]
        inputs = _observe_inputs(layers, source, quantized, watch) if looks else {}
        for layer in layers:
            weight, is_nearest = _round(
                layer, settings, weights[layer.name], inputs.get(layer.name)
            )
            alike = alike and is_nearest
            bias = layer.bias
            if bias is not None:
                exact = bias.astype(np.float64)
                if settings.bias_correction:
                    original = find_patches(layer, seen[tensor].mean[np.newaxis]).mean(axis=1)
                    mean = inputs[layer.name].mean * float(source.scale)
                    exact += _missing(layer, weight.values, original, mean)
                step = (source.scale * weights[layer.name].scale).astype(np.float64)
                bias = (np.rint(exact / step) * step).astype(np.float32)
            found[layer.name] = LayerParameters(weight, bias)
        rounded = {x.name: (found[x.name].weight.values, found[x.name].bias) for x in layers}
        quantized = with_parameters(quantized, rounded)
    return found, alike


class _Inputs(NamedTuple):
    """Statistics of a layer's 8-bit inputs, with all layers before it quantized.

    They are in steps of the input's scale: whole numbers until they are divided, so exact.

    moments: (G, I, I) mean products.
    mean: (G, I).
    """

    moments: NDArray[np.float64]
    mean: NDArray[np.float64]


def _observe_inputs(
    layers: Sequence[Layer],
    source: QuantizationParameters,
    quantized: onnx.ModelProto,
    watch: Watch,
) -> dict[str, _Inputs]:
    """Watches the input that layers share, by layer."""
    codes = codes_of(layers[0].input)
    moments: dict[str, Any] = dict.fromkeys((layer.name for layer in layers), 0.0)
    places = dict.fromkeys(moments, 0)
    total: Any = 0.0
    for batch in watch(quantized, [codes]):
        steps = batch[codes].astype(np.float64) - source.zero_point
        total = total + steps.sum(axis=0)
        for layer in layers:
            products, n_places = sum_products(layer, steps)
            moments[layer.name] = moments[layer.name] + products
            places[layer.name] += n_places
    sums = {layer.name: find_patches(layer, total[np.newaxis]).sum(axis=1) for layer in layers}
    return {name: _Inputs(moments[name] / n, sums[name] / n) for name, n in places.items()}


def _is_rounded(layer: Layer, points: Collection[str], settings: Fit) -> bool:
    return layer.input in points and layer.name not in settings.float_layers


def _round(
    layer: Layer, settings: Fit, parameters: QuantizationParameters, inputs: _Inputs | None
) -> tuple[Parameter, bool]:
    """Rounds the weights of a layer; says whether each got the nearest code."""
    matrix = layer.weight.reshape(len(layer.weight), -1).astype(np.float64)
    symmetric = settings.weight_symmetric
    codes = nearest = rounding.nearest(matrix, parameters, symmetric=symmetric)
    if settings.weight_rounding == "gptq" and inputs is not None:
        moments = inputs.moments
        if settings.bias_correction:  # which makes up for mean errors anyway
            moments = moments - inputs.mean[:, :, None] * inputs.mean[:, None, :]
        groups = zip(
            np.split(matrix, layer.groups), parameters.split(layer.groups), moments, strict=True
        )
        codes = np.concatenate(
            [
                rounding.gptq(
                    part, steps, symmetric=symmetric, moments=x, damping=settings.gptq_damping
                )
                for part, steps, x in groups
            ]
        )
    values = parameters.dequantize(codes.reshape(layer.weight.shape))
    return Parameter(values, parameters), bool((codes == nearest).all())


def _missing(
    layer: Layer,
    rounded: NDArray[np.float32],
    original: NDArray[np.float64],
    quantized: NDArray[np.float64],
) -> NDArray[np.float64]:
    """(O,) how much lower the outputs are on average than the float model's.

    Args:
        layer: in float.
        rounded: its weights, rounded.
        original: (G, I) mean inputs of the float model.
        quantized: (G, I) mean inputs behind quantized layers.

    Source: M. Nagel, M. van Baalen, T. Blankevoort, M. Welling (2019), Data-Free Quantization
    Through Weight Equalization and Bias Correction, https://arxiv.org/abs/1906.04721,
    section 4.2, with means from images.
    """
    grouped = (layer.groups, len(layer.weight) // layer.groups, -1)  # (G, O / G, I)
    before = layer.weight.astype(np.float64).reshape(grouped) * original[:, None, :]
    after = rounded.astype(np.float64).reshape(grouped) * quantized[:, None, :]
    # Not a product of matrices, whose order of additions is the CPU's.
    return np.asarray(before.sum(axis=-1) - after.sum(axis=-1)).ravel()
