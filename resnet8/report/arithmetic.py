"""The report's section on 8-bit arithmetic: codes of quantized models beside exact ones."""

from typing import Any

from resnet8.report.inputs import Json
from resnet8.report.tables import NOTHING, Cell, Table, number, percent, small, text


def arithmetic_view(verification: Json) -> dict[str, Any]:
    """The tables of the section.

    Args:
        verification: as in artifacts/verification/quantized.json.
    """
    variants = verification["variants"]
    return {
        "n_images": verification["n_images"],
        "variants": list(variants),
        "saturating": [name for name, row in variants.items() if row["saturating_products"]],
        "table": _variant_table(variants),
        "layers": _layer_table(variants),
    }


def _variant_table(variants: Json) -> Table:
    columns = (
        "variant", "tensors", "codes", "differ", "by at most", "steps from a tie, at most",
        "logits: share of the error bound", "end to end: codes that differ, %",
        "end to end: same class, %", "end to end: largest change in probability",
    )  # fmt: skip
    rows = []
    for name, found in variants.items():
        codes = [row for row in found["tensors"] if row["in_codes"]]
        numbers = [row["largest"] for row in found["tensors"] if not row["in_codes"]]
        whole = found["end_to_end"]
        rows.append(
            [
                text(name),
                number(len(codes), "d"),
                number(sum(row["compared"] for row in codes), ",d"),
                number(sum(row["differing"] for row in codes), ",d"),
                number(max((row["largest"] for row in codes), default=None), "g"),
                small(max((row["farthest"] for row in codes), default=None)),
                small(max(numbers, default=None), ".2g"),
                percent(whole["differing"] / whole["codes"] if whole["codes"] else None, 3),
                percent(whole["same_class"] / whole["n_images"]),
                small(whole["largest"]),
            ]
        )
    return Table("Codes of each model beside exact arithmetic", columns, rows)


def _layer_table(variants: Json) -> Table:
    by_tensor: dict[str, dict[str, Json]] = {}
    for name, found in variants.items():
        for row in found["tensors"]:
            if row["in_codes"]:
                by_tensor.setdefault(row["tensor"], {})[name] = row
    rows = [
        [
            text(tensor),
            text(next(iter(found.values()))["layer"]),
            *(_cell(found.get(name)) for name in variants),
        ]
        for tensor, found in by_tensor.items()
    ]
    return Table(
        "Codes that differ by tensor, steps from a tie and the error bound in brackets",
        ("tensor", "layer", *variants),
        rows,
    )


def _cell(row: Json | None) -> Cell:
    if row is None:
        return NOTHING
    if not row["differing"]:
        return Cell("0", 0)
    bound = "unknown" if row["bound"] is None else f"{row['bound']:.1e}"
    words = f"{row['differing']:,} ({row['farthest']:.1e} of {bound})"
    return Cell(words, row["differing"])
