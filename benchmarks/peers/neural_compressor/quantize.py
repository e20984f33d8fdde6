"""Quantizes with neural-compressor's accuracy-aware tuning; runs in its environment.

The tuner changes how operators are quantized, and takes them back to float, until the accuracy on
held-out training images is within a tolerance.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from neural_compressor import quantization  # type: ignore[import-not-found]
from neural_compressor.config import (  # type: ignore[import-not-found]
    AccuracyCriterion,
    PostTrainingQuantConfig,
    TuningCriterion,
)
from numpy.typing import NDArray

# The quantization level by recipe: `auto` takes all operators of a type back to float at once,
# level 1 looks at each operator.
RECIPES: dict[str, str | int] = {"auto": "auto", "by_operator": 1}
TOLERABLE_LOSS = 0.001  # share of the float model's accuracy
MAX_TRIALS = 10


class Batches:
    """Images (N, 32, 32, 3) with labels (N,) in batches, as the tuner iterates over them."""

    batch_size = 100

    def __init__(self, images: NDArray[np.uint8], labels: NDArray[np.int64]) -> None:
        self._images, self._labels = images, labels

    def __iter__(self) -> Iterator[tuple[NDArray[np.float32], NDArray[np.int64]]]:
        for start in range(0, len(self._images), self.batch_size):
            stop = start + self.batch_size
            yield self._images[start:stop].astype(np.float32), self._labels[start:stop]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipe", choices=RECIPES)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--calibration", type=Path, required=True)
    parser.add_argument("--held-out", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    calibration = np.load(args.calibration)
    held_out = Batches(np.load(args.held_out / "images.npy"), np.load(args.held_out / "labels.npy"))

    def evaluate(model: Any) -> float:
        content = model.SerializeToString()
        session = ort.InferenceSession(content, providers=["CPUExecutionProvider"])
        correct = [
            session.run(None, {"input": images})[0].argmax(axis=1) == labels
            for images, labels in held_out
        ]
        return float(np.concatenate(correct).mean())

    quantized = quantization.fit(
        str(args.model),
        PostTrainingQuantConfig(
            approach="static",
            quant_format="QDQ",
            quant_level=RECIPES[args.recipe],
            calibration_sampling_size=[len(calibration)],
            accuracy_criterion=AccuracyCriterion(tolerable_loss=TOLERABLE_LOSS),
            tuning_criterion=TuningCriterion(max_trials=MAX_TRIALS),
        ),
        calib_dataloader=Batches(calibration, np.zeros(len(calibration), np.int64)),
        eval_func=evaluate,
    )
    if quantized is None:
        raise SystemExit(f"no model within the tolerance in {MAX_TRIALS} trials")
    quantized.save(str(args.out))


if __name__ == "__main__":
    main()
