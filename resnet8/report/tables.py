"""The report's tables: cells with what they say and what they are sorted by."""

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
    value: what the column is sorted by; None comes last.
    layer, variant: what the layer explorer shows when the cell is pressed, if anything.
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
    """A cell that is sorted by its words."""
    return Cell(words, words)


def number(value: float | None, form: str = ".3g") -> Cell:
    """A cell with a number in a format of Python's."""
    return NOTHING if value is None else Cell(format(value, form), value)


def small(value: float | None, form: str = ".1e") -> Cell:
    """A cell with a number near zero, which is exact where it is zero."""
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
    rows = [
        [text(file.path), number(file.size_bytes, ",d"), text(file.sha256)]
        for file in files
    ]  # fmt: skip
    return Table("Data and models", ("file", "bytes", "SHA-256"), rows)


def class_accuracy_table(
    comparison: Json,
    confusions: Mapping[str, NDArray[np.int64]],
    *,
    variants: Sequence[str],
    label_names: Sequence[str],
) -> Table:
    """Accuracy by class and its change in some variants; a dash where a class has no images."""
    baseline = comparison["baseline"]
    rows = []
    for k, label in enumerate(label_names):
        count, right = int(confusions[baseline][k].sum()), int(confusions[baseline][k, k])
        deltas = [_class_delta(comparison["variants"][name], label) for name in variants]
        rows.append(
            [text(label), number(count, "d"), percent(right / count, 1) if count else NOTHING,
             *deltas]
        )  # fmt: skip
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
    rows = [
        [
            text(layer),
            *(small(row.get(pair), ".0e") for pair in pairs),
            number(row["magnitude"]),
            small(row["relative"], ".0e"),
        ]
        for layer in order
        if layer in parity["layers"]
        for row in [parity["layers"][layer]]
    ]
    return Table("Differences between the float models are at most", columns, rows)


def finding_table(findings: Sequence[Json]) -> Table:
    """What `lint_quantization` found."""
    rows = [
        [
            text(found["variant"]),
            Cell(found["layer"], found["layer"], found["layer"], found["variant"])
            if found["layer"]
            else NOTHING,
            text(found["message"]),
        ]
        for found in findings
    ]
    return Table("Findings", ("variant", "layer", "what"), rows)


def sqnr_table(activations: Json, *, order: Sequence[str], variants: Sequence[str]) -> Table:
    """The SQNR in dB by layer and quantized variant."""
    rows = [
        [text(layer), *(sqnr_cell(activations[layer].get(name)) for name in variants)]
        for layer in order
    ]
    return Table("SQNR in dB, from input to output", ("layer", *variants), rows)


def sqnr_cell(found: Json | None) -> Cell:
    """An SQNR; without any error there is no ratio, and such layers sort above all others."""
    if found is None:
        return NOTHING
    statistics = found["statistics"]
    if statistics.get("sqnr_db") is None and statistics.get("max_abs_error") == 0:
        return Cell("no error", 1e9)
    return number(statistics.get("sqnr_db"), ".1f")


def sensitivity_table(name: str, ranking: Json, *, known: Sequence[str]) -> Table:
    """A variant's layers by rank; those that the explorer knows lead there."""
    columns = (
        "layer", "rank", "alone: KL", "alone: agreement %", "spared: KL", "spared: KL saved",
        "spared: agreement %",
    )  # fmt: skip
    rows = [
        [
            Cell(layer, layer, layer, name) if layer in known else text(layer),
            number(row["rank"], "d"),
            small(row["alone"]["kl_divergence"]),
            percent(row["alone"]["agreement"], 1),
            small(row["spared"]["kl_divergence"]),
            small(saved(ranking, layer), "+.1e"),
            percent(row["spared"]["agreement"], 1),
        ]
        for layer in ranked(ranking)
        for row in [ranking["layers"][layer]]
    ]
    return Table(f"Layers of {name} by what quantizing each alone costs", columns, rows)


def ranked(ranking: Json) -> list[str]:
    """The layers of a variant, from the one that costs most when it alone is quantized."""
    return sorted(ranking["layers"], key=lambda layer: int(ranking["layers"][layer]["rank"]))


def saved(ranking: Json, layer: str) -> float:
    """How much lower the KL divergence is when a layer of a quantized model is left in float."""
    spared: float = ranking["layers"][layer]["spared"]["kl_divergence"]
    return float(f"{ranking['all']['kl_divergence'] - spared:.4g}")
