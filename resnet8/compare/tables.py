"""Tables of a comparison: in the terminal, in Markdown and in `dvc metrics`."""

from collections.abc import Mapping
from typing import Any

from rich.console import Console

from resnet8.compare.chance import REASONS, chance_warning
from resnet8.compare.rendering import rich_table
from resnet8.core import markdown
from resnet8.core.files import Json
from resnet8.core.variants import Variant

SIGNIFICANCE = 0.05  # a McNemar p below it: the accuracy difference is unlikely to be chance
COLUMNS = ("variant", "top-1 %", "delta pp", "95% interval", "McNemar p", "agree %", "KL")
LAYER_COLUMNS = (
    "layer", "mean", "std", "min", "max", "zero %", "clip %", "levels", "SQNR dB",
)  # fmt: skip
INSIDE_COLUMNS = (
    "variant", "noisiest layer", "SQNR dB", "most sensitive layer", "KL, only it",
    "KL, all others", "KL, all",
)  # fmt: skip
ON_PURPOSE = (
    "*: clipped below on purpose; the ReLU behind the addition discards these values, so SQNR does "
    "not count them."
)


def format_row(name: str, row: Json, *, is_baseline: bool) -> tuple[str, ...]:
    """A variant's cells for `COLUMNS`, in percent and percentage points."""
    accuracy = f"{100 * row['top1_accuracy']:.2f}"
    if is_baseline:
        return (name, accuracy, "", "baseline", "", "", "")
    return (
        name,
        accuracy,
        f"{row['accuracy_delta_pp']:+.2f}",
        interval(row["ci95_low_pp"], row["ci95_high_pp"]),
        f"{row['mcnemar_p']:.2g}",
        f"{100 * row['agreement']:.2f}",
        with_error(row["kl_divergence"], row["kl_standard_error"]),
    )


def with_error(kl: float, error: float | None) -> str:
    """A KL divergence ± its standard error: five decimals, or six if the error needs them."""
    if not error:  # unknown, or nothing to be uncertain about
        return f"{kl:.5f}"
    decimals = 5 if error >= 1e-5 else 6
    return f"{kl:.{decimals}f} ± {error:.{decimals}f}"


def interval(low: float, high: float) -> str:
    """Both ends of an interval in percentage points."""
    return f"{low:+.2f} to {high:+.2f}"


def concentration(comparison: Json) -> str:
    """A sentence about the share of the KL divergence in few images; empty if it is unknown."""
    shares = {name: row["kl_top10_share"] for name, row in _rows(comparison).items()}
    listed = ", ".join(f"{100 * x:.1f}% ({name})" for name, x in shares.items() if x is not None)
    if not listed:
        return ""
    return f"The ten images with the largest KL divergence make up {listed} of its sum."


def summarize(name: str, row: Json) -> dict[str, Any]:
    """The figures of a variant that `dvc metrics` shows."""
    copied = ("accuracy_delta_pp", "agreement", "kl_divergence", "top1_accuracy")
    return {"variant": name, **{key: row[key] for key in copied}}


def _rows(comparison: Json) -> dict[str, Json]:
    """All variants in the order of the pipeline."""
    rows: Mapping[str, Json] = comparison["variants"]
    return {variant: rows[variant] for variant in Variant if variant in rows}


def _headline(comparison: Json) -> list[tuple[str, ...]]:
    """Cells of all variants for `COLUMNS`."""
    baseline = comparison["baseline"]
    rows = _rows(comparison)
    return [format_row(name, row, is_baseline=name == baseline) for name, row in rows.items()]


def _class_deltas(comparison: Json) -> dict[str, dict[str, float]]:
    """Accuracy deltas in pp by class, of the variants in which any class changed."""
    deltas = {name: row["per_class_delta_pp"] for name, row in _rows(comparison).items()}
    return {name: by_class for name, by_class in deltas.items() if any(by_class.values())}


def markdown_table(comparison: Json, *, sizes: Mapping[str, int]) -> str:
    """The comparison in Markdown, with the size of each model file where it is known."""
    lines: list[tuple[str, ...]] = [(*COLUMNS, "file kB")]
    for name, *cells in _headline(comparison):
        size = f"{sizes[name] / 1000:.0f}" if name in sizes else ""
        lines.append((f"`{name}`", *cells, size))
    return markdown.table(lines)


def class_table(comparison: Json) -> str:
    """The accuracy deltas by class in Markdown, one row per variant."""
    classes = comparison["variants"][comparison["baseline"]]["per_class_delta_pp"]
    lines = [("variant", *classes)]
    for name, deltas in _class_deltas(comparison).items():
        lines.append((f"`{name}`", *(f"{deltas[label]:+.1f}" for label in classes)))
    return markdown.table(lines)


