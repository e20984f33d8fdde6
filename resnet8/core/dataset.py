"""Reads the arrays that stages pass on: images, labels, class names and predictions.

Shape letters: N images, H = W = 32 pixels, C = 3 channels, K classes.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from resnet8.core.batches import IMAGE_SHAPE
from resnet8.core.errors import ArtifactError, shown
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
    """Reads the test set that stage `prepare` wrote.

    Raises:
        ArtifactError: a file is missing or invalid, or the files do not match.
    """
    path = folder / "test_labels.npy"
    test_set = TestSet(
        read_images(folder / "test_images.npy"),
        read_labels(path),
        read_label_names(folder / "labels.json"),
    )
    n, k = test_set.shape
    if len(test_set.images) != n or test_set.labels.max() >= k:
        expected = f"a class below {k} for each of {len(test_set.images)} images"
        raise _invalid(path, expected, test_set.labels)
    return test_set


def read_images(path: Path) -> NDArray[np.uint8]:
    """Reads images (N, H, W, C) uint8, N at least 1.

    Raises:
        ArtifactError: the file is missing or invalid.
    """
    images = read_array(path)
    if images.dtype != np.uint8 or images.shape[1:] != IMAGE_SHAPE or not len(images):
        raise _invalid(path, f"uint8 images of shape {IMAGE_SHAPE}", images)
    return images


def read_labels(path: Path) -> NDArray[np.int64]:
    """Reads labels (N,), class indices.

    Raises:
        ArtifactError: the file is missing or invalid.
    """
    labels = read_array(path)
    if labels.dtype != np.int64 or labels.ndim != 1 or not len(labels) or labels.min() < 0:
        raise _invalid(path, "class indices, one for each image", labels)
    return labels


def read_label_names(path: Path) -> list[str]:
    """Reads the K class names.

    Raises:
        ArtifactError: the file is missing or invalid.
    """
    match content := read_json(path):
        case {"label_names": [str(), str(), *_] as names}:
            return [str(name) for name in names]
    raise ArtifactError(f"{path} must hold class names, got {shown(content)}. {REMEDY}")


def read_predictions(
    folder: Path, variants: Sequence[str], *, shape: tuple[int, int]
) -> dict[str, NDArray[np.float32]]:
    """Reads the predicted probabilities of variants.

    Args:
        folder: holds `<variant>.npy`.
        variants: their names.
        shape: (N, K).

    Returns:
        (N, K) float32 by variant.

    Raises:
        ArtifactError: a file is missing or invalid.
    """
    predictions = {}
    for name in variants:
        path = folder / f"{name}.npy"
        array = predictions[name] = read_array(path)
        if array.dtype != np.float32 or array.shape != shape or not np.isfinite(array).all():
            raise _invalid(path, f"finite float32 probabilities of shape {shape}", array)
    return predictions


def _invalid(path: Path, expected: str, array: NDArray[Any]) -> ArtifactError:
    return ArtifactError(
        f"{path} must hold {expected}, got {array.dtype} of shape {array.shape}. {REMEDY}"
    )
