"""Runs a model over images in batches, and scores what it said."""

import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Shape letters: N images, H = W = 32 pixels, C = 3 channels, K classes.
Probabilities = NDArray[np.float32]
# (N, H, W, C) float32 in [0, 255] -> (N, K) float32, on one core, from any thread
Predictor = Callable[[NDArray[np.float32]], Probabilities]


def predict(
    predictor: Predictor,
    images: NDArray[np.uint8],
    *,
    batch_size: int,
    progress: Callable[[Iterable[int]], Iterable[int]] = iter,
) -> Probabilities:
    """Predicts class probabilities, one pass in batches, as many at once as there are cores.

    Args:
        predictor: maps (N, 32, 32, 3) float32 in [0, 255] to (N, K) probabilities.
        images: (N, 32, 32, 3) uint8, NHWC.
        batch_size: images given to the predictor at once; the last batch may be smaller.
        progress: wraps the loop over batches, as `tqdm.tqdm` does.

    Returns:
        (N, K) float32 probabilities.
    """
    starts = range(0, len(images), batch_size)
    pool = ThreadPoolExecutor(os.cpu_count())
    try:
        found = pool.map(
            lambda start: predictor(images[start : start + batch_size].astype(np.float32)), starts
        )
        return np.concatenate([batch for _, batch in zip(progress(starts), found, strict=True)])
    finally:
        pool.shutdown(cancel_futures=True)


def score(
    probabilities: Probabilities, labels: NDArray[np.int64], *, label_names: Sequence[str]
) -> dict[str, Any]:
    """Scores predictions against labels.

    Args:
        probabilities: (N, K); the class of the largest is the prediction, the first on a tie.
        labels: (N,) class indices.
        label_names: K names.

    Returns:
        `n_images`, `top1_accuracy` and `per_class_accuracy` by name, as fractions; a class
        without images has None.
    """
    correct = probabilities.argmax(axis=1) == labels
    per_class = {
        name: float(correct[labels == k].mean()) if (labels == k).any() else None
        for k, name in enumerate(label_names)
    }
    return {
        "n_images": len(labels),
        "top1_accuracy": float(correct.mean()),
        "per_class_accuracy": per_class,
    }
