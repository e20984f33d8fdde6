"""The report's tables.

Shape letters: K classes.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from resnet8.compare.rendering import Cell, Json, Table, by_column
from resnet8.compare.tables import interval, with_error
from resnet8.core.files import Fingerprint

NOTHING = Cell("–")


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
    rows = []
    for name in variants:
        row = comparison["variants"][name]
        ends, kl = (row["ci95_low_pp"], row["ci95_high_pp"]), row["kl_divergence"]
        against = {
            "delta pp": number(row["accuracy_delta_pp"], "+.2f"),
            "95% interval": Cell(interval(*ends), ends[0]),
            "McNemar p": number(row["mcnemar_p"], ".2f" if row["mcnemar_p"] >= 0.01 else ".1e"),
            "lost": number(row["images_lost"], "d"),
            "won": number(row["images_won"], "d"),
            "agreement %": percent(row["agreement"]),
            "KL, nats (± standard error)": Cell(with_error(kl, row["kl_standard_error"]), kl),
            "largest change in probability": small(row["max_abs_probability_diff"], ".2g"),
        }
        if name == baseline:
            against = dict.fromkeys(against, NOTHING) | {"delta pp": Cell("baseline", 0.0)}
        size = sizes[name] / 1000 if name in sizes else None
        first = {"variant": name, "top-1 %": percent(row["top1_accuracy"])}
        rows.append(first | against | {"file kB": number(size, ".0f")})
    return by_column(f"Accuracy, compared with {baseline}", rows)


def file_table(files: Sequence[Fingerprint]) -> Table:
    """The files behind the report."""
    rows = [
        {"file": x.path, "bytes": number(x.size_bytes, ",d"), "SHA-256": x.sha256} for x in files
    ]
    return by_column("Data and models", rows)


def class_accuracy_table(
    comparison: Json,
    counts: NDArray[np.int64],
    *,
    variants: Sequence[str],
    label_names: Sequence[str],
) -> Table:
    """Accuracy by class and its change, from the (K, K) confusions of the baseline."""
    baseline, rows = comparison["baseline"], []
    for k, label in enumerate(label_names):
        count = int(counts[k].sum())
        accuracy = counts[k, k] / count if count else None
        rows.append(
            {"class": label, "images": number(count, "d")}
            | {f"{baseline} %": percent(accuracy, 1)}
            | {f"{x}, delta pp": _class_delta(comparison["variants"][x], label) for x in variants}
        )
    return by_column(f"Accuracy by class, compared with {baseline}", rows)


def _class_delta(row: Json, label: str) -> Cell:
    if label not in row["per_class_delta_pp"]:
        return NOTHING
    delta = row["per_class_delta_pp"][label]
    low, high = row["per_class_ci95_pp"][label]
    return Cell(f"{delta:+.1f} ({low:+.1f} to {high:+.1f})", delta)  # one image of 1,000: 0.1


def parity_table(parity: Json, *, order: Sequence[str]) -> Table:
    """Bounds of the differences between float models by layer, in the order of computation."""
    layers = {layer: parity["layers"][layer] for layer in order if layer in parity["layers"]}
    rows = [
        {
            "layer": layer,
            "Keras – ONNX": small(row.get("keras_onnx"), ".0e"),
            "Keras – PyTorch": small(row.get("keras_torch"), ".0e"),
            "ONNX – PyTorch": small(row.get("onnx_torch"), ".0e"),
            "largest value": number(row["magnitude"]),
            "difference as a share of it": small(row["relative"], ".0e"),
        }
        for layer, row in layers.items()
    ]
    return by_column("Differences between the float models are at most", rows)


def finding_table(findings: Sequence[Json]) -> Table:
    """Findings in metrics/quantization_lint.json."""
    rows = [
        {
            "variant": x["variant"],
            "layer": _link(x["layer"], x["variant"]) if x["layer"] else NOTHING,
            "what": x["message"],
        }
        for x in findings
    ]
    return by_column("Findings", rows)


def _link(layer: str, variant: str) -> Cell:
    return Cell(layer, layer, layer, variant)


def sqnr_table(activations: Json, *, order: Sequence[str], variants: Sequence[str]) -> Table:
    """The SQNR in dB by layer and quantized variant."""
    rows = [
        {"layer": layer} | {x: sqnr_cell(activations[layer].get(x)) for x in variants}
        for layer in order
    ]
    return by_column("SQNR in dB, from input to output", rows)


def sqnr_cell(row: Json | None) -> Cell:
    """An SQNR; a layer without any error has none and is sorted above all others."""
    statistics = row["statistics"] if row else {}
    if statistics.get("sqnr_db") is None and statistics.get("max_abs_error") == 0:
        return Cell("no error", 1e9)
    return number(statistics.get("sqnr_db"), ".1f")


def sensitivity_table(name: str, ranking: Json, *, known: Sequence[str]) -> Table:
    """A variant's layers by rank, with links to those that the layer explorer knows."""
    rows = [
        {
            "layer": _link(layer, name) if layer in known else layer,
            "rank": number(row["rank"], "d"),
            "alone: KL": small(row["alone"]["kl_divergence"]),
            "alone: agreement %": percent(row["alone"]["agreement"], 1),
            "spared: KL": small(row["spared"]["kl_divergence"]),
            "spared: KL saved": small(saved(ranking, layer), "+.1e"),
            "spared: agreement %": percent(row["spared"]["agreement"], 1),
        }
        for layer in ranked(ranking)
        for row in [ranking["layers"][layer]]
    ]
    return by_column(f"Layers of {name} by what quantizing each alone costs", rows)


