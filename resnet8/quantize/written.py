"""Compares what a quantization library wrote into a model with what was decided."""

from collections.abc import Collection, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from resnet8.core.errors import ArtifactError
from resnet8.core.qparams import Parameter, QuantizationParameters
from resnet8.quantize.quantization import LayerParameters, Quantization

_Compared = tuple[str, Any, Any]  # what it is, what was decided, what was found


class Written(NamedTuple):
    """The quantization of a model as it was read back.

    activations: by tensor, one entry for each step that quantizes or dequantizes.
    layers: with 8-bit weights.
    operators: by name, those of the float model; quantization steps are not among them.
    """

    activations: Mapping[str, list[QuantizationParameters]]
    layers: Mapping[str, LayerParameters]
    operators: Mapping[str, str]


def written_layers(
    parameters: Mapping[str, Mapping[str, Parameter]], among: Collection[str] | None = None
) -> dict[str, LayerParameters]:
    """The layers with 8-bit weights out of the parameters by layer and kind."""
    return {
        name: LayerParameters(kinds["weight"], kinds["bias"].values if "bias" in kinds else None)
        for name, kinds in parameters.items()
        if "weight" in kinds and kinds["weight"].quantization is not None
        if among is None or name in among
    }


def check_written(  # noqa: PLR0913
    written: Written,
    quantization: Quantization,
    *,
    activations: Mapping[str, QuantizationParameters],
    operators: Mapping[str, str],
    types: tuple[str, str],
    library: str,
) -> None:
    """Checks that a library wrote all that was decided, and nothing else.

    Args:
        written: what it wrote.
        quantization: what was decided.
        activations: by tensor, those of the quantization that the library's graph has steps for.
        operators: by name, those that the graph must have.
        types: of activations and of weights.
        library: its name, for the error message.

    Raises:
        ArtifactError: with the first difference.
    """
    compared = [
        *_compare_activations(written, activations, types[0]),
        *_compare_weights(written, quantization, types[1]),
        *(
            (f"node {name}", operators.get(name), written.operators.get(name))
            for name in sorted({*operators, *written.operators})
        ),
    ]
    for what, decided, found in compared:
        if not np.array_equal(decided, found):
            raise ArtifactError(
                f"{library} must write {what} with {_shown(decided)}, got {_shown(found)}. "
                "Run `dvc repro` to fit the quantization to this model again."
            )


def _compare_activations(
    written: Written, activations: Mapping[str, QuantizationParameters], dtype: str
) -> Iterator[_Compared]:
    for tensor in sorted({*activations, *written.activations}):
        decided = activations.get(tensor)
        for step in written.activations.get(tensor, [None]):
            yield from _compare_parameters(tensor, decided and decided.as_dtype(dtype), step)


def _compare_weights(
    written: Written, quantization: Quantization, dtype: str
) -> Iterator[_Compared]:
    decided = quantization.weights
    for name in sorted({*decided, *written.layers}):
        what = f"the weights of {name}"
        found = written.layers.get(name)
        parameters = decided[name].as_dtype(dtype) if name in decided else None
        yield from _compare_parameters(what, parameters, found and found.weight.quantization)
        if parameters is not None and found is not None:
            weight, bias = quantization.layers[name]
            yield f"the codes of {what}", parameters.quantize(weight.values), _codes(found.weight)
            if bias is not None:  # else the model's own is left alone
                yield f"the biases of {name}", bias, found.bias


def _compare_parameters(
    what: str, decided: QuantizationParameters | None, found: QuantizationParameters | None
) -> Iterator[_Compared]:
    yield what, decided and decided.dtype, found and found.dtype
    if decided is not None and found is not None:
        yield f"the scales of {what}", decided.scale, found.scale
        yield f"the zero points of {what}", decided.zero_point, found.zero_point


def _codes(weight: Parameter) -> Any:
    return weight.quantization and weight.quantization.quantize(weight.values)


def _shown(value: Any) -> str:
    if value is None:
        return "no parameters"
    return np.array2string(np.asarray(value), threshold=8, edgeitems=2).replace("\n", "")
