"""Compares the quantization that a library wrote into a model with the one that it was given."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from resnet8.core.errors import ArtifactError
from resnet8.core.qparams import Parameter, QuantizationParameters
from resnet8.quantize.quantization import LayerParameters, Quantization


class Written(NamedTuple):
    """The quantization in a model.

    activations: tensors with the parameters of each step that quantizes or dequantizes them.
    layers: layers with weights, in 8 bits or float.
    operators: operator type by node, without quantization steps.
    """

    activations: list[tuple[str, QuantizationParameters]]
    layers: Mapping[str, LayerParameters]
    operators: Mapping[str, str]

    def values(self) -> Iterator[tuple[str, Any]]:
        """Yields a description of each quantized value, and the value."""
        for tensor, parameters in self.activations:
            yield from _describe(tensor, parameters)
        for name, (weight, bias) in self.layers.items():
            if weight.quantization is not None:
                yield from _describe(f"the weights of {name}", weight.quantization)
                codes = weight.quantization.quantize(weight.values)
                yield f"the codes of the weights of {name}", codes
                yield f"the biases of {name}", bias
        for name, operator in self.operators.items():
            yield f"node {name}", operator


def _describe(tensor: str, parameters: QuantizationParameters) -> Iterator[tuple[str, Any]]:
    yield tensor, parameters.dtype
    yield f"the scales of {tensor}", parameters.scale
    yield f"the zero points of {tensor}", parameters.zero_point


def layer_parameters(
    parameters: Mapping[str, Mapping[str, Parameter]],
) -> dict[str, LayerParameters]:
    """Returns the layers with weights, from parameters by layer and kind."""
    return {
        name: LayerParameters(kinds["weight"], kinds["bias"].values if "bias" in kinds else None)
        for name, kinds in parameters.items()
        if "weight" in kinds
    }


def expected(
    quantization: Quantization,
    *,
    tensors: Iterable[str],
    operators: Mapping[str, str],
    types: tuple[str, str],
) -> Written:
    """Returns the quantization that a library must write.

    Args:
        quantization: the quantization that the library was given.
        tensors: activations with quantization steps in the library's graph.
        operators: operator type by node of the graph.
        types: types of activations and weights.
    """
    activation_type, weight_type = types
    layers = {
        name: layer._replace(
            weight=Parameter(layer.weight.values, parameters.as_dtype(weight_type))
        )
        for name, layer in quantization.layers.items()
        if (parameters := layer.weight.quantization) is not None
    }
    activations = [(x, quantization.activations[x].as_dtype(activation_type)) for x in tensors]
    return Written(activations, layers, operators)


def check_written(written: Written, decided: Written, *, library: str) -> None:
    """Checks that a library wrote the quantization that it was given, and nothing else.

    Raises:
        ArtifactError: naming the first difference.
    """
    expected_values: dict[str, Any] = dict(decided.values())
    values = list(written.values())
    missing = [(what, None) for what in expected_values if what not in dict(values)]
    for what, value in [*values, *missing]:
        expected_value: Any = expected_values.get(what)
        if not np.array_equal(expected_value, value):
            raise ArtifactError(
                f"{library} must write {what} with {_format(expected_value)}, got "
                f"{_format(value)}. Run `dvc repro` to fit the quantization to this model again."
            )


def _format(value: Any) -> str:
    if value is None:
        return "no parameters"
    return np.array2string(np.asarray(value), threshold=8, edgeitems=2).replace("\n", "")
