"""The arrays that stages pass on."""

import json
from pathlib import Path

import numpy as np
import pytest

from resnet8.core.dataset import read_predictions, read_test_set
from resnet8.core.errors import ArtifactError


def test_read_test_set_gives_images_labels_and_names(tmp_path: Path) -> None:
    images = np.arange(3 * 32 * 32 * 3).astype(np.uint8).reshape(3, 32, 32, 3)
    np.save(tmp_path / "test_images.npy", images)
    np.save(tmp_path / "test_labels.npy", [0, 1, 1])
    (tmp_path / "labels.json").write_text(json.dumps({"label_names": ["cat", "dog"]}))
    test_set = read_test_set(tmp_path)
    assert np.array_equal(test_set.images, images)
    assert (test_set.labels.tolist(), test_set.label_names) == ([0, 1, 1], ["cat", "dog"])
    assert test_set.shape == (3, 2)


def test_read_predictions_refuses_other_arrays(tmp_path: Path) -> None:
    right = np.full((4, 3), 0.5, np.float32)
    np.save(tmp_path / "v.npy", right)
    np.save(tmp_path / "other.npy", right[0])
    predictions = read_predictions(tmp_path, ["v"], shape=(4, 3))
    assert {name: array.tolist() for name, array in predictions.items()} == {"v": right.tolist()}
    for wrong in (right.astype(float), right[:3], right * np.nan):
        np.save(tmp_path / "v.npy", wrong)
        with pytest.raises(ArtifactError, match=r"v\.npy must hold finite float32 probabilities"):
            read_predictions(tmp_path, ["v"], shape=(4, 3))
