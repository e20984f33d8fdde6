"""Tables behind the plots that DVC draws, one row for each mark.

Shape letters: N images, K classes.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from resnet8.compare.comparison import wilson_interval
from resnet8.compare.predictions import confusion_matrix
from resnet8.core.dataset import TestSet
from resnet8.core.evaluation import Probabilities

Json = Mapping[str, Any]


class Table(NamedTuple):
    """Columns and rows of a CSV file."""

    columns: Sequence[str]
    rows: Iterable[Sequence[Any]]


class ClassAccuracy(NamedTuple):
    """Top-1 accuracy of a variant on one class, with a 95% interval (Wilson)."""

    variant: str
    class_name: str
    accuracy_percent: float
    low_percent: float
    high_percent: float


def plot_tables(
    predictions: Mapping[str, Probabilities],
    test_set: TestSet,
    *,
    inspection: Json,
    sensitivity: Json,
    quantized: Sequence[str],
) -> dict[str, Table]:
    """Returns the tables in metrics/plots/ by name.

    Args:
        predictions: (N, K) probabilities by variant.
        test_set: the images and their classes.
        inspection: artifacts/inspection/layers.json.
        sensitivity: metrics/sensitivity.json.
        quantized: the quantized variants.
    """
    _, labels, label_names = test_set
    return {
        "per_class_accuracy": Table(
            ClassAccuracy._fields, class_accuracies(predictions, labels, label_names=label_names)
        ),
        "confusion": Table(
            ("variant", "actual", "predicted", "images"),
            [
                (variant, label_names[actual], label_names[predicted], int(count))
                for variant, probabilities in predictions.items()
                for (actual, predicted), count in np.ndenumerate(
                    confusion_matrix(probabilities, labels, n_classes=len(label_names))
                )
            ],
        ),
        "sqnr": Table(
            ("variant", "layer", "position", "sqnr_db"), _sqnr_rows(inspection, quantized)
        ),
        "sensitivity": Table(
            ("variant", "layer", "rank", "kl_alone", "kl_spared", "agreement_alone"),
            _sensitivity_rows(sensitivity, quantized),
        ),
    }


def class_accuracies(
    predictions: Mapping[str, Probabilities],
    labels: NDArray[np.int64],
    *,
    label_names: Sequence[str],
) -> list[ClassAccuracy]:
    """The accuracy of each variant on each class that has images.

    Args:
        predictions: (N, K) probabilities by variant.
        labels: (N,) class indices.
        label_names: K names.
    """
    rows = []
    for variant, probabilities in predictions.items():
        right = probabilities.argmax(axis=1) == labels
        for k, name in enumerate(label_names):
            if n := int(np.sum(labels == k)):
                hits = int(right[labels == k].sum())
                fractions = (hits / n, *wilson_interval(hits, n))
                percent = (round(100 * float(x), 4) for x in fractions)
                rows.append(ClassAccuracy(variant, name, *percent))
    return rows


def _sqnr_rows(inspection: Json, variants: Sequence[str]) -> list[tuple[str, str, int, float]]:
    """From input to output, without layers that a variant lacks or computes without noise."""
    activations = inspection["activations"]["calibration"]
    rows = [
        (variant, layer, position, activations[layer][variant]["statistics"].get("sqnr_db"))
        for variant in variants
        for position, layer in enumerate(inspection["layers"])
        if variant in activations[layer]
    ]
    return [row for row in rows if row[-1] is not None]


def _sensitivity_rows(
    sensitivity: Json, variants: Sequence[str]
) -> list[tuple[str, str, int, float, float, float]]:
    """By rank: the layer that costs most alone comes first."""
    return [
        (
            variant,
            layer,
            row["rank"],
            row["alone"]["kl_divergence"],
            row["spared"]["kl_divergence"],
            row["alone"]["agreement"],
        )
        for variant in variants
        for layer, row in sorted(
            sensitivity["variants"][variant]["layers"].items(), key=lambda item: item[1]["rank"]
        )
    ]
