"""The report's tables: cells with a text and a value to sort by.

Shape letters: K classes.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from resnet8.compare.tables import interval, with_error
from resnet8.core.provenance import Fingerprint
from resnet8.report.inputs import Json


class Cell(NamedTuple):
    """One cell of a table.

    text: what a person reads.
    value: the column is sorted by it; None comes last.
    layer, variant: shown by the layer explorer when the cell is pressed, if not empty.
    """

    text: str
    value: float | str | None = None
    layer: str = ""
    variant: str = ""


class Table(NamedTuple):
    """A table that a person can sort; the first cell of a row is its head."""

    caption: str
    columns: tuple[str, ...]
    rows: list[list[Cell]]


NOTHING = Cell("–")


def text(words: str) -> Cell:
    """A cell that is sorted by its text."""
    return Cell(words, words)


def number(value: float | None, form: str = ".3g") -> Cell:
    """A cell with a number in Python's format `form`."""
    return NOTHING if value is None else Cell(format(value, form), value)


def small(value: float | None, form: str = ".1e") -> Cell:
    """A cell with a number near zero; an exact zero is written as 0."""
    return number(value, form) if value else number(value, "g")


def percent(fraction: float | None, digits: int = 2) -> Cell:
    """A cell with a fraction as percent."""
    return number(None if fraction is None else 100 * fraction, f".{digits}f")


def headline_table(comparison: Json, *, variants: Sequence[str], sizes: Mapping[str, int]) -> Table:
    """All variants against the baseline, with the size of each model file in bytes."""
    baseline = comparison["baseline"]
    columns = (
        "variant", "top-1 %", "delta pp", "95% interval", "McNemar p", "lost", "won",
        "agreement %", "KL, nats (± standard error)", "largest change in probability", "file kB",
    )  # fmt: skip
    rows = []
    for name in variants:
        row = comparison["variants"][name]
        against = [
            number(row["accuracy_delta_pp"], "+.2f"),
            Cell(interval(row["ci95_low_pp"], row["ci95_high_pp"]), row["ci95_low_pp"]),
            number(row["mcnemar_p"], ".2f" if row["mcnemar_p"] >= 0.01 else ".1e"),
            number(row["images_lost"], "d"),
            number(row["images_won"], "d"),
            percent(row["agreement"]),
            Cell(with_error(row["kl_divergence"], row["kl_standard_error"]), row["kl_divergence"]),
            small(row["max_abs_probability_diff"], ".2g"),
        ]
        if name == baseline:
            against = [Cell("baseline", 0.0), *[NOTHING] * (len(against) - 1)]
        size = sizes[name] / 1000 if name in sizes else None
        rows.append([text(name), percent(row["top1_accuracy"]), *against, number(size, ".0f")])
    return Table(f"Accuracy, compared with {baseline}", columns, rows)


def file_table(files: Sequence[Fingerprint]) -> Table:
    """The files behind the report."""
    rows = [[text(x.path), number(x.size_bytes, ",d"), text(x.sha256)] for x in files]
    return Table("Data and models", ("file", "bytes", "SHA-256"), rows)


def class_accuracy_table(
    comparison: Json,
    counts: NDArray[np.int64],
    *,
    variants: Sequence[str],
    label_names: Sequence[str],
) -> Table:
    """Accuracy by class and its change; a dash where a class has no images.

    Args:
        comparison: metrics/comparison.json.
        counts: (K, K) confusions of the baseline.
        variants: to compare with the baseline.
        label_names: K names.
    """
    rows = []
    for k, label in enumerate(label_names):
        count = int(counts[k].sum())
        accuracy = counts[k, k] / count if count else None
        deltas = [_class_delta(comparison["variants"][name], label) for name in variants]
        rows.append([text(label), number(count, "d"), percent(accuracy, 1), *deltas])
    baseline = comparison["baseline"]
    columns = ("class", "images", f"{baseline} %", *(f"{name}, delta pp" for name in variants))
    return Table(f"Accuracy by class, compared with {baseline}", columns, rows)


def _class_delta(row: Json, label: str) -> Cell:
    if label not in row["per_class_delta_pp"]:
        return NOTHING
    delta = row["per_class_delta_pp"][label]
    low, high = row["per_class_ci95_pp"][label]
    return Cell(f"{delta:+.1f} ({low:+.1f} to {high:+.1f})", delta)  # one image of 1,000: 0.1


def parity_table(parity: Json, *, order: Sequence[str]) -> Table:
    """Bounds of the differences between float models by layer, in the order of computation."""
    columns = (
        "layer", "Keras – ONNX", "Keras – PyTorch", "ONNX – PyTorch", "largest value",
        "difference as a share of it",
    )  # fmt: skip
    pairs = ("keras_onnx", "keras_torch", "onnx_torch")
    layers = {layer: parity["layers"][layer] for layer in order if layer in parity["layers"]}
    rows = [
        [text(layer), *(small(row.get(pair), ".0e") for pair in pairs), number(row["magnitude"]),
         small(row["relative"], ".0e")]
        for layer, row in layers.items()
    ]  # fmt: skip
    return Table("Differences between the float models are at most", columns, rows)


