"""The arrays that stages pass on, and files with other content."""

import json
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


def saved(folder: Path, array: Any) -> Path:
    path = folder / "v.npy"
    np.save(path, np.asarray(array))
    return path


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((2, 32, 32, 3), np.float32),
        np.zeros((2, 3, 32, 32), np.uint8),
        np.zeros((32, 32, 3), np.uint8),
        np.zeros((0, 32, 32, 3), np.uint8),
        np.uint8(1),
    ],
    ids=["float", "planes first", "one image", "no image", "a number"],
)
def test_read_images_refuses(tmp_path: Path, array: Any) -> None:
    with pytest.raises(
        ArtifactError, match=r"v\.npy must hold uint8 images of shape \(32, 32, 3\)"
    ):
        read_images(saved(tmp_path, array))


@pytest.mark.parametrize(
    "array", [[1.5], [[1]], np.array([], np.int64), [-1], ["a"], np.int64(3)], ids=str
)
def test_read_labels_refuses(tmp_path: Path, array: Any) -> None:
    with pytest.raises(ArtifactError, match=r"v\.npy must hold class indices, one for each image"):
        read_labels(saved(tmp_path, array))


@pytest.mark.parametrize(
    "content", [[], {}, "cat", {"label_names": "cat"}, {"label_names": ["cat"]}], ids=json.dumps
)
def test_read_label_names_refuses(tmp_path: Path, content: Any) -> None:
    (tmp_path / "labels.json").write_text(json.dumps(content))
    with pytest.raises(ArtifactError, match=r"labels\.json must hold class names, got .+ Run `dvc"):
        read_label_names(tmp_path / "labels.json")


def test_read_predictions_gives_each_variants(tmp_path: Path) -> None:
    saved(tmp_path, np.full((4, 3), 0.5, np.float32))
    found = read_predictions(tmp_path, ["v"], shape=(4, 3))
    assert list(found) == ["v"]
    assert found["v"].tolist() == [[0.5] * 3] * 4


@pytest.mark.parametrize(
    "array",
    [np.zeros((4, 3)), np.zeros((3, 3), np.float32), np.full((4, 3), np.nan, np.float32)],
    ids=["float64", "an image less", "NaN"],
)
def test_read_predictions_refuses(tmp_path: Path, array: Any) -> None:
    saved(tmp_path, array)
    with pytest.raises(ArtifactError, match=r"v\.npy must hold finite float32 probabilities of sh"):
        read_predictions(tmp_path, ["v"], shape=(4, 3))


def write_test_set(folder: Path, images: Any, labels: Any, names: list[str]) -> None:
    np.save(folder / "test_images.npy", images)
    np.save(folder / "test_labels.npy", labels)
    (folder / "labels.json").write_text(json.dumps({"label_names": names}))


def test_read_test_set_gives_what_prepare_writes(tmp_path: Path) -> None:
    images = np.zeros((3, 32, 32, 3), np.uint8)
    write_test_set(tmp_path, images, np.array([0, 1, 1]), ["cat", "dog"])
    found = read_test_set(tmp_path)
    assert np.array_equal(found.images, images)
    assert found.labels.tolist() == [0, 1, 1]
    assert found.label_names == ["cat", "dog"]
    assert found.shape == (3, 2)


@pytest.mark.parametrize("labels", [[0, 1], [0, 1, 2]])
def test_read_test_set_refuses_files_that_do_not_belong_together(
    tmp_path: Path, labels: list[int]
) -> None:
    images = np.zeros((3, 32, 32, 3), np.uint8)
    write_test_set(tmp_path, images, np.array(labels), ["cat", "dog"])
    with pytest.raises(ArtifactError, match=r"test_labels\.npy must hold a class below 2 for each"):
        read_test_set(tmp_path)
