"""Shows a quantized model in the float model's units, where equalization changed its own.

Shape letters: N images, C channels, O outputs and I inputs of a layer.
"""

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from resnet8.core.qparams import Parameter
from resnet8.inspection.capture import Watched
from resnet8.quantize.layers import Layer

Factors = Mapping[str, NDArray[np.float32]]


def in_float_units(watched: Watched, factors: Factors, layers: Iterable[Layer]) -> Watched:
    """Watches a quantized model as if its channels had not been equalized.

    Args:
        watched: the quantized model.
        factors: by tensor, (C,): the float model's channels over the quantized model's.
        layers: of the float model.
    """
    found = {layer.name: layer for layer in layers}

    def at(point: str) -> NDArray[np.float32] | None:
        layer, is_part, _ = point.partition(".")  # `conv2d.0` pads the input of `conv2d`
        return factors.get(found[layer].input if is_part and layer in found else point)

    points = {name: point._replace(factors=at(name)) for name, point in watched.points.items()}
    parameters = {
        name: {
            kind: _in_float_units(parameter, found[name], factors)
            for kind, parameter in kinds.items()
        }
        if name in found
        else kinds
        for name, kinds in watched.parameters.items()
    }
    return watched._replace(points=points, parameters=parameters)


def _in_float_units(parameter: Parameter, layer: Layer, factors: Factors) -> Parameter:
    values, quantization, _ = parameter
    unit = factors.get(layer.output, np.ones(len(values), np.float32))
    values = values * unit.reshape(-1, *[1] * (values.ndim - 1))
    inputs = factors.get(layer.input)
    if values.ndim > 1 and inputs is not None:
        by_input = inputs.reshape(layer.groups, 1, -1, *[1] * (values.ndim - 2))
        grouped = values.reshape(layer.groups, -1, *values.shape[1:])
        values = (grouped / by_input).reshape(values.shape)
        smallest = inputs.reshape(layer.groups, -1).min(axis=1)
        unit = (unit.reshape(layer.groups, -1) / smallest[:, None]).ravel()
    return Parameter(values, quantization, unit)
