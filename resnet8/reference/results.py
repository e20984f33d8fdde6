"""Results of comparing quantized models with exact arithmetic, as JSON, text and errors."""

import math
from collections.abc import Callable, Mapping
from operator import add
from typing import Any, NamedTuple, TypeVar

from resnet8.core.errors import ParityError

# Distances from a tie are published as a power of ten, at least this one: their digits depend on
# the order in which a CPU adds.
_SMALLEST_EXPONENT = -4
_MAXIMA = ("largest", "farthest", "bound")
_LABELS = {"tensor", "layer", "in_codes"}
T = TypeVar("T", "TensorCheck", "EndToEnd")


class TensorCheck(NamedTuple):
    """Comparison of a tensor's codes, or of its values where it stays in float.

    layer: computes the tensor.
    in_codes: True if the tensor has codes.
    compared: number of codes or values.
    differing: number of codes that differ, or of values beyond their error bound.
    unexplained: number of those that no error bound explains.
    largest: largest difference, in codes; of values, in error bounds.
    farthest: largest distance, in steps, of a differing code's exact value from the rounding tie.
    bound: largest error bound of the differing codes, in steps; infinite if unknown.
    """

    tensor: str
    layer: str
    in_codes: bool
    compared: int
    differing: int = 0
    unexplained: int = 0
    largest: float = 0.0
    farthest: float = 0.0
    bound: float = 0.0


class EndToEnd(NamedTuple):
    """Comparison of a runtime with exact arithmetic from the image to the probabilities.

    same_class: number of images with equal top-1 classes.
    codes: number of codes compared; `differing` of them differ.
    largest: largest difference of a probability.
    """

    n_images: int
    same_class: int
    codes: int
    differing: int
    largest: float


class Checked(NamedTuple):
    """Results of one model, whose 8-bit products may saturate on this CPU."""

    tensors: dict[str, TensorCheck]
    end_to_end: EndToEnd
    saturates: bool = False

    def joined(self, other: "Checked") -> "Checked":
        """Returns the results over the images of both."""
        tensors = {name: _joined(x, other.tensors[name]) for name, x in self.tensors.items()}
        return Checked(tensors, _joined(self.end_to_end, other.end_to_end), self.saturates)

    @property
    def code_rows(self) -> list[TensorCheck]:
        """Comparisons of the tensors that have codes."""
        return [row for row in self.tensors.values() if row.in_codes]


def _joined(one: T, other: T) -> T:
    numbers: dict[str, Any] = one._asdict()
    for name in numbers.keys() - _LABELS:
        join = max if name in _MAXIMA else add
        numbers[name] = join(numbers[name], getattr(other, name))
    return type(one)(**numbers)


def describe(checked: Checked) -> dict[str, Any]:
    """Returns all results of a model, for the report."""
    rows = [
        row._asdict() | {"bound": row.bound if math.isfinite(row.bound) else None}
        for row in checked.tensors.values()
    ]
    return {
        "saturating_products": checked.saturates,
        "tensors": rows,
        "end_to_end": checked.end_to_end._asdict(),
    }


def summarize(checked: Checked) -> dict[str, Any]:
    """Returns the results that are equal on every CPU whose 8-bit products are exact."""
    rows = checked.code_rows
    farthest = max((row.farthest for row in rows), default=0.0)
    exponent = math.ceil(math.log10(farthest)) if farthest else _SMALLEST_EXPONENT
    return {
        "tensors": len(rows),
        "codes": sum(row.compared for row in rows),
        "largest_difference": int(max((row.largest for row in rows), default=0)),
        "distance_from_tie_at_most": float(f"1e{max(exponent, _SMALLEST_EXPONENT)}"),
        "saturating_products": checked.saturates,
    }


def to_json(
    checked: Mapping[str, Checked], row: Callable[[Checked], dict[str, Any]], n_images: int
) -> dict[str, Any]:
    """Returns a row of each variant, by `describe` or `summarize`, and the number of images."""
    return {"n_images": n_images, "variants": {name: row(x) for name, x in checked.items()}}


def refuse_unexplained(name: str, checked: Checked) -> None:
    """Refuses a model with differences that neither float32 rounding nor saturation explains.

    Raises:
        ParityError: names the first layer with such differences, and the other layers.
    """
    faults = [row for row in checked.tensors.values() if row.unexplained]
    if checked.saturates or not faults:
        return
    first, *others = faults
    kind, unit = ("codes", "steps") if first.in_codes else ("numbers", "error bounds")
    also = f" Then: {', '.join(row.layer for row in others)}." if others else ""
    raise ParityError(
        f"{first.layer} of {name} must give what exact arithmetic gives for its inputs, got "
        f"{first.unexplained:,} of {first.compared:,} {kind} ({first.tensor}) that rounding in "
        f"float32 does not explain, up to {first.largest:.3g} {unit} off.{also} A scale, weight or "
        "bias of the model differs from artifacts/quantization, or the runtime computes "
        "differently. Run `dvc repro` to make the model again."
    )


def in_words(name: str, checked: Checked) -> str:
    """Describes the results of a model in one line."""
    rows = checked.code_rows
    compared, differing = sum(x.compared for x in rows), sum(x.differing for x in rows)
    text = f"{name}: {differing:,} of {compared:,} codes differ from exact arithmetic"
    if checked.saturates:
        return f"{text}; 8-bit products saturate on this CPU, which has no VNNI"
    if not differing:
        return text
    farthest = max(row.farthest for row in rows)
    return f"{text}, all by one and within {farthest:.1g} steps of a tie"
