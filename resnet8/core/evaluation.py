"""Runs a model over images in batches, and scores its predictions."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

# Shape letters: N images, H = W = 32 pixels, C = 3 channels, K classes.
Probabilities = NDArray[np.float32]
# (N, H, W, C) float32 in [0, 255] -> (N, K) float32, on one core, from any thread
Predictor = Callable[[NDArray[np.float32]], Probabilities]
Item = TypeVar("Item")
Result = TypeVar("Result")


def map_ahead(
    function: Callable[[Item], Result], items: Iterable[Item], *, cores: int | None
) -> Iterator[Result]:
    """Maps in order, with up to `cores` concurrent calls and at most that many buffered results.

    The function is called from other threads unless `cores` is 1; None stands for all cores.
    """
    if cores == 1:
        yield from map(function, items)
        return
    cores = cores or os.cpu_count() or 1
    pool = ThreadPoolExecutor(cores)
    try:
        running: deque[Future[Result]] = deque()
        for item in items:
            running.append(pool.submit(function, item))
            if len(running) > cores:
                yield running.popleft().result()
        while running:
            yield running.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def predict(
    predictor: Predictor,
    images: NDArray[np.uint8],
    *,
    batch_size: int,
    progress: Callable[[Iterable[int]], Iterable[int]] = iter,
    cores: int | None = None,
) -> Probabilities:
    """Predicts class probabilities (N, K) of images (N, H, W, C) uint8.

    Batches of `batch_size` images, the last one maybe of fewer, run concurrently on `cores` cores;
    None stands for all. `progress` wraps the loop over batches, as `tqdm.tqdm` does.
    """

    def run(start: int) -> Probabilities:
        return predictor(images[start : start + batch_size].astype(np.float32))

    starts = range(0, len(images), batch_size)
    batches = map_ahead(run, starts, cores=cores)
    return np.concatenate([batch for _, batch in zip(progress(starts), batches, strict=True)])


def score(
    probabilities: Probabilities, labels: NDArray[np.int64], *, label_names: Sequence[str]
) -> dict[str, Any]:
    """Scores probabilities (N, K) against labels (N,), indices into K names.

    The prediction is the class with the largest probability, the first one of equals.

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
