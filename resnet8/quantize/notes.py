"""Notes about a quantization: widened ranges, clipped tensors, options without effect."""

from collections.abc import Iterator

import numpy as np

from resnet8.core.sections import Fit
from resnet8.quantize.observers import Observed
from resnet8.quantize.quantization import Quantization
from resnet8.quantize.ranges import Ranges
from resnet8.quantize.rounding import round_weights
from resnet8.quantize.scales import Scales


def find_notes(
    quantization: Quantization, settings: Fit, observed: Observed, ranges: Ranges, scales: Scales
) -> Iterator[str]:
    """Yields sentences about a quantization and the ranges and scales that it consists of."""
    if ranges.clipped:
        yield (
            f"{', '.join(ranges.clipped)}: clipped below on purpose, because the ReLU behind the "
            "addition discards what is clipped."
        )
    for option in _find_idle_options(quantization, settings, observed, ranges):
        yield f"fit.{option} had no effect on this model."
    for tensor, factor, layer in scales.widened:
        yield (
            f"The range of {tensor} is {factor:.1f} times as wide as chosen, because {layer} adds "
            "up products in larger steps."
        )


def _find_idle_options(
    quantization: Quantization, settings: Fit, observed: Observed, ranges: Ranges
) -> Iterator[str]:
    """Yields the options that changed nothing."""
    layers, method, strength = observed.layers, settings.activation_range, settings.equalization
    # ONNX Runtime's ranges end at the edge of a bin, so they may differ by two bins, plus 0.01
    # bins for rounding; ranges by least squares are exact.
    tolerance = 0.0 if method == "mse" else 2.01 / settings.histogram_bins  # of the largest value

    def is_whole(tensor: str) -> bool:
        whole = observed.statistics[tensor].range
        atol = tolerance * max(map(abs, whole))
        return np.allclose(ranges.ends[tensor], whole, rtol=0, atol=atol)

    if method != "minmax" and all(map(is_whole, ranges.ends)):
        yield f"activation_range: {method}"
    if strength > 0 and not quantization.equalization.groups:
        yield f"equalization: {strength:g}"
    if settings.weight_rounding == "gptq" and all(
        np.array_equal(
            quantization.layers[x.name].weight.values,
            round_weights(x, quantization.weights[x.name], settings),
        )
        for x in layers
    ):
        yield "weight_rounding: gptq"
    if settings.bias_correction and all(x.bias is None for x in layers):
        yield "bias_correction: true"
