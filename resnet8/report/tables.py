"""The rows of the report's tables: cells by column."""

from collections.abc import Mapping, Sequence
from typing import Self

from resnet8.compare.tables import interval, with_error
from resnet8.core.files import Fingerprint, Json

Rows = list[dict[str, str]]


class Cell(str):
    """A text that tables sort by a value; a plain text is sorted by itself.

    value: comes last if None.
    variant: if not empty, the text is a layer that the explorer shows when the cell is pressed.
    """

    value: float | str | None
    variant: str

    def __new__(cls, text: str, value: float | str | None = None, variant: str = "") -> Self:
        cell = super().__new__(cls, text)
        cell.value, cell.variant = value, variant
        return cell


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


def headline(comparison: Json, *, variants: Sequence[str], sizes: Mapping[str, int]) -> Rows:
    """All variants against the baseline, with the size of each model file in bytes."""
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
        if name == comparison["baseline"]:
            against = dict.fromkeys(against, NOTHING) | {"delta pp": Cell("baseline", 0.0)}
        first = {"variant": name, "top-1 %": percent(row["top1_accuracy"])}
        rows.append(first | against | {"file kB": number(sizes[name] / 1000, ".0f")})
    return rows


def files(fingerprints: Sequence[Fingerprint]) -> Rows:
    """The files behind the report."""
    return [
        {"file": x.path, "bytes": number(x.size_bytes, ",d"), "SHA-256": x.sha256}
        for x in fingerprints
    ]


def class_accuracy(
    comparison: Json,
    counts: Sequence[Sequence[int]],
    *,
    variants: Sequence[str],
    label_names: Sequence[str],
) -> Rows:
    """Accuracy by class and its change, from the baseline's images by true and predicted class."""
    return [
        {"class": label, "images": number(sum(row), "d")}
        | {f"{comparison['baseline']} %": percent(row[k] / sum(row) if any(row) else None, 1)}
        | {f"{x}, delta pp": _class_delta(comparison["variants"][x], label) for x in variants}
        for k, (label, row) in enumerate(zip(label_names, counts, strict=True))
    ]


def _class_delta(row: Json, label: str) -> Cell:
    if label not in row["per_class_delta_pp"]:
        return NOTHING
    delta = row["per_class_delta_pp"][label]
    low, high = row["per_class_ci95_pp"][label]
    return Cell(f"{delta:+.1f} ({low:+.1f} to {high:+.1f})", delta)  # one image of 1,000: 0.1


def parity(layers: Json, *, order: Sequence[str]) -> Rows:
    """Bounds of the differences between float models by layer, in the order of computation."""
    return [
        {
            "layer": layer,
            "Keras – ONNX": small(row.get("keras_onnx"), ".0e"),
            "Keras – PyTorch": small(row.get("keras_torch"), ".0e"),
            "ONNX – PyTorch": small(row.get("onnx_torch"), ".0e"),
            "largest value": number(row["magnitude"]),
            "difference as a share of it": small(row["relative"], ".0e"),
        }
        for layer, row in ((x, layers[x]) for x in order if x in layers)
    ]


def findings(entries: Sequence[Json]) -> Rows:
    """Findings in metrics/quantization_lint.json."""
    return [
        {
            "variant": x["variant"],
            "layer": Cell(x["layer"], x["layer"], x["variant"]) if x["layer"] else NOTHING,
            "finding": x["message"],
        }
        for x in entries
    ]


def sqnr(activations: Json, *, order: Sequence[str], variants: Sequence[str]) -> Rows:
    """The SQNR in dB by layer and quantized variant."""
    return [
        {"layer": layer} | {x: sqnr_cell(activations[layer].get(x)) for x in variants}
        for layer in order
    ]


def sqnr_cell(row: Json | None) -> Cell:
    """An SQNR; a layer without any error has none and is sorted above all others."""
    statistics = row["statistics"] if row else {}
    if statistics.get("sqnr_db") is None and statistics.get("max_abs_error") == 0:
        return Cell("no error", 1e9)
    return number(statistics.get("sqnr_db"), ".1f")


def sensitivity(name: str, ranking: Json, *, known: Sequence[str]) -> Rows:
    """A variant's layers by rank, with links to those that the layer explorer knows."""
    layers = {layer: ranking["layers"][layer] for layer in ranked(ranking)}
    whole = ranking["all"]["kl_divergence"]
    return [
        {
            "layer": Cell(layer, layer, name) if layer in known else layer,
            "rank": number(row["rank"], "d"),
            "alone: KL": small(row["alone"]["kl_divergence"]),
            "alone: agreement %": percent(row["alone"]["agreement"], 1),
            "spared: KL": small(row["spared"]["kl_divergence"]),
            "spared: KL saved": small(whole - row["spared"]["kl_divergence"], "+.1e"),
            "spared: agreement %": percent(row["spared"]["agreement"], 1),
        }
        for layer, row in layers.items()
    ]


def ranked(ranking: Json) -> list[str]:
    """Returns the layers of a variant, the most sensitive first."""
    return sorted(ranking["layers"], key=lambda layer: int(ranking["layers"][layer]["rank"]))


def arithmetic(variants: Json) -> Rows:
    """Codes of each variant in artifacts/verification/quantized.json beside exact arithmetic."""
    rows = []
    for name, variant in variants.items():
        codes = [row for row in variant["tensors"] if row["in_codes"]]
        logits = [row["largest"] for row in variant["tensors"] if not row["in_codes"]]
        whole = variant["end_to_end"]
        differing = whole["differing"] / whole["codes"] if whole["codes"] else None
        rows.append({
            "variant": name,
            "tensors": number(len(codes), "d"),
            "codes": number(sum(row["compared"] for row in codes), ",d"),
            "differ": number(sum(row["differing"] for row in codes), ",d"),
            "by at most": number(max((row["largest"] for row in codes), default=None), "g"),
            "steps from a tie, at most": small(max((x["farthest"] for x in codes), default=None)),
            "logits: share of the error bound": small(max(logits, default=None), ".2g"),
            "end to end: codes that differ, %": percent(differing, 3),
            "end to end: same class, %": percent(whole["same_class"] / whole["n_images"]),
            "end to end: largest change in probability": small(whole["largest"]),
        })  # fmt: skip
    return rows


def differing_codes(variants: Json) -> Rows:
    """Codes that differ from exact arithmetic, by tensor and variant."""
    by_tensor: dict[str, dict[str, str]] = {}
    for name, variant in variants.items():
        for row in variant["tensors"]:
            if row["in_codes"]:
                first = {"tensor": row["tensor"], "layer": row["layer"]}
                cells = first | dict.fromkeys(variants, NOTHING)
                by_tensor.setdefault(row["tensor"], cells)[name] = _codes(row)
    return list(by_tensor.values())


def _codes(row: Json) -> Cell:
    if not row["differing"]:
        return Cell("0", 0)
    bound = "unknown" if row["bound"] is None else f"{row['bound']:.1e}"
    return Cell(f"{row['differing']:,} ({row['farthest']:.1e} of {bound})", row["differing"])
