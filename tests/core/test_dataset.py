"""The arrays that stages pass on, and files with other content."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from resnet8.core.dataset import (
    read_images,
    read_label_names,
    read_labels,
    read_predictions,
    read_test_set,
)
from resnet8.core.errors import ArtifactError

IMAGES = np.zeros((3, 32, 32, 3), np.uint8)


def write(folder: Path, **contents: Any) -> Path:
    """Writes `v`, an array file, unless others are given by their names without suffix."""
    for name, content in contents.items():
        if name == "labels":
            (folder / "labels.json").write_text(json.dumps(content))
        else:
            np.save(folder / f"{name}.npy", np.asarray(content))
    return folder


@pytest.mark.parametrize(
    ("read", "message", "arrays"),
    [
        (
            read_images,
            r"v\.npy must hold uint8 images of shape \(32, 32, 3\)",
            [IMAGES.astype(np.float32), IMAGES[0], IMAGES[:0], np.moveaxis(IMAGES, -1, 1), 1],
        ),
        (
            read_labels,
            r"v\.npy must hold class indices, one for each image",
            [[1.5], [[1]], np.array([], np.int64), [-1], ["a"], np.int64(3)],
        ),
        (
            lambda path: read_predictions(path.parent, ["v"], shape=(4, 3)),
            r"v\.npy must hold finite float32 probabilities of sh",
            [np.zeros((4, 3)), np.zeros((3, 3), "f4"), np.full((4, 3), np.nan, "f4")],
        ),
    ],
    ids=["images", "labels", "predictions"],
)
def test_readers_refuse_other_arrays(
    tmp_path: Path, read: Callable[[Path], object], message: str, arrays: list[Any]
) -> None:
    for array in arrays:
        with pytest.raises(ArtifactError, match=message):
            read(write(tmp_path, v=array) / "v.npy")


@pytest.mark.parametrize("content", [[], {}, "cat", {"label_names": "cat"}, {"label_names": ["x"]}])
def test_read_label_names_refuses(tmp_path: Path, content: Any) -> None:
    with pytest.raises(ArtifactError, match=r"labels\.json must hold class names, got .+ Run `dvc"):
        read_label_names(write(tmp_path, labels=content) / "labels.json")


def test_read_predictions_gives_each_variants(tmp_path: Path) -> None:
    write(tmp_path, v=np.full((4, 3), 0.5, np.float32), other=IMAGES)
    found = read_predictions(tmp_path, ["v"], shape=(4, 3))
    assert {name: array.tolist() for name, array in found.items()} == {"v": [[0.5] * 3] * 4}


def test_read_test_set_gives_files_that_belong_together(tmp_path: Path) -> None:
    names = {"label_names": ["cat", "dog"]}
    write(tmp_path, test_images=IMAGES, test_labels=[0, 1, 1], labels=names)
    found = read_test_set(tmp_path)
    assert np.array_equal(found.images, IMAGES)
    assert (found.labels.tolist(), found.label_names) == ([0, 1, 1], ["cat", "dog"])
    assert found.shape == (3, 2)
    for labels in ([0, 1], [0, 1, 2]):
        write(tmp_path, test_labels=labels)
        with pytest.raises(ArtifactError, match=r"test_labels\.npy must hold a class below 2 for "):
            read_test_set(tmp_path)
