"""Checks of what quantization libraries are given, log and write.

The libraries at best log what they change or leave out, where nobody looks.
"""

import logging
import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from logging.handlers import BufferingHandler
from typing import Any

import numpy as np

from resnet8.core.errors import ArtifactError
from resnet8.core.qparams import Parameter, QuantizationParameters
from resnet8.quantize.quantization import Quantization

Parameters = Mapping[str, Mapping[str, Parameter]]  # by layer and kind, `weight` or `bias`


@contextmanager
def no_warnings(library: str) -> Iterator[None]:
    """Raises an ArtifactError at the end of the block if a warning was issued or logged in it."""
    handler, root = BufferingHandler(capacity=sys.maxsize), logging.getLogger()
    handler.setLevel(logging.WARNING)
    root.addHandler(handler)
    try:
        with warnings.catch_warnings(record=True) as issued:
            warnings.simplefilter("always")
            yield
    finally:
        root.removeHandler(handler)
    logged = [record.getMessage() for record in handler.buffer]
    for message in [*logged, *(str(warning.message) for warning in issued)]:
        text = " ".join(message.split())[:300].rstrip(".")
        raise ArtifactError(
            f"{library} must quantize the model without a warning, got: {text}. Leave the "
            "layer that it is about in float (fit.float_layers), or choose another fetch.model."
        )


def check_shapes(quantization: Quantization, parameters: Parameters) -> None:
    """Checks that the layers of a quantization are those of a float model.

    Raises:
        ArtifactError: the model lacks a layer, or has it with other parameters.
    """
    for name, arrays in quantization.parameters.items():
        given = [x.shape for x in arrays if x is not None]
        expected = [x.values.shape for x in parameters.get(name, {}).values()]
        if expected != given:
            raise ArtifactError(
                f"The quantization must be that of the model, got parameters of shape {given} "
                f"for layer {name}, which has {expected}. Run `dvc repro` to fit it again."
            )


def check_written(  # noqa: PLR0913
    library: str,
    quantization: Quantization,
    *,
    types: tuple[str, str],
    tensors: Iterable[str],
    steps: Iterable[tuple[str, QuantizationParameters]],
    parameters: Parameters,
) -> None:
    """Checks that a library wrote the quantization that it was given.

    Args:
        library: name of the library.
        quantization: the given one.
        types: types of activations and weights.
        tensors: activations that the library quantizes.
        steps: written quantize and dequantize steps: tensor and parameters.
        parameters: written weights and biases.

    Raises:
        ArtifactError: naming the first difference.
    """
    activation_type, weight_type = types
    activations = [(x, quantization.activations[x].as_dtype(activation_type)) for x in tensors]
    layers = {
        name: (Parameter(layer.weight.values, x.as_dtype(weight_type)), layer.bias)
        for name, layer in quantization.layers.items()
        if (x := layer.weight.quantization)
    }
    expected: dict[str, Any] = dict(_describe(activations, layers))
    written = {
        name: (kinds["weight"], kinds["bias"].values if "bias" in kinds else None)
        for name, kinds in parameters.items()
        if "weight" in kinds
    }
    values = list(_describe(steps, written))
    missing = [(what, None) for what in expected if what not in dict(values)]
    for what, value in [*values, *missing]:
        given: Any = expected.get(what)
        if not np.array_equal(given, value):
            raise ArtifactError(
                f"{library} must write {what} with {_format(given)}, got "
                f"{_format(value)}. Run `dvc repro` to fit the quantization to this model again."
            )


def _describe(
    activations: Iterable[tuple[str, QuantizationParameters]], layers: Mapping[str, Any]
) -> Iterator[tuple[str, Any]]:
    """Yields each number of a quantization after its name."""
    in_8_bits = {name: x for name, x in layers.items() if x[0].quantization}
    weights = [(f"the weights of {name}", x.quantization) for name, (x, _) in in_8_bits.items()]
    for name, parameters in [*activations, *weights]:
        yield name, parameters.dtype
        yield f"the scales of {name}", parameters.scale
        yield f"the zero points of {name}", parameters.zero_point
    for name, (weight, bias) in in_8_bits.items():
        yield f"the codes of the weights of {name}", weight.quantization.quantize(weight.values)
        yield f"the biases of {name}", bias


def _format(value: Any) -> str:
    if value is None:
        return "no parameters"
    return np.array2string(np.asarray(value), threshold=8, edgeitems=2).replace("\n", "")
