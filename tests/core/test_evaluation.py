"""Batches and scores."""

import threading
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, recall_score

from resnet8.core.evaluation import map_ahead, predict, score


@given(n_images=st.integers(1, 23), batch_size=st.integers(1, 30))
def test_predict_gives_the_same_for_every_batch_size_in_one_pass(
    n_images: int, batch_size: int
) -> None:
    images = np.random.default_rng(n_images).integers(0, 256, (n_images, 32, 32, 3), np.uint8)
    batches: list[int] = []
    progress = Mock(side_effect=lambda loop: loop)

    def means(batch: Any) -> Any:
        assert batch.dtype == np.float32
        batches.append(len(batch))
        return batch.mean(axis=(1, 2))

    predictions = predict(means, images, batch_size=batch_size, progress=progress)
    np.testing.assert_allclose(predictions, images.mean(axis=(1, 2)), rtol=1e-5)
    assert sum(batches) == n_images
    assert max(batches) <= batch_size
    assert len(batches) == -(-n_images // batch_size)
    progress.assert_called_once()


def test_predict_ends_at_the_first_fault() -> None:
    batch_sizes = []

    def refuse(batch: Any) -> Any:
        batch_sizes.append(len(batch))
        raise ValueError("no model")

    with pytest.raises(ValueError, match="no model"):
        predict(refuse, np.zeros((10_000, 32, 32, 3), np.uint8), batch_size=1)
    assert len(batch_sizes) < 10_000


@pytest.mark.parametrize("cores", [1, 2, 3, None])
@pytest.mark.parametrize("count", [0, 1, 2, 3, 10])
def test_map_ahead_keeps_the_order(count: int, cores: int | None) -> None:
    squares = map_ahead(lambda x: x * x, range(count), cores=cores)
    assert list(squares) == [x * x for x in range(count)]


def test_map_ahead_runs_only_a_few_items_ahead_and_one_core_in_its_thread() -> None:
    started: list[int] = []

    def note(_: int) -> None:
        started.append(threading.get_ident())

    next(map_ahead(note, range(5), cores=1))
    assert started == [threading.get_ident()]
    started.clear()
    results = map_ahead(note, range(100), cores=2)
    next(results)
    results.close()  # type: ignore[attr-defined]
    assert len(started) <= 3


def test_score_agrees_with_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    probabilities, labels = rng.random((500, 4), np.float32), rng.integers(0, 4, 500)
    predicted = probabilities.argmax(axis=1)
    recalls = recall_score(labels, predicted, average=None)
    assert score(probabilities, labels, label_names="abcd") == {
        "n_images": 500,
        "top1_accuracy": pytest.approx(accuracy_score(labels, predicted)),
        "per_class_accuracy": pytest.approx(dict(zip("abcd", recalls, strict=True))),
    }
    # A tie, and a class without images.
    scores = score(np.full((1, 2), 0.5, np.float32), np.array([0]), label_names=["a", "b"])
    assert scores["top1_accuracy"] == 1.0
    assert scores["per_class_accuracy"] == {"a": 1.0, "b": None}
