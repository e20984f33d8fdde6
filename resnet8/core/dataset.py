"""Reads the arrays that stages pass on, and checks that they are what they should be.

Shape letters: N images, H = W = 32 pixels, C = 3 channels, K classes.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from resnet8.core.batches import IMAGE_SHAPE
from resnet8.core.errors import ArtifactError, shown
from resnet8.core.files import read_array, read_json

_REMEDY = "Run `dvc repro` to make it again."


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
        """(N, K), that of a model's probabilities."""
        return len(self.labels), len(self.label_names)


def read_test_set(folder: Path) -> TestSet:
    """Reads what stage `prepare` wrote.

    Raises:
        ArtifactError: a file is missing or holds something else, or they do not belong together.
    """
    path = folder / "test_labels.npy"
    found = TestSet(
        read_images(folder / "test_images.npy"),
        read_labels(path),
        read_label_names(folder / "labels.json"),
    )
    if len(found.images) != len(found.labels) or found.labels.max() >= len(found.label_names):
        raise _another(
            path,
            f"a class below {len(found.label_names)} for each of {len(found.images)} images",
            found.labels,
        )
    return found


def read_images(path: Path) -> NDArray[np.uint8]:
    """Reads images (N, H, W, C) uint8, N at least 1.

    Raises:
        ArtifactError: the file is missing or holds something else.
    """
    images = read_array(path)
    if images.dtype != np.uint8 or images.shape[1:] != IMAGE_SHAPE or not len(images):
        raise _another(path, f"uint8 images of shape {IMAGE_SHAPE}", images)
    return images


def read_labels(path: Path) -> NDArray[np.int64]:
    """Reads labels (N,), class indices.

    Raises:
        ArtifactError: the file is missing or holds something else.
    """
    labels = read_array(path)
    if labels.dtype != np.int64 or labels.ndim != 1 or not len(labels) or labels.min() < 0:
        raise _another(path, "class indices, one for each image", labels)
    return labels


def read_label_names(path: Path) -> list[str]:
    """Reads the K class names.

    Raises:
        ArtifactError: the file is missing or holds something else.
    """
    content = read_json(path)
    names = content.get("label_names") if isinstance(content, dict) else None
    if (
        not isinstance(names, list)
        or not all(isinstance(name, str) for name in names)
        or not 2 <= len(names) == len(set(names))
    ):
        raise ArtifactError(
            f"{path} must hold two or more different class names, got {shown(content)}. {_REMEDY}"
        )
    return names


def read_predictions(
    folder: Path, variants: Sequence[str], *, shape: tuple[int, int]
) -> dict[str, NDArray[np.float32]]:
    """Reads the probabilities that variants give.

    Args:
        folder: holds `<variant>.npy`.
        variants: their names.
        shape: (N, K).

    Returns:
        (N, K) float32 by variant.

    Raises:
        ArtifactError: a file is missing or holds something else.
    """
    found = {}
    for name in variants:
        path = folder / f"{name}.npy"
        array = found[name] = read_array(path)
        if array.dtype != np.float32 or array.shape != shape or not np.isfinite(array).all():
            raise _another(path, f"finite float32 probabilities of shape {shape}", array)
    return found


def _another(path: Path, expected: str, array: NDArray[Any]) -> ArtifactError:
    found = f"{array.dtype} of shape {array.shape}"
    return ArtifactError(f"{path} must hold {expected}, got {found}. {_REMEDY}")
