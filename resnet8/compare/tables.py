"""Shows a comparison to people: in the terminal, in Markdown and in `dvc metrics`."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from resnet8.compare.chance import REASONS, chance_warning
from resnet8.core import markdown
from resnet8.core.variants import Variant

SIGNIFICANCE = 0.05  # McNemar p below it: the accuracy difference is unlikely to be chance
LAYER_COLUMNS = (
    "layer", "mean", "std", "min", "max", "zero %", "clip %", "levels", "SQNR dB",
)  # fmt: skip
INSIDE_COLUMNS = (
    "variant",
    "noisiest layer",
    "SQNR dB",
    "most sensitive layer",
    "KL, it alone",
    "KL, all but it",
    "KL, all",
)
SWEEP_COLUMNS = (
    "variant", "settings", "draws", "top-1 % (± of draws)", "agree %", "KL",
    "accuracy above default, pp", "agreement above default, pp", "file kB",
)  # fmt: skip
ON_PURPOSE = (
    "*: clipped below on purpose; the ReLU behind the addition discards these values, so SQNR does "
    "not count them."
)
SWEEP_ROWS = 8  # beside the default settings
COLUMNS = ("variant", "top-1 %", "delta pp", "95% interval", "McNemar p", "agree %", "KL")


def format_row(name: str, row: Mapping[str, Any], *, is_baseline: bool) -> tuple[str, ...]:
    """One line of the table, percent and percentage points, a cell for each of `COLUMNS`."""
    accuracy = f"{100 * row['top1_accuracy']:.2f}"
    if is_baseline:
        return (name, accuracy, "", "baseline", "", "", "")
    interval = f"{row['ci95_low_pp']:+.2f} to {row['ci95_high_pp']:+.2f}"
    return (
        name,
        accuracy,
        f"{row['accuracy_delta_pp']:+.2f}",
        interval,
        f"{row['mcnemar_p']:.2g}",
        f"{100 * row['agreement']:.2f}",
        with_error(row["kl_divergence"], row["kl_standard_error"]),
    )


def with_error(kl: float, error: float | None) -> str:
    """A KL divergence with its standard error: five decimals, six where the error needs them."""
    if not error:  # unknown, or nothing to be uncertain about
        return f"{kl:.5f}"
    decimals = 5 if error >= 1e-5 else 6
    return f"{kl:.{decimals}f} ± {error:.{decimals}f}"


def interval(low: float, high: float) -> str:
    """Both ends of an interval in percentage points."""
    return f"{low:+.2f} to {high:+.2f}"


def concentration(comparison: Mapping[str, Any]) -> str:
    """A sentence about the few images that have much of the KL divergence.

    Args:
        comparison: as in metrics/comparison.json.

    Returns:
        Empty where no variant has a share.
    """
    shares = {
        name: row["kl_top10_share"]
        for name, row in _rows(comparison).items()
        if row["kl_top10_share"] is not None
    }
    if not shares:
        return ""
    listed = ", ".join(f"{100 * share:.1f}% ({name})" for name, share in shares.items())
    return f"The ten images with the largest KL divergence make up {listed} of its sum."


def summarize(name: str, row: Mapping[str, Any]) -> dict[str, Any]:
    """The figures of a variant that `dvc metrics` shows, sorted by key."""
    copied = ("accuracy_delta_pp", "agreement", "kl_divergence", "top1_accuracy")
    return {"variant": name, **{key: row[key] for key in copied}}


def _rows(comparison: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The variants, float ones first, in the order of the pipeline."""
    rows: Mapping[str, Mapping[str, Any]] = comparison["variants"]
    return {variant: rows[variant] for variant in Variant if variant in rows}


def markdown_table(comparison: Mapping[str, Any], *, sizes: Mapping[str, int]) -> str:
    """The comparison as a Markdown table, with the size of each model file (kB) where known."""
    lines: list[Sequence[str]] = [(*COLUMNS, "file kB")]
    for name, row in _rows(comparison).items():
        cells = format_row(name, row, is_baseline=name == comparison["baseline"])
        size = f"{sizes[name] / 1000:.0f}" if name in sizes else ""
        lines.append((f"`{cells[0]}`", *cells[1:], size))
    return markdown.table(lines)


