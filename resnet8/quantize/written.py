"""Compares what a quantization library wrote into a model with what was decided."""

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

import numpy as np

from resnet8.core.errors import ArtifactError
from resnet8.core.qparams import Parameter, QuantizationParameters
from resnet8.quantize.quantization import LayerParameters, Quantization


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

    def check(what: str, decided: Any, found: Any) -> None:
        if not np.array_equal(decided, found):
            raise ArtifactError(
                f"{library} must write {what} with {_shown(decided)}, got {_shown(found)}. "
                "Run `dvc repro` to fit the quantization to this model again."
            )

    def check_parameters(
        what: str, decided: QuantizationParameters | None, found: QuantizationParameters | None
    ) -> None:
        if decided is None or found is None:
            check(what, decided, found)
            return
        check(f"codes of {what}", decided.dtype, found.dtype)
        check(f"scales of {what}", decided.scale, found.scale)
        check(f"zero points of {what}", decided.zero_point, found.zero_point)

    for tensor in sorted({*activations, *written.activations}):
        parameters = activations.get(tensor)
        for step in written.activations.get(tensor, [None]):
            check_parameters(tensor, parameters and parameters.as_dtype(types[0]), step)
    decided_weights = quantization.weights
    for name in sorted({*decided_weights, *written.layers}):
        decided = quantization.layers[name] if name in decided_weights else None
        found = written.layers.get(name)
        what = f"the weights of {name}"
        if decided is None or found is None:
            check(what, decided and decided.weight.values, found and found.weight.values)
            continue
        expected = decided_weights[name].as_dtype(types[1])
        check_parameters(what, expected, found.weight.quantization)
        check(what, expected.quantize(decided.weight.values), _codes(found.weight))
        if decided.bias is not None:  # else the model's own is left alone
            check(f"the biases of {name}", decided.bias, found.bias)
    for name in sorted({*operators, *written.operators}):
        check(f"node {name}", operators.get(name), written.operators.get(name))


def _codes(weight: Parameter) -> Any:
    return weight.quantization and weight.quantization.quantize(weight.values)


def _shown(value: Any) -> str:
    if value is None:
        return "no parameters"
    return np.array2string(np.asarray(value), threshold=8, edgeitems=2).replace("\n", "")
