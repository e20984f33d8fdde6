"""What the numbers say, in sentences, and no more than they say."""

from collections.abc import Mapping, Sequence

import numpy as np

from resnet8.compare.chance import chance_warning
from resnet8.compare.tables import SIGNIFICANCE, interval
from resnet8.report.inputs import Json


def verdict(comparison: Json, *, quantized: Sequence[str], converted: Sequence[str]) -> list[str]:
    """Sums up a comparison.

    Args:
        comparison: as in metrics/comparison.json.
        quantized: the variants to judge, without the baseline.
        converted: the float variants, without the baseline.

    Returns:
        Sentences; of a baseline that is not better than chance, no differences in accuracy.
    """
    rows, baseline = comparison["variants"], comparison["baseline"]
    if warning := chance_warning(comparison):  # no difference from it reassures anybody
        return [warning, *_conversions(converted, rows, baseline)]
    accuracy = 100 * rows[baseline]["top1_accuracy"]
    start = f"{baseline} is right on {accuracy:.2f}% of {comparison['n_images']:,} test images."
    said = [start, *_conversions(converted, rows, baseline)]
    if not quantized:
        return [*said, "There are no quantized variants to compare it with."]
    moved = [name for name in quantized if rows[name]["mcnemar_p"] < SIGNIFICANCE]
    others = [name for name in quantized if name not in moved]
    said += [_difference(name, rows[name]) for name in moved]
    if others:
        said += _no_difference({name: rows[name] for name in others}, baseline)
    return [*said, _changed(quantized, rows, comparison["n_images"])]


def _difference(name: str, row: Json) -> str:
    delta = row["accuracy_delta_pp"]
    direction = "less" if delta < 0 else "more"
    return (
        f"{name} is {direction} accurate by {abs(delta):.2f} percentage points (95% interval "
        f"{interval(row['ci95_low_pp'], row['ci95_high_pp'])}, McNemar's exact test "
        f"p = {row['mcnemar_p']:.2g}): unlikely to be chance."
    )


def _no_difference(rows: Mapping[str, Json], baseline: str) -> list[str]:
    """No proof of a difference is no proof of none: says what the interval leaves room for."""
    name = max(rows, key=lambda name: abs(rows[name]["accuracy_delta_pp"]))
    row = rows[name]
    loss = -min(row["ci95_low_pp"] for row in rows.values())
    return [
        f"No difference in accuracy from {baseline} was detected for {_listed(list(rows))}: the "
        f"largest is {row['accuracy_delta_pp']:+.2f} percentage points ({name}, 95% interval "
        f"{interval(row['ci95_low_pp'], row['ci95_high_pp'])}, McNemar's exact test "
        f"p = {row['mcnemar_p']:.2g}).",
        f"That does not prove that there is none: the intervals leave room for a loss of up to "
        f"{max(loss, 0.0):.2f} points.",
    ]


def _changed(quantized: Sequence[str], rows: Json, n_images: int) -> str:
    name = min(quantized, key=lambda name: rows[name]["agreement"])
    row = rows[name]
    changed = round((1 - row["agreement"]) * n_images)
    if not changed:
        return "All images keep their class."
    kind = "The variant" if len(quantized) == 1 else f"{name}, which moved most,"
    return (
        f"{kind} gives another class than the baseline to {changed:,} images "
        f"({100 * changed / n_images:.2f}%), of which {row['images_lost']:,} were right before "
        f"and {row['images_won']:,} are right now."
    )


def _conversions(converted: Sequence[str], rows: Json, baseline: str) -> list[str]:
    if not converted:
        return []
    largest = max(rows[name]["max_abs_probability_diff"] for name in converted)
    agreement = min(rows[name]["agreement"] for name in converted)
    same = "all images the same class" if agreement == 1 else (
        f"{100 * agreement:.2f}% of the images the same class"
    )  # fmt: skip
    verb = "gives" if len(converted) == 1 else "give"
    return [
        f"In float, {_listed(converted)} {verb} {same} as {baseline}, with probabilities within "
        f"{np.format_float_positional(largest, 2, fractional=False, trim='-')}."
    ]


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
