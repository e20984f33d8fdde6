"""The sample in CIFAR-10's batch format."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from resnet8.core.batches import decode_label_names, read_batch
from resnet8.core.names import IMAGES_PER_BATCH
from samples.dataset import SAMPLE_MODEL, write_sample
from samples.shapes import LABEL_NAMES, TEST_BATCH, draw_batch

SIZE = 20


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(IMAGES_PER_BATCH, "sample", SIZE)


def loaded(path: Path) -> dict[bytes, Any]:
    content: dict[bytes, Any] = pickle.loads(path.read_bytes(), encoding="bytes")
    return content


def test_write_sample_writes_the_asked_members_and_nothing_else(tmp_path: Path) -> None:
    write_sample(["batches.meta", "data_batch_2"], tmp_path / "out")
    assert sorted(x.name for x in (tmp_path / "out").iterdir()) == ["batches.meta", "data_batch_2"]


@pytest.mark.parametrize(
    ("member", "number"), [("test_batch", TEST_BATCH), ("data_batch_1", 1), ("data_batch_5", 5)]
)
def test_write_sample_draws_the_batch_that_the_member_names(
    tmp_path: Path, member: str, number: int
) -> None:
    write_sample([member], tmp_path)
    images, labels = draw_batch(number, size=SIZE)
    planes = np.moveaxis(images, -1, 1).reshape(SIZE, 3072)
    found = loaded(tmp_path / member)
    assert np.array_equal(found[b"data"], planes)
    assert found[b"labels"] == labels


def test_write_sample_writes_the_names_of_the_shapes(tmp_path: Path) -> None:
    write_sample(["batches.meta"], tmp_path)
    found = loaded(tmp_path / "batches.meta")
    assert [name.decode() for name in found[b"label_names"]] == list(LABEL_NAMES)


def test_write_sample_writes_the_number_of_images_in_a_batch(tmp_path: Path) -> None:
    write_sample(["batches.meta"], tmp_path)
    assert loaded(tmp_path / "batches.meta")[b"num_cases_per_batch"] == SIZE


def test_write_sample_writes_the_same_bytes_again(tmp_path: Path) -> None:
    for name in ("first", "second"):
        write_sample(["data_batch_1"], tmp_path / name)
    first, second = ((tmp_path / x / "data_batch_1").read_bytes() for x in ("first", "second"))
    assert first == second


def test_write_sample_replaces_an_old_member(tmp_path: Path) -> None:
    (tmp_path / "batches.meta").write_bytes(b"old")
    write_sample(["batches.meta"], tmp_path)
    assert b"label_names" in loaded(tmp_path / "batches.meta")


def test_write_sample_writes_batches_that_the_pipeline_reads(tmp_path: Path) -> None:
    write_sample(["test_batch"], tmp_path)
    content = (tmp_path / "test_batch").read_bytes()
    batch = read_batch(content, name="test_batch", n_classes=10)
    assert np.bincount(batch.labels).tolist() == [SIZE // 10] * 10


def test_write_sample_writes_label_names_that_the_pipeline_reads(tmp_path: Path) -> None:
    write_sample(["batches.meta"], tmp_path)
    content = (tmp_path / "batches.meta").read_bytes()
    assert decode_label_names(content, name="batches.meta") == list(LABEL_NAMES)


def test_sample_model_is_an_hdf5_file() -> None:
    with SAMPLE_MODEL.open("rb") as file:
        assert file.read(8) == b"\x89HDF\r\n\x1a\n"
