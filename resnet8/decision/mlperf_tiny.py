"""Accuracy on the 200 test images of MLPerf Tiny's image classification benchmark.

Shape letters: N images, K classes.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resnet8.compare.comparison import ByClass, wilson_interval

# Source: benchmark/README.md in github.com/mlcommons/tiny, quality target of image classification.
TARGET = 0.85
DATASET = "cifar10"


def read_samples() -> NDArray[np.int64]:
    """Returns the (200,) indices of the benchmark's images in CIFAR-10's test set."""
    path = Path(__file__).with_name("mlperf_tiny_samples.txt")
    return np.loadtxt(path, dtype=np.int64).ravel()


def scores(
    by_variant: Mapping[str, ByClass], labels: NDArray[np.int64], label_names: Sequence[str]
) -> dict[str, Any]:
    """Computes accuracies on the benchmark's images, as fractions with 95% intervals.

    Args:
        by_variant: by class, whether each prediction is right, in the order of the test set.
        labels: (N,) class indices of the test set.
        label_names: K names.
    """
    samples = read_samples()
    rows = {}
    for variant, by_class in by_variant.items():
        correct = np.zeros(len(labels), bool)
        for name, right in by_class.items():
            correct[labels == label_names.index(name)] = right
        n_right = int(correct[samples].sum())
        low, high = (round(x, 4) for x in wilson_interval(n_right, len(samples)))
        rows[variant] = {
            "n_right": n_right, "top1_accuracy": n_right / len(samples),
            "ci95_low": low, "ci95_high": high,
        }  # fmt: skip
    return {"n_images": len(samples), "target": TARGET, "variants": rows}