def ranked(ranking: Json) -> list[str]:
    """The layers of a variant, from the one that costs most when it alone is quantized."""
    return sorted(ranking["layers"], key=lambda layer: int(ranking["layers"][layer]["rank"]))


def saved(ranking: Json, layer: str) -> float:
    """Reduction of the KL divergence when a layer of a quantized model is left in float."""
    spared: float = ranking["layers"][layer]["spared"]["kl_divergence"]
    return float(f"{ranking['all']['kl_divergence'] - spared:.4g}")


def arithmetic_table(variants: Json) -> Table:
    """Codes of each variant in artifacts/verification/quantized.json beside exact arithmetic."""
    rows = []
    for name, variant in variants.items():
        codes = [row for row in variant["tensors"] if row["in_codes"]]
        logits = [row["largest"] for row in variant["tensors"] if not row["in_codes"]]
        whole = variant["end_to_end"]
        differing = whole["differing"] / whole["codes"] if whole["codes"] else None
        largest = max((row["largest"] for row in codes), default=None)
        farthest = max((row["farthest"] for row in codes), default=None)
        rows.append({
            "variant": name,
            "tensors": number(len(codes), "d"),
            "codes": number(sum(row["compared"] for row in codes), ",d"),
            "differ": number(sum(row["differing"] for row in codes), ",d"),
            "by at most": number(largest, "g"),
            "steps from a tie, at most": small(farthest),
            "logits: share of the error bound": small(max(logits, default=None), ".2g"),
            "end to end: codes that differ, %": percent(differing, 3),
            "end to end: same class, %": percent(whole["same_class"] / whole["n_images"]),
            "end to end: largest change in probability": small(whole["largest"]),
        })  # fmt: skip
    return by_column("Codes of each model beside exact arithmetic", rows)


def differing_codes_table(variants: Json) -> Table:
    """Codes that differ from exact arithmetic, by tensor and variant."""
    by_tensor: dict[str, dict[str, Json]] = {}
    for name, variant in variants.items():
        for row in variant["tensors"]:
            if row["in_codes"]:
                by_tensor.setdefault(row["tensor"], {})[name] = row
    rows = [
        {"tensor": tensor, "layer": next(iter(checks.values()))["layer"]}
        | {name: _codes_cell(checks.get(name)) for name in variants}
        for tensor, checks in by_tensor.items()
    ]
    caption = "Codes that differ by tensor, steps from a tie and the error bound in brackets"
    return by_column(caption, rows)


def _codes_cell(row: Json | None) -> Cell:
    if row is None:
        return NOTHING
    if not row["differing"]:
        return Cell("0", 0)
    bound = "unknown" if row["bound"] is None else f"{row['bound']:.1e}"
    return Cell(f"{row['differing']:,} ({row['farthest']:.1e} of {bound})", row["differing"])
