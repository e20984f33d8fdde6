"""Confusion matrices, and the images whose top-1 class changed.

Shape letters: N images, K classes.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from resnet8.core.evaluation import Probabilities


class Flip(NamedTuple):
    """An image whose top-1 class a variant changed.

    image: its number in the test set.
    label, baseline_class, variant_class: class indices.
    baseline_p, variant_p: (K,) probabilities.
    """

    image: int
    label: int
    baseline_class: int
    variant_class: int
    baseline_p: NDArray[np.float32]
    variant_p: NDArray[np.float32]

    @property
    def outcome(self) -> str:
        """`lost` (right before), `won` (right now) or `still wrong`."""
        if self.label == self.baseline_class:
            return "lost"
        return "won" if self.label == self.variant_class else "still wrong"


def confusion_matrix(
    probabilities: Probabilities, labels: NDArray[np.int64], *, n_classes: int
) -> NDArray[np.int64]:
    """(K, K) numbers of images by true class (rows) and predicted class (columns)."""
    pairs = labels * n_classes + probabilities.argmax(axis=1)
    return np.bincount(pairs, minlength=n_classes**2).reshape(n_classes, n_classes)


def find_flips(
    baseline: Probabilities, variant: Probabilities, labels: NDArray[np.int64]
) -> list[Flip]:
    """Returns the images whose top-1 class differs, largest change of probabilities first.

    An image moves by the total variation distance of both distributions, (N, K) each: half the sum
    of the absolute differences.
    """
    old, new = baseline.argmax(axis=1), variant.argmax(axis=1)
    distance = np.abs(baseline - variant).sum(axis=1) / 2
    changed = np.flatnonzero(old != new)
    order = changed[np.argsort(-distance[changed], kind="stable")]
    return [
        Flip(int(i), int(labels[i]), int(old[i]), int(new[i]), baseline[i], variant[i])
        for i in order
    ]
