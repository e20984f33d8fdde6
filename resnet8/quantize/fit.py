"""Chooses the quantization of a model from calibration images.

1. `equalization`: divide channels until they have similar ranges.
2. `ranges`: choose the range of each activation.
3. `scales`: choose the scales of weights.
4. `rounding`: round weights and biases layer by layer, with all preceding layers quantized.
"""

from functools import partial

import numpy as np
import onnx
from numpy.typing import NDArray

from resnet8.core.qparams import Parameter
from resnet8.core.sections import Fit
from resnet8.models.onnx_graph import Graph
from resnet8.quantize.equalization import Equalization, equalized, find_factors
from resnet8.quantize.layers import read_layers
from resnet8.quantize.notes import find_notes
from resnet8.quantize.observers import Observed, observe, stream
from resnet8.quantize.onnx_writer import find_points
from resnet8.quantize.quantization import LayerParameters, Quantization
from resnet8.quantize.ranges import find_ranges
from resnet8.quantize.rounding import Progress, round_layers
from resnet8.quantize.scales import find_outputs, find_scales


def fit(
    model: onnx.ModelProto,
    images: NDArray[np.uint8],
    settings: Fit,
    *,
    progress: Progress = iter,
    cores: int | None = None,
) -> Quantization:
    """Chooses the quantization of a model.

    Args:
        model: a folded float model.
        images: (N, 32, 32, 3) uint8 calibration images.
        settings: methods and their options.
        progress: wraps the loop over the inputs of layers, like `tqdm.tqdm`.
        cores: number of cores to use, None for all.

    Raises:
        ParamsError: the model has no node with a name in `float_layers`.
    """
    equalization, observed = _observe(model, images, settings, cores)
    ranges = find_ranges(observed, settings)
    scales = find_scales(observed, settings, ranges)
    rounded = round_layers(observed, settings, scales, progress)
    divided_in_float = {
        x.name: LayerParameters(Parameter(x.weight), x.bias)
        for x in read_layers(observed.model)
        if x.name not in rounded
        and (x.name in equalization.inputs or x.output in equalization.outputs)
    }
    consumers = Graph(observed.model).consumers
    sums = {x.output[0] for tensor in ranges.clipped for x in consumers[tensor]}
    quantization = Quantization(
        scales.activations,
        rounded | divided_in_float,
        equalization,
        relu_aware=tuple(sorted({*ranges.clipped, *sums})),
        symmetric=settings.activation_symmetric,
        float_layers=tuple(settings.float_layers),
    )
    notes = find_notes(quantization, settings, observed, ranges, scales)
    return quantization._replace(notes=tuple(notes))


def _observe(
    model: onnx.ModelProto, images: NDArray[np.uint8], settings: Fit, cores: int | None
) -> tuple[Equalization, Observed]:
    """Equalizes a model by the ranges of its tensors, and observes the equalized model."""
    symmetric, float_layers = settings.activation_symmetric, settings.float_layers
    points = find_points(model, symmetric=symmetric, float_layers=float_layers)
    outputs = find_outputs(model, points)
    watch = partial(stream, images=images, cores=cores)
    statistics = observe(watch(model, sorted({*points, *outputs.values()})))
    largest = {tensor: statistics[tensor].largest for tensor in points}
    equalization = find_factors(model, largest, strength=settings.equalization)
    base, factors = equalized(model, equalization), equalization.outputs
    statistics = {name: x.divided(factors.get(name)) for name, x in statistics.items()}
    layers = [x for x in read_layers(base) if x.input in points and x.name not in float_layers]
    return equalization, Observed(base, layers, points, outputs, statistics, watch)
