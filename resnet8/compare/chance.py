"""Baselines that know nothing: whether one is better than chance, and how to say so.

Shape letters: N images, K classes.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resnet8.compare.comparison import Correct, wilson_interval

REASONS = (
    "The model is untrained, or its weights were not saved with it.",
    "It was trained on pixels in 0 to 1 (or standardized), and the pipeline gives pixels in 0 to "
    "255. Put a Rescaling or Normalization layer inside the model.",
    "Its classes are in another order than those of data/cifar10/labels.json.",
)


def chance_accuracy(labels: NDArray[np.int64]) -> float:
    """Accuracy of the best answer that ignores the image: the share of the most frequent class.

    Answers drawn at random from K classes are right on 1/K of the images, which is never more.

    Args:
        labels: (N,) class indices.
    """
    return float(np.bincount(labels).max()) / len(labels)


def is_chance(n_right: int, n_images: int, *, chance: float) -> bool:
    """Whether an accuracy is not measurably above chance.

    It is where the low end of its 95% interval (Wilson) is at or below chance: on a few images, a
    model that guesses is above chance by luck. An accuracy far below chance counts as well: its
    classes are mixed up, and what quantization costs cannot be told from it either.

    Args:
        n_right: images whose class is right.
        n_images: all of them.
        chance: what `chance_accuracy` gives.
    """
    return wilson_interval(n_right, n_images).low <= chance


def describe_chance(correct: Correct, labels: NDArray[np.int64]) -> dict[str, Any]:
    """The entries of metrics/comparison.json that say whether the baseline is better than chance.

    Args:
        correct: (N,) whether the baseline is right.
        labels: (N,) class indices.
    """
    chance = chance_accuracy(labels)
    return {
        "baseline_is_chance": is_chance(int(correct.sum()), len(labels), chance=chance),
        "chance_accuracy": chance,
    }


def chance_warning(comparison: Mapping[str, Any]) -> str:
    """Says that the baseline is not better than chance, and what follows; empty where it is.

    Args:
        comparison: as in metrics/comparison.json.
    """
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
