"""Sums up a comparison in sentences that claim no more than the numbers.

A large p-value proves no equality, so sentences say what the interval leaves room for.
"""

import numpy as np

from resnet8.compare.chance import chance_warning
from resnet8.compare.tables import SIGNIFICANCE, interval
from resnet8.core.files import Json
from resnet8.core.variants import Variant


def verdict(comparison: Json) -> list[str]:
    """Returns a sentence about the baseline of metrics/comparison.json and each other variant.

    If the baseline is not better than chance, variants have no differences in accuracy.
    """
    baseline, rows, n_images = (comparison[key] for key in ("baseline", "variants", "n_images"))
    others = {name: rows[name] for name in Variant if name in rows and name != baseline}
    same = {name: row for name, row in others.items() if row["agreement"] == 1}
    conversions = [_no_change(name, row, baseline) for name, row in same.items()]
    if warning := chance_warning(comparison):
        return [warning, *conversions]
    accuracy = 100 * rows[baseline]["top1_accuracy"]
    return [
        f"{baseline} is right on {accuracy:.2f}% of {n_images:,} test images.",
        *conversions,
        *(_changes(name, row, n_images) for name, row in others.items() if name not in same),
    ]


def _no_change(name: str, row: Json, baseline: str) -> str:
    largest = row["max_abs_probability_diff"]
    return (
        f"{name} gives all images the same class as {baseline}, with probabilities within "
        f"{np.format_float_positional(largest, 2, fractional=False, trim='-')}."
    )


def _changes(name: str, row: Json, n_images: int) -> str:
    changed = 1 - row["agreement"]
    room = max(0.0, -row["ci95_low_pp"])
    meaning = (
        "unlikely to be chance"
        if row["mcnemar_p"] < SIGNIFICANCE
        else f"no difference detected, but room for a loss of up to {room:.2f} points"
    )
    return (
        f"{name} gives another class to {round(changed * n_images):,} images "
        f"({100 * changed:.2f}%), of which {row['images_lost']:,} were right before and "
        f"{row['images_won']:,} are right now: {row['accuracy_delta_pp']:+.2f} percentage points "
        f"(95% interval {interval(row['ci95_low_pp'], row['ci95_high_pp'])}, McNemar's exact test "
        f"p = {row['mcnemar_p']:.2g}), {meaning}."
    )
