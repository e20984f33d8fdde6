"""Reads the arrays that stages pass on: images, labels, class names and predictions.

Shape letters: N images, H = W = 32 pixels, C = 3 channels, K classes.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from resnet8.core.errors import ArtifactError
from resnet8.core.files import REMEDY, read_array, read_json


class TestSet(NamedTuple):
    """The images that models are evaluated on.

    images: (N, H, W, C) uint8.
    labels: (N,) class indices below K.
    label_names: K names.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    label_names: Sequence[str]

    @property
    def shape(self) -> tuple[int, int]:
        """(N, K), the shape of a model's probabilities."""
        return len(self.labels), len(self.label_names)


def read_test_set(folder: Path) -> TestSet:
    """Reads the test set that stage `prepare` wrote."""
    return TestSet(
        read_images(folder / "test_images.npy"),
        read_labels(folder / "test_labels.npy"),
        read_label_names(folder / "labels.json"),
    )


def read_images(path: Path) -> NDArray[np.uint8]:
    """Reads images (N, H, W, C)."""
    return read_array(path)


def read_labels(path: Path) -> NDArray[np.int64]:
    """Reads labels (N,), class indices."""
    return read_array(path)


def read_label_names(path: Path) -> list[str]:
    """Reads the K class names."""
    names: list[str] = read_json(path)["label_names"]
    return names


def read_predictions(
    folder: Path, variants: Sequence[str], *, shape: tuple[int, int]
) -> dict[str, NDArray[np.float32]]:
    """Reads the predicted probabilities of variants, (N, K) each, from `<variant>.npy`.

    Raises:
        ArtifactError: a file is missing, or a model gave numbers that are not finite.
    """
    predictions = {name: read_array(folder / f"{name}.npy") for name in variants}
    for name, array in predictions.items():
        if array.dtype != np.float32 or array.shape != shape or not np.isfinite(array).all():
            raise ArtifactError(
                f"{folder / name}.npy must hold finite float32 probabilities of shape {shape}, "
                f"got {array.dtype} of shape {array.shape}. {REMEDY}"
            )
    return predictions
