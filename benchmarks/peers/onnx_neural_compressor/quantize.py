"""Quantizes with onnx-neural-compressor's autotune; runs in its environment.

The tuner quantizes with one configuration after the other, until one loses no accuracy on
held-out training images. When none does, it hands back its last trial; here the best is taken.
"""

import argparse
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx_neural_compressor.data_reader import (  # type: ignore[import-not-found]
    CalibrationDataReader,
)
from onnx_neural_compressor.quantization import (  # type: ignore[import-not-found]
    CalibrationMethod,
    QuantFormat,
    config,
    tuning,
)

RECIPES = ("autotune",)
TOLERABLE_LOSS = 0.0  # share of the float model's accuracy
BATCH_SIZE = 100


class Reader(CalibrationDataReader):  # type: ignore[misc]
    """Hands out images (N, 32, 32, 3) in batches, from the start in each trial."""

    def __init__(self, images: NDArray[np.uint8]) -> None:
        self._images = images
        self.rewind()

    def rewind(self) -> None:
        self._batches: Iterator[NDArray[np.uint8]] = iter(
            np.split(self._images, range(BATCH_SIZE, len(self._images), BATCH_SIZE))
        )

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        batch = next(self._batches, None)
        return None if batch is None else {"input": batch.astype(np.float32)}


def configurations() -> list[Any]:
    """Each way to find a range, with a weight scale per tensor and per channel."""
    methods = (
        CalibrationMethod.MinMax,
        CalibrationMethod.Percentile,
        CalibrationMethod.Entropy,
    )
    return [
        config.StaticQuantConfig(
            quant_format=QuantFormat.QDQ, calibrate_method=method, per_channel=per_channel
        )
        for per_channel, method in product((False, True), methods)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipe", choices=RECIPES)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--calibration", type=Path, required=True)
    parser.add_argument("--held-out", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    images = np.load(args.held_out / "images.npy")
    labels = np.load(args.held_out / "labels.npy")
    accuracies: list[float] = []  # the float model's, then one of each trial

    def evaluate(path: str) -> float:
        session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
        correct = 0
        for start in range(0, len(images), BATCH_SIZE):
            batch = images[start : start + BATCH_SIZE].astype(np.float32)
            classes = session.run(None, {"input": batch})[0].argmax(axis=1)
            correct += int(np.sum(classes == labels[start : start + BATCH_SIZE]))
        accuracy = correct / len(images)
        if accuracies and accuracy > max(accuracies[1:], default=-1.0):
            onnx.save(onnx.load(path), args.out)
        accuracies.append(accuracy)
        return accuracy

    choices = configurations()
    tuning.autotune(
        model_input=str(args.model),
        tune_config=tuning.TuningConfig(
            config_set=choices, tolerable_loss=TOLERABLE_LOSS, max_trials=len(choices)
        ),
        eval_fn=evaluate,
        calibration_data_reader=Reader(np.load(args.calibration)),
    )
    print(f"accuracy of float on held-out images, then of each trial: {accuracies}")


if __name__ == "__main__":
    main()
