"""Draws calibration images from the training pool."""

import numpy as np
from numpy.typing import NDArray


def draw_balanced(labels: NDArray[np.int64], size: int, *, seed: int) -> NDArray[np.int64]:
    """Draws image indices so that all classes are equally frequent.

    Classes differ by at most one image as long as the pool has enough of each; then the
    rarer classes are used up and the others fill the rest. Draws with the same seed nest:
    a smaller one is the beginning of a larger one.

    Returns:
        (size,) distinct indices into the class indices `labels` (N,), classes taking turns.

    Raises:
        ValueError: the size is not from 1 to N.
    """
    if not 1 <= size <= len(labels):
        raise ValueError(f"size must be from 1 to {len(labels)}, got {size}.")
    order = np.random.default_rng(seed).permutation(len(labels))
    turn = np.empty(len(labels), np.int64)  # how many of its class come before, by position
    for k in np.unique(labels):
        positions = np.flatnonzero(labels[order] == k)
        turn[positions] = np.arange(len(positions))
    return order[np.argsort(turn, kind="stable")[:size]]
