"""Proves that a converted model computes what its original computes."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resnet8.core.digits import round_probability_difference, significant, upper_bound
from resnet8.core.errors import ArtifactError, ParityError
from resnet8.core.evaluation import Predictor, predict

# Training images on which a conversion is checked.
PARITY_IMAGES = 256
ATOL_CONVERSION = 1e-4  # of a probability; float32 rounding reaches 3e-6 on the reference
# How far a row of float32 probabilities may be from summing to 1.
SUM_TOLERANCE = 1e-3
# How far a layer's output may be from the Keras layer's, relative to its largest value; float32
# rounding reaches 2e-6 on the reference model.
RTOL_LAYER = 1e-4
# Rounding of values that cancel out, relative to the largest value of all layers so far.
NOISE = 1e-6


def check_conversion(
    original: Predictor,
    converted: Predictor,
    images: NDArray[np.uint8],
    *,
    names: tuple[str, str],
) -> dict[str, Any]:
    """Compares the probabilities of two models, named by their formats.

    `agreement` is the share of images with the same top-1 class.

    Raises:
        ArtifactError: the original's rows are no probabilities.
        ParityError: a probability differs by more than the tolerance.
    """
    rows, others = (predict(x, images, batch_size=len(images)) for x in (original, converted))
    if not np.isfinite(rows).all():
        raise ArtifactError(
            f"The outputs of the {names[0]} model must be finite, got NaN or infinity."
        )
    sums = rows.sum(axis=1)
    if rows.min() < 0 or np.abs(sums - 1).max() > SUM_TOLERANCE:
        raise ArtifactError(
            f"The outputs of the {names[0]} model must be probabilities, got values from "
            f"{rows.min():.4g} with sums up to {sums.max():.4g}. "
            "The model must end with a softmax."
        )
    difference = float(np.max(np.abs(rows - others)))
    agreement = float(np.mean(rows.argmax(axis=1) == others.argmax(axis=1)))
    if not difference <= ATOL_CONVERSION:  # also where it is NaN
        raise ParityError(
            f"Probabilities of the {names[1]} model must be within {ATOL_CONVERSION:g} of the "
            f"original's, got {difference:g} on {len(rows)} images (agreement {agreement:.4f}). "
            "The conversion changed the model; nothing was written."
        )
    return {
        "n_images": len(rows),
        "agreement": agreement,
        "max_abs_probability_diff": round_probability_difference(difference),
        "tolerance": ATOL_CONVERSION,
    }


def check_layers(
    errors: Mapping[str, Mapping[str, float]], *, magnitudes: Mapping[str, float]
) -> dict[str, dict[str, float]]:
    """Checks that converted models compute in each layer what their original computes.

    Args:
        errors: by layer, the largest absolute difference for each pair of variants.
        magnitudes: by layer, the largest absolute value.

    Returns:
        By layer, bounds (`digits.upper_bound`) of the differences by pair, the `magnitude` with two
        digits, and `relative`, a bound of the largest difference as a share of the magnitude.

    Raises:
        ParityError: a layer differs by more than `RTOL_LAYER` of its largest value, and by more
            than `NOISE` of the largest of all layers up to it.
    """
    table, peak = {}, 0.0
    for layer, pairs in errors.items():
        largest = magnitudes[layer]
        peak = max(peak, largest)
        worst = max(pairs.values())
        if not worst <= max(RTOL_LAYER * largest, NOISE * peak):
            pair = max(pairs, key=pairs.__getitem__)
            raise ParityError(
                f"Layer {layer} must be the same in {pair} within {RTOL_LAYER:g} of its largest "
                f"value, {largest:.4g}, got a difference of {worst:.3g}. "
                "The conversion changed the model."
            )
        bounds = {pair: upper_bound(value, largest=largest) for pair, value in pairs.items()}
        table[layer] = bounds | {
            "magnitude": significant(largest, 2) or 0.0,
            "relative": upper_bound(worst / (largest or 1.0)),
        }
    return table
