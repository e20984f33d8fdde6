"""Recognizes a baseline that is not better than chance.

Shape letters: N images, K classes.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from resnet8.compare.comparison import Correct, wilson_interval
from resnet8.core.files import Json

REASONS = (
    "The model is untrained, or its weights were not saved with it.",
    "It was trained on pixels in 0 to 1 (or standardized), and the pipeline gives pixels in 0 to "
    "255. Put a Rescaling or Normalization layer inside the model.",
    "Its classes are in another order than those of data/cifar10/labels.json.",
)


def chance_accuracy(labels: NDArray[np.int64]) -> float:
    """Returns the share of the most frequent class in (N,) labels.

    It is the best accuracy of predictions that ignore the image; random ones reach 1/K.
    """
    return float(np.bincount(labels).max()) / len(labels)


def is_chance(n_right: int, n_images: int, *, chance: float) -> bool:
    """Returns whether an accuracy is not measurably above chance.

    That is the case if the low end of its 95% interval (Wilson) is at or below chance: on few
    images, a model that guesses may be above chance by luck. Accuracies far below chance count,
    too: the classes are mixed up, and the costs of quantization cannot be told either.
    """
    low, _ = wilson_interval(n_right, n_images)
    return low <= chance


def describe_chance(correct: Correct, labels: NDArray[np.int64]) -> dict[str, Any]:
    """Returns the entries about chance in metrics/comparison.json.

    Args:
        correct: (N,) whether the baseline is right.
        labels: (N,) class indices.
    """
    chance = chance_accuracy(labels)
    return {
        "baseline_is_chance": is_chance(int(correct.sum()), len(labels), chance=chance),
        "chance_accuracy": chance,
    }


def chance_warning(comparison: Json) -> str:
    """Returns a warning about a baseline that is not better than chance, else an empty text."""
    if not comparison["baseline_is_chance"]:
        return ""
    baseline = comparison["baseline"]
    accuracy = comparison["variants"][baseline]["top1_accuracy"]
    return (
        f"{baseline} is not measurably better than chance: it is right on {100 * accuracy:.2f}% of "
        f"{comparison['n_images']:,} test images, and the most frequent class alone makes up "
        f"{100 * comparison['chance_accuracy']:.2f}%. Accuracies compared with it do not say what "
        "quantization costs."
    )
