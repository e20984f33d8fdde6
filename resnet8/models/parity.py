"""Proves that a converted model computes what its original computes."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from resnet8.core.digits import (
    probability_difference,
    significant,
    upper_bound,
)
from resnet8.core.errors import ArtifactError, ParityError
from resnet8.core.evaluation import Probabilities

# Images on which a conversion is checked; all are training images.
PARITY_IMAGES = 256
# How far a row of float32 probabilities may be from summing to 1.
SUM_TOLERANCE = 1e-3


# How far a layer's output may be from the Keras layer's, relative to its largest value; float32
# rounding reaches 2e-6 on the reference model.
RTOL_LAYER = 1e-4
# And what rounding leaves of values that cancel out, relative to the largest of all layers before.
NOISE = 1e-6


class ParityResult(NamedTuple):
    """Differences between two models on the same images."""

    n_images: int
    agreement: float  # share of images with the same top-1 class
    max_abs_probability_diff: float
    tolerance: float

    def as_json(self) -> dict[str, Any]:
        difference = probability_difference(self.max_abs_probability_diff)
        return self._asdict() | {"max_abs_probability_diff": difference}


def check_probabilities(probabilities: Probabilities, *, name: str) -> None:
    """Checks that each row is a distribution over the classes.

    Raises:
        ArtifactError: a value is not finite or negative, or a row does not sum to 1.
    """
    sums = probabilities.sum(axis=1)
    if not np.isfinite(probabilities).all():
        raise ArtifactError(f"The outputs of {name} must be finite, got NaN or infinity.")
    if probabilities.min() < 0 or np.abs(sums - 1).max() > SUM_TOLERANCE:
        raise ArtifactError(
            f"The outputs of {name} must be probabilities, got values from "
            f"{probabilities.min():.4g} with sums up to {sums.max():.4g}. "
            "The model must end with a softmax."
        )


def check_parity(
    original: Probabilities, converted: Probabilities, *, tolerance: float, name: str
) -> ParityResult:
    """Compares probabilities (N, K) of two models for the same images.

    Raises:
        ParityError: a probability differs by more than `tolerance`.
    """
    difference = float(np.max(np.abs(original - converted)))
    agreement = float(np.mean(original.argmax(axis=1) == converted.argmax(axis=1)))
    if not difference <= tolerance:
        raise ParityError(
            f"Probabilities of {name} must be within {tolerance:g} of the original's, "
            f"got {difference:g} on {len(original)} images (agreement {agreement:.4f}). "
            "The conversion changed the model; nothing was written."
        )
    return ParityResult(len(original), agreement, difference, tolerance)


def check_layers(
    errors: Mapping[str, Mapping[str, float]], *, magnitudes: Mapping[str, float]
) -> dict[str, dict[str, float]]:
    """Checks that converted models compute in each layer what their original computes.

    Args:
        errors: by layer, the largest absolute difference for each pair of variants.
        magnitudes: by layer, the largest absolute value.

    Returns:
        By layer, `magnitude` with two digits, and bounds (`digits.upper_bound`) of the differences
        and of `relative`, the largest difference as a share of the magnitude.

    Raises:
        ParityError: a layer differs by more than `RTOL_LAYER` of its largest value, and by more
            than `NOISE` of the largest of all layers up to it.
    """
    table, peak = {}, 0.0
    for layer, pairs in errors.items():
        peak = max(peak, magnitudes[layer])
        relative = max(pairs.values()) / (magnitudes[layer] or 1.0)
        if not max(pairs.values()) <= max(RTOL_LAYER * magnitudes[layer], NOISE * peak):
            pair, worst = max(pairs.items(), key=lambda item: item[1])
            raise ParityError(
                f"Layer {layer} must be the same in {pair} within {RTOL_LAYER:g} of its largest "
                f"value, {magnitudes[layer]:.4g}, got a difference of {worst:.3g}. "
                "The conversion changed the model."
            )
        largest = magnitudes[layer]
        table[layer] = {
            **{name: upper_bound(value, largest=largest) for name, value in pairs.items()},
            "magnitude": significant(magnitudes[layer], 2) or 0.0,
            "relative": upper_bound(relative),
        }
    return table
