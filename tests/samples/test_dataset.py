"""The sample in CIFAR-10's batch format."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from resnet8.core.batches import decode_label_names, read_batch
from resnet8.core.names import IMAGES_PER_BATCH
from samples.dataset import write_sample
from samples.shapes import LABEL_NAMES, TEST_BATCH, draw_batch

SIZE = 20


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(IMAGES_PER_BATCH, "sample", SIZE)


def load(path: Path) -> dict[bytes, Any]:
    content: dict[bytes, Any] = pickle.loads(path.read_bytes(), encoding="bytes")
    return content


def test_write_sample_replaces_the_given_members_and_writes_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "batches.meta").write_bytes(b"old")
    write_sample(["batches.meta", "data_batch_2"], tmp_path)
    assert sorted(x.name for x in tmp_path.iterdir()) == ["batches.meta", "data_batch_2"]
    assert load(tmp_path / "batches.meta")[b"num_cases_per_batch"] == SIZE


@pytest.mark.parametrize(
    ("member", "number"), [("test_batch", TEST_BATCH), ("data_batch_1", 1), ("data_batch_5", 5)]
)
def test_write_sample_draws_the_batch_of_each_member(
    tmp_path: Path, member: str, number: int
) -> None:
    write_sample([member], tmp_path)
    images, labels = draw_batch(number, size=SIZE)
    content = load(tmp_path / member)
    assert np.array_equal(content[b"data"], np.moveaxis(images, -1, 1).reshape(SIZE, 3072))
    assert content[b"labels"] == labels


def test_write_sample_writes_what_the_pipeline_reads(tmp_path: Path) -> None:
    write_sample(["test_batch", "batches.meta"], tmp_path)
    content = (tmp_path / "test_batch").read_bytes()
    batch = read_batch(content, name="test_batch", n_classes=10)
    assert np.bincount(batch.labels).tolist() == [SIZE // 10] * 10
    content = (tmp_path / "batches.meta").read_bytes()
    assert decode_label_names(content, name="batches.meta") == list(LABEL_NAMES)