def inside_table(layers: Json, sensitivity: Json) -> str:
    """The noisiest and the most sensitive layer of each quantized variant, in Markdown."""
    lines: list[tuple[str, ...]] = [INSIDE_COLUMNS]
    for variant, ranking in sensitivity["variants"].items():
        statistics = layers["activations"][variant]
        sqnr = {layer: row.get("sqnr_db") for layer, row in statistics.items()}
        noisy = [(x, layer) for layer, x in sqnr.items() if x is not None]
        db, noisiest = min(noisy, key=lambda pair: pair[0])  # the first one of equals
        ranked = ranking["layers"]
        most_sensitive = min(ranked, key=lambda layer: ranked[layer]["rank"])
        row = ranked[most_sensitive]
        divergences = [x["kl_divergence"] for x in (row["alone"], row["spared"], ranking["all"])]
        names = f"`{variant}`", f"`{noisiest}`", f"{db:.1f}", f"`{most_sensitive}`"
        lines.append((*names, *(f"{kl:.5f}" for kl in divergences)))
    return markdown.table(lines)


def print_headline(comparison: Json) -> None:
    """Prints the comparison, below a warning if the baseline is not better than chance."""
    console = Console(highlight=False)
    if warning := chance_warning(comparison):
        reasons = [f"- {reason}" for reason in REASONS]
        text = "\n".join([f"WARNING: {warning}", "Likely reasons:", *reasons])
        console.print(text, style="bold red", markup=False)
    title = f"{comparison['n_images']:,} test images, compared with {comparison['baseline']}"
    # Headings of two lines, and one space between columns: fits 80 columns.
    lines = [[column.replace(" ", "\n") for column in COLUMNS], *_headline(comparison)]
    table = rich_table(lines, title=title, padding=0, show_edge=False)
    for table_row, row in zip(table.rows, _rows(comparison).values(), strict=True):
        worse = row["accuracy_delta_pp"] < 0 and row["mcnemar_p"] < SIGNIFICANCE
        table_row.style = "yellow" if worse else None
    console.print(table)
    console.print(
        "delta: variant minus baseline; yellow: lower, and unlikely to be chance (McNemar p < "
        f"{SIGNIFICANCE:g}); agree: same top-1 class; KL: divergence from the baseline in nats ± "
        "its standard error."
    )
    if shares := concentration(comparison):
        console.print(shares)


def print_classes(comparison: Json) -> None:
    """Prints the accuracy deltas by class, if any accuracy changed."""
    if deltas := _class_deltas(comparison):
        variants, classes = deltas.values(), next(iter(deltas.values()))
        rows = [[name, *(f"{by_class[name]:+.2f}" for by_class in variants)] for name in classes]
        lines = [["class", *deltas], *rows]
        title = "Accuracy per class: delta in percentage points"
        Console(highlight=False).print(rich_table(lines, title=title))


def print_layers(inspection: Json) -> None:
    """Prints the statistics of all layers over the chosen input, a table for each variant.

    `inspection` is the content of artifacts/inspection/layers.json.
    """
    console = Console(highlight=False, markup=False)  # layers have any names
    rows = inspection["activations"]["input"]
    variants = dict.fromkeys(name for layer in inspection["layers"] for name in rows[layer])
    for variant in variants:
        lines = [list(LAYER_COLUMNS)]
        for layer in inspection["layers"]:
            if variant in rows[layer]:
                cells = layer_cells(rows[layer][variant]["statistics"])
                lines.append([layer, *(cells[column] for column in LAYER_COLUMNS[1:])])
        title = f"{variant} over {inspection['input']}"
        console.print(rich_table(lines, title=title))
    if any("clips_on_purpose" in x["statistics"] for row in rows.values() for x in row.values()):
        console.print(ON_PURPOSE)


def layer_cells(statistics: Json) -> dict[str, str]:
    """The statistics of a layer's output by column; empty where there are none."""

    def cell(key: str, form: str, factor: float = 1) -> str:
        number = statistics.get(key)
        return "" if number is None else f"{factor * number:{form}}"

    clipped = cell("clipped_share", ".2g", 100)
    return {
        **{key: cell(key, ".3g") for key in ("mean", "std", "min", "max")},
        "zero %": cell("zeros_share", ".1f", 100),
        "clip %": f"{clipped}*" if "clips_on_purpose" in statistics else clipped,
        "levels": cell("levels_used", "d"),
        "SQNR dB": cell("sqnr_db", ".1f"),
        "cosine": cell("cosine_similarity", ".5f"),
        "max error": cell("max_abs_error", ".3g"),
    }
