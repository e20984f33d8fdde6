"""Tables behind the plots that DVC draws itself, one row for each mark.

Shape letters: N images, K classes.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from resnet8.compare.comparison import wilson_interval
from resnet8.compare.predictions import confusion_matrix
from resnet8.core.evaluation import Probabilities


class ClassAccuracy(NamedTuple):
    """How often a variant is right about one class, with a 95% interval, all in percent."""

    variant: str
    class_name: str
    accuracy_percent: float
    low_percent: float
    high_percent: float


class Confusion(NamedTuple):
    """How many images of a class a variant takes for a class."""

    variant: str
    actual: str
    predicted: str
    images: int


class LayerSqnr(NamedTuple):
    """The signal-to-quantization-noise ratio of a layer's output.

    position: the layer's place in the order of computation, from 0.
    """

    variant: str
    layer: str
    position: int
    sqnr_db: float


class LayerSensitivity(NamedTuple):
    """What a layer's quantization changes, as KL divergence in nats and share of images.

    rank: from 1, the layer that costs most alone.
    kl_alone, agreement_alone: only this layer is quantized.
    kl_spared: all layers but this one are quantized.
    """

    variant: str
    layer: str
    rank: int
    kl_alone: float
    kl_spared: float
    agreement_alone: float


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

    Returns:
        Rows with Wilson's score interval.
    """
    return [
        _class_accuracy(variant, name, probabilities[labels == k].argmax(axis=1) == k)
        for variant, probabilities in predictions.items()
        for k, name in enumerate(label_names)
        if (labels == k).any()
    ]


def _class_accuracy(variant: str, name: str, right: NDArray[np.bool_]) -> ClassAccuracy:
    hits, n = int(right.sum()), len(right)
    fractions = (hits / n, *wilson_interval(hits, n))
    return ClassAccuracy(variant, name, *(round(100 * float(x), 4) for x in fractions))


def confusions(
    predictions: Mapping[str, Probabilities],
    labels: NDArray[np.int64],
    *,
    label_names: Sequence[str],
) -> list[Confusion]:
    """The confusion matrix of each variant, cell by cell, zeros included.

    Args:
        predictions: (N, K) probabilities by variant.
        labels: (N,) class indices.
        label_names: K names.
    """
    return [
        Confusion(variant, actual, predicted, int(count))
        for variant, probabilities in predictions.items()
        for actual, counts in zip(
            label_names,
            confusion_matrix(probabilities, labels, n_classes=len(label_names)),
            strict=True,
        )
        for predicted, count in zip(label_names, counts, strict=True)
    ]


def sqnr_profile(inspection: Mapping[str, Any], *, variants: Sequence[str]) -> list[LayerSqnr]:
    """The SQNR of each layer over the calibration images, from input to output.

    Args:
        inspection: what artifacts/inspection/layers.json holds.
        variants: the quantized ones.

    Returns:
        No row for a layer that a variant does not have, or in which it has no noise.
    """
    statistics = {
        layer: {variant: row["statistics"] for variant, row in by_variant.items()}
        for layer, by_variant in inspection["activations"]["calibration"].items()
    }
    return [
        LayerSqnr(variant, layer, position, sqnr_db)
        for variant in variants
        for position, layer in enumerate(inspection["layers"])
        if (sqnr_db := statistics[layer].get(variant, {}).get("sqnr_db")) is not None
    ]


def sensitivities(
    sensitivity: Mapping[str, Any], *, variants: Sequence[str]
) -> list[LayerSensitivity]:
    """The ranking of each variant's layers, the one that costs most first.

    Args:
        sensitivity: what metrics/sensitivity.json holds.
        variants: the quantized ones.
    """
    rows = [
        LayerSensitivity(
            variant,
            layer,
            rank=row["rank"],
            kl_alone=row["alone"]["kl_divergence"],
            kl_spared=row["spared"]["kl_divergence"],
            agreement_alone=row["alone"]["agreement"],
        )
        for variant in variants
        for layer, row in sensitivity["variants"][variant]["layers"].items()
    ]
    return sorted(rows, key=lambda row: (variants.index(row.variant), row.rank))
