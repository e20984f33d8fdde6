"""Reads the test set and the predictions for it.

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
        read_array(folder / "test_images.npy"),
        read_array(folder / "test_labels.npy"),
        read_json(folder / "labels.json")["label_names"],
    )


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