def class_table(comparison: Mapping[str, Any]) -> str:
    """The deltas per class of the variants in which any class moved, in Markdown."""
    moved = _moved(comparison)
    lines: list[Sequence[str]] = [("class", *(f"`{name}`" for name in moved))]
    for label in next(iter(comparison["variants"].values()))["per_class_delta_pp"]:
        deltas = (f"{row['per_class_delta_pp'][label]:+.1f}" for row in moved.values())
        lines.append((label, *deltas))
    return markdown.table(lines)


def inside_table(layers: Mapping[str, Any], sensitivity: Mapping[str, Any]) -> str:
    """Where each quantized variant hurts, in Markdown.

    Args:
        layers: what metrics/layers.json holds.
        sensitivity: what metrics/sensitivity.json holds.
    """
    lines: list[Sequence[str]] = [INSIDE_COLUMNS]
    for variant, ranking in sensitivity["variants"].items():
        ratios = {
            layer: row["sqnr_db"]
            for layer, row in layers["activations"][variant].items()
            if row.get("sqnr_db") is not None
        }
        noisiest = min(ratios, key=lambda layer: ratios[layer])
        first = min(ranking["layers"], key=lambda layer: ranking["layers"][layer]["rank"])
        alone, spared = (ranking["layers"][first][key] for key in ("alone", "spared"))
        divergences = [alone, spared, ranking["all"]]
        lines.append(
            (
                f"`{variant}`",
                f"`{noisiest}`",
                f"{ratios[noisiest]:.1f}",
                f"`{first}`",
                *(f"{row['kl_divergence']:.4f}" for row in divergences),
            )
        )
    return markdown.table(lines)


def sweep_table(summary: Mapping[str, Any]) -> str:
    """The default settings and the best others of a sweep, by KL divergence, in Markdown."""
    rows = [
        (
            f"`{row['variant']}`",
            "**default**" if row["is_default"] else row["description"],
            count_draws(row, summary),
            with_deviation(row["top1_accuracy"]),
            f"{100 * row['agreement']['mean']:.2f}",
            f"{row['kl_divergence']['mean']:.5f}",
            with_interval(row["accuracy_above_default_pp"]),
            with_interval(row["agreement_above_default_pp"]),
            f"{row['file_bytes'] / 1000:.0f}",
        )
        for row in best_settings(summary, SWEEP_ROWS)
    ]
    return markdown.table([SWEEP_COLUMNS, *rows])


def best_settings(summary: Mapping[str, Any], count: int) -> list[Mapping[str, Any]]:
    """The settings of a sweep with the smallest KL divergence, and the default ones among them.

    Args:
        summary: what metrics/sweep.json holds.
        count: of settings beside the default ones.
    """
    rows = sorted(summary["settings"], key=lambda row: float(row["kl_divergence"]["mean"]))
    others = [row for row in rows if not row["is_default"]][:count]
    return [row for row in rows if row["is_default"] or row in others]


def count_draws(row: Mapping[str, Any], summary: Mapping[str, Any]) -> str:
    """The number of a setting's draws, and how many earlier versions made where only some are."""
    is_mixed = 0 < summary["n_earlier"] < summary["n_finished"]
    earlier = f" ({row['n_earlier']} earlier)" if is_mixed and row["n_earlier"] else ""
    return f"{len(row['seeds'])}{earlier}"


def with_deviation(found: Mapping[str, Any]) -> str:
    """A mean fraction in percent, with the standard deviation of several draws."""
    deviation = found["deviation"]
    around = "" if deviation is None else f" ± {100 * deviation:.2f}"
    return f"{100 * found['mean']:.2f}{around}"


def with_interval(found: Mapping[str, float] | None) -> str:
    """A mean in percentage points with its interval; nothing where there is none."""
    if found is None:
        return ""
    return f"{found['mean']:+.2f} ({found['low']:+.2f} to {found['high']:+.2f})"


