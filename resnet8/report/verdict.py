"""Sums up a comparison in sentences that claim no more than the numbers.

A large p-value proves no equality, so sentences say what the interval leaves room for.
"""

from collections.abc import Sequence

import numpy as np

from resnet8.compare.chance import chance_warning
from resnet8.compare.tables import SIGNIFICANCE, interval
from resnet8.core.variants import FLOAT_VARIANTS, QUANTIZED_VARIANTS
from resnet8.report.tables import Json


def verdict(comparison: Json) -> list[str]:
    """Returns sentences about the variants in metrics/comparison.json.

    If the baseline is not better than chance, they have no differences in accuracy.
    """
    baseline, rows = comparison["baseline"], comparison["variants"]
    converted = [name for name in FLOAT_VARIANTS if name in rows and name != baseline]
    quantized = [name for name in QUANTIZED_VARIANTS if name in rows and name != baseline]
    conversions = [_conversions(converted, rows, baseline)] if converted else []
    if warning := chance_warning(comparison):
        return [warning, *conversions]
    accuracy = 100 * rows[baseline]["top1_accuracy"]
    start = f"{baseline} is right on {accuracy:.2f}% of {comparison['n_images']:,} test images."
    sentences = [start, *conversions]
    if not quantized:
        return [*sentences, "There are no quantized variants to compare it with."]
    same = [name for name in quantized if rows[name]["mcnemar_p"] >= SIGNIFICANCE]
    sentences += [_difference(name, rows[name]) for name in quantized if name not in same]
    if same:
        sentences.append(_no_difference(same, rows, baseline))
    return [*sentences, _changed(quantized, rows, comparison["n_images"])]


def _evidence(row: Json) -> str:
    return (
        f"95% interval {interval(row['ci95_low_pp'], row['ci95_high_pp'])}, McNemar's exact test "
        f"p = {row['mcnemar_p']:.2g}"
    )


def _difference(name: str, row: Json) -> str:
    delta = row["accuracy_delta_pp"]
    return (
        f"{name} is {'less' if delta < 0 else 'more'} accurate by {abs(delta):.2f} percentage "
        f"points ({_evidence(row)}): unlikely to be chance."
    )


def _no_difference(names: Sequence[str], rows: Json, baseline: str) -> str:
    name = max(names, key=lambda name: abs(rows[name]["accuracy_delta_pp"]))
    loss = max(0.0, *(-rows[name]["ci95_low_pp"] for name in names))
    return (
        f"No difference in accuracy from {baseline} was detected for {', '.join(names)}: the "
        f"largest is {rows[name]['accuracy_delta_pp']:+.2f} percentage points ({name}, "
        f"{_evidence(rows[name])}). That does not prove that there is none: the intervals leave "
        f"room for a loss of up to {loss:.2f} points."
    )


def _changed(quantized: Sequence[str], rows: Json, n_images: int) -> str:
    name = min(quantized, key=lambda name: rows[name]["agreement"])
    row = rows[name]
    changed = round((1 - row["agreement"]) * n_images)
    if not changed:
        return "All images keep their class."
    return (
        f"{name}, which moved most, gives another class than the baseline to {changed:,} images "
        f"({100 * changed / n_images:.2f}%), of which {row['images_lost']:,} were right before "
        f"and {row['images_won']:,} are right now."
    )


def _conversions(converted: Sequence[str], rows: Json, baseline: str) -> str:
    largest = max(rows[name]["max_abs_probability_diff"] for name in converted)
    agreement = min(rows[name]["agreement"] for name in converted)
    images = "all images" if agreement == 1 else f"{100 * agreement:.2f}% of the images"
    return (
        f"Conversions in float ({', '.join(converted)}) give {images} the same class as "
        f"{baseline}, with probabilities within "
        f"{np.format_float_positional(largest, 2, fractional=False, trim='-')}."
    )
