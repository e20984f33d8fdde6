"""Tables behind the plots that DVC draws, one row for each mark.

Shape letters: N images, K classes.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from resnet8.compare.comparison import wilson_interval
from resnet8.compare.predictions import confusion_matrix
from resnet8.core.dataset import TestSet
from resnet8.core.evaluation import Probabilities
from resnet8.core.files import Json

COLUMNS = {
    "per_class_accuracy":
        ("variant", "class_name", "accuracy_percent", "low_percent", "high_percent"),
    "confusion": ("variant", "actual", "predicted", "images"),
    "sqnr": ("variant", "layer", "position", "sqnr_db"),
    "sensitivity": ("variant", "layer", "rank", "kl_alone", "kl_spared", "agreement_alone"),
}  # fmt: skip
Row = tuple[Any, ...]


def plot_tables(
    predictions: Mapping[str, Probabilities],
    test_set: TestSet,
    *,
    inspection: Json,
    sensitivity: Json,
    quantized: Sequence[str],
) -> dict[str, list[Row]]:
    """Returns the rows of the tables in metrics/plots/ by name; `COLUMNS` are their columns.

    `inspection` is artifacts/inspection/layers.json, `quantized` the variants of its two tables.
    """
    _, labels, names = test_set
    accuracies: list[Row] = []
    confusions: list[Row] = []
    for variant, probabilities in predictions.items():
        counts = confusion_matrix(probabilities, labels, n_classes=len(names))
        confusions += [
            (variant, names[actual], names[predicted], int(count))
            for (actual, predicted), count in np.ndenumerate(counts)
        ]
        totals = zip(names, counts.diagonal().tolist(), counts.sum(axis=1).tolist(), strict=True)
        for name, right, n in totals:
            if n:  # Wilson's 95% interval
                fractions = (right / n, *wilson_interval(right, n))
                accuracies.append((variant, name, *(round(100 * x, 4) for x in fractions)))
    return {
        "per_class_accuracy": accuracies,
        "confusion": confusions,
        "sqnr": _sqnr_rows(inspection, quantized),
        "sensitivity": _sensitivity_rows(sensitivity, quantized),
    }


def _sqnr_rows(inspection: Json, variants: Sequence[str]) -> list[Row]:
    """Rows from input to output, without layers that a variant lacks or computes without noise."""
    activations = inspection["activations"]["calibration"]
    rows = [
        (variant, layer, position, activations[layer][variant]["statistics"].get("sqnr_db"))
        for variant in variants
        for position, layer in enumerate(inspection["layers"])
        if variant in activations[layer]
    ]
    return [row for row in rows if row[-1] is not None]


def _sensitivity_rows(sensitivity: Json, variants: Sequence[str]) -> list[Row]:
    """Rows by rank: the layer that costs most alone comes first."""
    rows = [
        (variant, layer, row["rank"], row["alone"]["kl_divergence"],
         row["spared"]["kl_divergence"], row["alone"]["agreement"])
        for variant in variants
        for layer, row in sensitivity["variants"][variant]["layers"].items()
    ]  # fmt: skip
    return sorted(rows, key=lambda row: (variants.index(row[0]), row[2]))