def _moved(comparison: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The variants in which the accuracy of a class differs from the baseline's."""
    rows = _rows(comparison).items()
    return {name: row for name, row in rows if any(row["per_class_delta_pp"].values())}


def print_headline(comparison: Mapping[str, Any], *, console: Console | None = None) -> None:
    """Prints the comparison, a line for each variant; first, whether the baseline is chance."""
    console = console or Console(highlight=False)
    _print_warning(comparison, console)
    baseline = comparison["baseline"]
    title = f"{comparison['n_images']:,} test images, compared with {baseline}"
    # Headings of two lines, and one space between columns: fits 80 columns.
    table = Table(title=title, box=box.SIMPLE_HEAD, padding=0, show_edge=False)
    for column in COLUMNS:
        heading = column.replace(" ", "\n")
        table.add_column(heading, justify="left" if column == "variant" else "right", no_wrap=True)
    for name, row in _rows(comparison).items():
        worse = row["accuracy_delta_pp"] < 0 and row["mcnemar_p"] < SIGNIFICANCE
        cells = format_row(name, row, is_baseline=name == baseline)
        table.add_row(*cells, style="yellow" if worse else None)
    console.print(table)
    console.print(
        "delta: variant minus baseline; yellow: lower, and unlikely to be chance (McNemar p < "
        f"{SIGNIFICANCE:g}); agree: same top-1 class; KL: divergence from the baseline in nats ± "
        "its standard error."
    )
    if shares := concentration(comparison):
        console.print(shares)


def _print_warning(comparison: Mapping[str, Any], console: Console) -> None:
    if warning := chance_warning(comparison):
        lines = [f"WARNING: {warning}", "Likely reasons:", *(f"- {reason}" for reason in REASONS)]
        console.print("\n".join(lines), style="bold red", markup=False)


def print_classes(comparison: Mapping[str, Any], *, console: Console | None = None) -> None:
    """Prints how the accuracy of each class moved, for the variants in which any did."""
    moved = _moved(comparison)
    table = _table("Accuracy per class: delta in percentage points")
    table.add_column("class", no_wrap=True)
    for name in moved:
        table.add_column(name, justify="right", no_wrap=True)
    for label in next(iter(comparison["variants"].values()))["per_class_delta_pp"]:
        deltas = [row["per_class_delta_pp"][label] for row in moved.values()]
        table.add_row(label, *(f"{delta:+.2f}" for delta in deltas))
    if moved:
        (console or Console(highlight=False)).print(table)


def print_layers(inspection: Mapping[str, Any], *, console: Console | None = None) -> None:
    """Prints the statistics of each layer, a table for each variant.

    Args:
        inspection: `layers` in order, what the `input` is, and `activations` over the
            `input` by layer and variant.
        console: where to print.
    """
    console = console or Console(highlight=False, markup=False)  # layers have any names
    rows = inspection["activations"]["input"]
    for variant in dict.fromkeys(name for layer in inspection["layers"] for name in rows[layer]):
        table = _table(f"{variant} over {inspection['input']}")
        for column in LAYER_COLUMNS:
            table.add_column(column, justify="left" if column == "layer" else "right", no_wrap=True)
        for layer in inspection["layers"]:
            if variant in rows[layer]:
                cells = layer_cells(rows[layer][variant]["statistics"])
                table.add_row(layer, *(cells[column] for column in LAYER_COLUMNS[1:]))
        console.print(table)
    if any("clips_on_purpose" in x["statistics"] for row in rows.values() for x in row.values()):
        console.print(ON_PURPOSE)


def layer_cells(statistics: Mapping[str, Any]) -> dict[str, str]:
    """The figures of a layer's output by column, empty where there are none."""

    def cell(key: str, digits: str, factor: float = 1) -> str:
        number = statistics.get(key)
        return "" if number is None else f"{factor * number:{digits}}"

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


def _table(title: str) -> Table:
    return Table(title=title, box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
