"""Results of holding quantized models against exact arithmetic, and what is written of them."""

import math
from typing import Any, NamedTuple

from resnet8.core.errors import ParityError

# Distances from a tie are written as a power of ten, at least this one: a CPU that adds in another
# order gives other digits.
_SMALLEST_EXPONENT = -4


class TensorCheck(NamedTuple):
    """Codes of a tensor, or numbers that stay in float, beside exact arithmetic.

    layer: that computes the tensor.
    in_codes: whether the tensor has codes.
    compared: how many.
    differing: codes that are others; numbers that are off by more than their error bound.
    unexplained: of these, those that no error bound explains.
    largest: difference, in codes; of numbers, in error bounds.
    farthest: from a tie between both codes, of the exact values of codes that differ, in steps.
    bound: the largest error bound of these values, in steps; infinite where none is known.
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

    def joined(self, other: "TensorCheck") -> "TensorCheck":
        """The check of the same tensor for the images of both."""
        counts = {x: getattr(self, x) + getattr(other, x) for x in _COUNTS}
        extremes = {x: max(getattr(self, x), getattr(other, x)) for x in _EXTREMES}
        return self._replace(**counts, **extremes)


_COUNTS = ("compared", "differing", "unexplained")
_EXTREMES = ("largest", "farthest", "bound")


class EndToEnd(NamedTuple):
    """Exact arithmetic from the image to the probabilities, beside a runtime's.

    n_images: compared.
    same_class: images with the same top-1 class.
    codes: compared; differing: those that are others.
    largest: difference of a probability.
    """

    n_images: int
    same_class: int
    codes: int
    differing: int
    largest: float

    def joined(self, other: "EndToEnd") -> "EndToEnd":
        """The comparison over the images of both."""
        counts = {x: getattr(self, x) + getattr(other, x) for x in self._fields if x != "largest"}
        return EndToEnd(**counts, largest=max(self.largest, other.largest))


class Checked(NamedTuple):
    """Results of one model."""

    tensors: dict[str, TensorCheck]
    end_to_end: EndToEnd

    def joined(self, other: "Checked") -> "Checked":
        """Results over the images of both."""
        tensors = {name: x.joined(other.tensors[name]) for name, x in self.tensors.items()}
        return Checked(tensors, self.end_to_end.joined(other.end_to_end))


def describe(checked: Checked, *, saturates: bool) -> dict[str, Any]:
    """All that was found of a model, for the report."""
    rows = [
        row._asdict() | {"bound": row.bound if math.isfinite(row.bound) else None}
        for row in checked.tensors.values()
    ]
    return {
        "saturating_products": saturates,
        "tensors": rows,
        "end_to_end": checked.end_to_end._asdict(),
    }


def summarize(checked: Checked, *, saturates: bool) -> dict[str, Any]:
    """Facts about a model that are the same on every CPU whose 8-bit products are exact."""
    rows = [row for row in checked.tensors.values() if row.in_codes]
    farthest = max((row.farthest for row in rows), default=0.0)
    return {
        "tensors": len(rows),
        "codes": sum(row.compared for row in rows),
        "largest_difference": int(max((row.largest for row in rows), default=0)),
        "distance_from_tie_at_most": _power_of_ten(farthest),
        "saturating_products": saturates,
    }


def _power_of_ten(distance: float) -> float:
    exponent = math.ceil(math.log10(distance)) if distance else _SMALLEST_EXPONENT
    return float(f"1e{max(exponent, _SMALLEST_EXPONENT)}")


def refuse_unexplained(name: str, checked: Checked) -> None:
    """Refuses a model with codes or numbers that no rounding of float32 explains.

    Raises:
        ParityError: with the first layer that has such, and what the others have.
    """
    faults = [row for row in checked.tensors.values() if row.unexplained]
    if not faults:
        return
    first = faults[0]
    what, unit = ("codes", "steps") if first.in_codes else ("numbers", "error bounds")
    others = f" Then: {', '.join(row.layer for row in faults[1:])}." if faults[1:] else ""
    raise ParityError(
        f"{first.layer} of {name} must give what exact arithmetic gives for its inputs, got "
        f"{first.unexplained:,} of {first.compared:,} {what} ({first.tensor}) that rounding in "
        f"float32 does not explain, up to {first.largest:.3g} {unit} off.{others} A scale, a "
        "weight or a bias in the model is not that of artifacts/quantization, or the runtime "
        "computes otherwise. Run `dvc repro` to make the model again."
    )


def in_words(name: str, checked: Checked, *, saturates: bool) -> str:
    """One line about a model, for the terminal."""
    rows = [row for row in checked.tensors.values() if row.in_codes]
    compared, differing = (sum(getattr(x, key) for x in rows) for key in ("compared", "differing"))
    text = f"{name}: {differing:,} of {compared:,} codes are not those of exact arithmetic"
    if saturates:
        return f"{text}; 8-bit products saturate on this CPU, which has no VNNI"
    if not differing:
        return text
    farthest = max(row.farthest for row in rows)
    return f"{text}, all by one and within {farthest:.1g} steps of a tie"
