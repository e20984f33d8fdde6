"""Compares what a quantization library wrote into a model with what was decided.

Shape letters: O outputs and I inputs of a layer, h x w pixels of a kernel.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from resnet8.core.errors import ArtifactError
from resnet8.quantize.storage import ActivationNumbers, Numbers


class WrittenLayer(NamedTuple):
    """The parameters of a layer as a model has them.

    codes: of the weight, outputs first, (O, I, h, w) or (O, I) int8.
    scale: (O,) float32.
    zero_point: (O,) of int8 codes.
    bias: (O,) what is added, None without.
    """

    codes: NDArray[np.int8]
    scale: NDArray[np.float32]
    zero_point: NDArray[np.int64]
    bias: NDArray[np.float32] | None


class Written(NamedTuple):
    """The quantization of a model as it was read back.

    activations: by tensor, of uint8 codes, one entry for each step that quantizes or dequantizes.
    activation_types: the types of codes of activations.
    layers: with 8-bit weights.
    weight_types: the types of codes of weights.
    operators: by name, those of the float model; quantization steps are not among them.
    """

    activations: dict[str, list[ActivationNumbers]]
    activation_types: set[str]
    layers: dict[str, WrittenLayer]
    weight_types: set[str]
    operators: dict[str, str]


def check_written(  # noqa: PLR0913
    written: Written,
    numbers: Numbers,
    *,
    activations: Mapping[str, ActivationNumbers],
    operators: Mapping[str, str],
    types: tuple[str, str],
    library: str,
) -> None:
    """Checks that a library wrote all that was decided, and nothing else.

    Args:
        written: what it wrote.
        numbers: what was decided.
        activations: by tensor, those of `numbers` that the library's graph has steps for.
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
                "Run `dvc repro` to fit the numbers to this model again."
            )

    for tensor in sorted({*activations, *written.activations}):
        for step in written.activations.get(tensor, [None]):
            check(tensor, activations.get(tensor), step)
    for name in sorted({*numbers.layers, *written.layers}):
        decided, found = numbers.layers.get(name), written.layers.get(name)
        if decided is None or found is None:
            check(f"the weights of {name}", decided, found)
            continue
        zero_points = np.full_like(found.zero_point, decided.zero_point)
        check(f"the weight scales of {name}", decided.scale, found.scale)
        check(f"the weight zero points of {name}", zero_points, found.zero_point)
        check(f"the weight codes of {name}", decided.codes, found.codes)
        if decided.bias is not None:  # else the model's own is left alone
            check(f"the biases of {name}", decided.bias, found.bias)
    for kind, decided_type, found_types in (
        ("activations", types[0], written.activation_types),
        ("weights", types[1], written.weight_types),
    ):
        check(kind, sorted({decided_type} & found_types), sorted(found_types))
    for name in sorted({*operators, *written.operators}):
        check(f"node {name}", operators.get(name), written.operators.get(name))


def _shown(value: Any) -> str:
    if value is None:
        return "no numbers"
    return np.array2string(np.asarray(value), threshold=8, edgeitems=2).replace("\n", "")