def finding_table(findings: Sequence[Json]) -> Table:
    """Findings in metrics/quantization_lint.json."""
    rows = [
        [
            text(finding["variant"]),
            _link(finding["layer"], finding["variant"]) if finding["layer"] else NOTHING,
            text(finding["message"]),
        ]
        for finding in findings
    ]
    return Table("Findings", ("variant", "layer", "what"), rows)


def _link(layer: str, variant: str) -> Cell:
    return Cell(layer, layer, layer, variant)


def sqnr_table(activations: Json, *, order: Sequence[str], variants: Sequence[str]) -> Table:
    """The SQNR in dB by layer and quantized variant."""
    rows = [
        [text(layer), *(sqnr_cell(activations[layer].get(name)) for name in variants)]
        for layer in order
    ]
    return Table("SQNR in dB, from input to output", ("layer", *variants), rows)


def sqnr_cell(row: Json | None) -> Cell:
    """An SQNR; a layer without any error has none and is sorted above all others."""
    statistics = row["statistics"] if row else {}
    if statistics.get("sqnr_db") is None and statistics.get("max_abs_error") == 0:
        return Cell("no error", 1e9)
    return number(statistics.get("sqnr_db"), ".1f")


def sensitivity_table(name: str, ranking: Json, *, known: Sequence[str]) -> Table:
    """A variant's layers by rank, with links to those that the layer explorer knows."""
    columns = (
        "layer", "rank", "alone: KL", "alone: agreement %", "spared: KL", "spared: KL saved",
        "spared: agreement %",
    )  # fmt: skip
    rows = []
    for layer in ranked(ranking):
        row = ranking["layers"][layer]
        rows.append([
            _link(layer, name) if layer in known else text(layer),
            number(row["rank"], "d"),
            small(row["alone"]["kl_divergence"]),
            percent(row["alone"]["agreement"], 1),
            small(row["spared"]["kl_divergence"]),
            small(saved(ranking, layer), "+.1e"),
            percent(row["spared"]["agreement"], 1),
        ])  # fmt: skip
    return Table(f"Layers of {name} by what quantizing each alone costs", columns, rows)


def ranked(ranking: Json) -> list[str]:
    """The layers of a variant, from the one that costs most when it alone is quantized."""
    return sorted(ranking["layers"], key=lambda layer: int(ranking["layers"][layer]["rank"]))


def saved(ranking: Json, layer: str) -> float:
    """Reduction of the KL divergence when a layer of a quantized model is left in float."""
    spared: float = ranking["layers"][layer]["spared"]["kl_divergence"]
    return float(f"{ranking['all']['kl_divergence'] - spared:.4g}")


def arithmetic_table(variants: Json) -> Table:
    """Codes of each variant in artifacts/verification/quantized.json beside exact arithmetic."""
    columns = (
        "variant", "tensors", "codes", "differ", "by at most", "steps from a tie, at most",
        "logits: share of the error bound", "end to end: codes that differ, %",
        "end to end: same class, %", "end to end: largest change in probability",
    )  # fmt: skip
    rows = []
    for name, variant in variants.items():
        codes = [row for row in variant["tensors"] if row["in_codes"]]
        logits = [row["largest"] for row in variant["tensors"] if not row["in_codes"]]
        whole = variant["end_to_end"]
        rows.append([
            text(name),
            number(len(codes), "d"),
            number(sum(row["compared"] for row in codes), ",d"),
            number(sum(row["differing"] for row in codes), ",d"),
            number(max((row["largest"] for row in codes), default=None), "g"),
            small(max((row["farthest"] for row in codes), default=None)),
            small(max(logits, default=None), ".2g"),
            percent(whole["differing"] / whole["codes"] if whole["codes"] else None, 3),
            percent(whole["same_class"] / whole["n_images"]),
            small(whole["largest"]),
        ])  # fmt: skip
    return Table("Codes of each model beside exact arithmetic", columns, rows)


def differing_codes_table(variants: Json) -> Table:
    """Codes that differ from exact arithmetic, by tensor and variant."""
    by_tensor: dict[str, dict[str, Json]] = {}
    for name, variant in variants.items():
        for row in variant["tensors"]:
            if row["in_codes"]:
                by_tensor.setdefault(row["tensor"], {})[name] = row
    rows = [
        [text(tensor), text(next(iter(found.values()))["layer"]),
         *(_codes_cell(found.get(name)) for name in variants)]
        for tensor, found in by_tensor.items()
    ]  # fmt: skip
    caption = "Codes that differ by tensor, steps from a tie and the error bound in brackets"
    return Table(caption, ("tensor", "layer", *variants), rows)


def _codes_cell(row: Json | None) -> Cell:
    if row is None:
        return NOTHING
    if not row["differing"]:
        return Cell("0", 0)
    bound = "unknown" if row["bound"] is None else f"{row['bound']:.1e}"
    return Cell(f"{row['differing']:,} ({row['farthest']:.1e} of {bound})", row["differing"])
