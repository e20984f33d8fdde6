"""Checks the inputs, logs and outputs of quantization libraries.

The libraries at best log what they change or leave out, where nobody looks.
"""

import logging
import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from logging.handlers import BufferingHandler
from typing import Any

import numpy as np

from resnet8.core.errors import ArtifactError
from resnet8.core.qparams import Parameter, QuantizationParameters, parameter_values
from resnet8.quantize.quantization import Quantization

Parameters = Mapping[str, Mapping[str, Parameter]]  # by layer and kind, `weight` or `bias`
Step = tuple[str, QuantizationParameters]  # a tensor that is quantized or dequantized


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
    """Raises an ArtifactError unless a float model has the layers of a quantization."""
    for name, arrays in quantization.parameters.items():
        given = [x.shape for x in arrays if x is not None]
        expected = [x.values.shape for x in parameters.get(name, {}).values()]
        if expected != given:
            raise ArtifactError(
                f"The quantization must be that of the model, got parameters of shape {given} "
                f"for layer {name}, which has {expected}. Run `dvc repro` to fit it again."
            )


def check_written(
    library: str,
    quantization: Quantization,
    types: tuple[str, str],
    steps: Sequence[Step],
    parameters: Parameters,
) -> None:
    """Checks that a library wrote a quantization in types of activations and weights.

    `steps` are the written quantize and dequantize steps, `parameters` the written weights and
    biases.

    Raises:
        ArtifactError: naming the first difference.
    """
    activation_type, weight_type = types
    activations = [(x, y.as_dtype(activation_type)) for x, y in quantization.activations.items()]
    layers: dict[str, dict[str, Parameter]] = {}
    for name, x in quantization.weights.items():
        weight, bias = quantization.layers[name]
        layers[name] = {"weight": Parameter(weight.values, x.as_dtype(weight_type))}
        if bias is not None:
            layers[name]["bias"] = Parameter(bias)
    given, written = dict(_numbers(activations, layers)), [*_numbers(steps, parameters)]
    missing = [(what, None) for what in given if what not in dict(written)]
    for what, value in [*written, *missing]:
        expected: Any = given.get(what)
        if not np.array_equal(expected, value):
            raise ArtifactError(
                f"{library} must write {what} with {_format(expected)}, got {_format(value)}. "
                "Run `dvc repro` to fit the quantization to this model again."
            )


def _numbers(steps: Iterable[Step], parameters: Parameters) -> Iterator[tuple[str, Any]]:
    """Yields each number of a quantization after its name."""
    weights = {name: kinds["weight"] for name, kinds in parameters.items() if "weight" in kinds}
    in_8_bits = {name: x for name, (_, x) in weights.items() if x}
    named = [(f"the weights of {name}", x) for name, x in in_8_bits.items()]
    for name, x in [*steps, *named]:
        yield name, x.dtype
        yield f"the scales of {name}", x.scale
        yield f"the zero points of {name}", x.zero_point
    for name, x in in_8_bits.items():
        yield f"the codes of the weights of {name}", x.quantize(weights[name].values)
        yield f"the biases of {name}", parameter_values(parameters[name])[1]


def _format(value: Any) -> str:
    if value is None:
        return "no parameters"
    return np.array2string(np.asarray(value), threshold=8, edgeitems=2).replace("\n", "")
