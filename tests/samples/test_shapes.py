"""The sample's images, and their files in CIFAR-10's batch format."""

import pickle
from pathlib import Path

import numpy as np
import pytest

from resnet8.core.batches import decode_label_names, read_batch
from resnet8.core.names import IMAGES_PER_BATCH
from samples.dataset import write_sample
from samples.shapes import LABEL_NAMES, SHAPES, TEST_BATCH, draw_batch

# A point inside and one outside of each shape, from a drawing.
INSIDE_AND_OUTSIDE = {
    "circle": ((0.0, 0.0), (0.8, 0.8)),
    "ring": ((0.75, 0.0), (0.0, 0.0)),
    "triangle": ((0.0, 0.0), (0.8, 0.0)),
    "square": ((0.7, 0.7), (0.9, 0.0)),
    "frame": ((0.65, 0.0), (0.0, 0.0)),
    "hexagon": ((0.0, 0.9), (0.9, 0.0)),
    "cross": ((0.9, 0.0), (0.6, 0.6)),
    "star": ((0.9, 0.0), (-0.9, 0.0)),
    "crescent": ((-0.8, 0.0), (0.5, 0.0)),
    "stripes": ((0.0, 1 / 3), (0.0, 0.0)),
}


def test_draw_batch_is_determined_by_its_number_and_draws_no_image_twice() -> None:
    batches = [draw_batch(number, size=200) for number in (TEST_BATCH, 1, 2, 3, 4, 5)]
    assert len({image.tobytes() for images, _ in batches for image in images}) == 6 * 200
    np.random.seed(2)  # noqa: NPY002
    images, labels = draw_batch(1, size=200)
    assert np.array_equal(images, batches[1][0])
    assert labels == batches[1][1]


def test_draw_batch_mixes_equally_frequent_classes_with_contrast() -> None:
    images, labels = draw_batch(1, size=200)
    assert (images.shape, images.dtype) == ((200, 32, 32, 3), np.uint8)
    assert [labels.count(k) for k in range(10)] == [20] * 10
    assert len(set(labels[:50])) == 10
    assert labels[:50] != draw_batch(2, size=200)[1][:50]
    assert images.reshape(200, -1).std(axis=1).min() > 5
    assert np.isin(images, (0, 255)).mean() < 0.1


@pytest.mark.parametrize("size", [1, 105])
def test_draw_batch_refuses_a_size_that_is_no_multiple_of_the_classes(size: int) -> None:
    with pytest.raises(ValueError, match=rf"^size must be a multiple of 10, got {size}\.$"):
        draw_batch(1, size=size)


@pytest.mark.parametrize("name", LABEL_NAMES)
def test_shapes_are_negative_inside_and_positive_outside(name: str) -> None:
    shape = SHAPES[name]
    inside, outside = (float(shape(np.array(u), np.array(v))) for u, v in INSIDE_AND_OUTSIDE[name])
    assert inside < 0 < outside
    angle = np.linspace(0, 2 * np.pi, 360)
    assert (shape(1.25 * np.cos(angle), 1.25 * np.sin(angle)) > 0).all()


# Files.


@pytest.mark.parametrize(
    ("member", "number"), [("test_batch", TEST_BATCH), ("data_batch_1", 1), ("data_batch_5", 5)]
)
def test_write_sample_writes_the_given_members_as_the_pipeline_reads_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, member: str, number: int
) -> None:
    monkeypatch.setitem(IMAGES_PER_BATCH, "sample", 20)
    (tmp_path / "batches.meta").write_bytes(b"old")
    write_sample(["batches.meta", member], tmp_path)
    assert sorted(x.name for x in tmp_path.iterdir()) == ["batches.meta", member]
    images, labels = draw_batch(number, size=20)
    batch = read_batch((tmp_path / member).read_bytes(), name=member, n_classes=10)
    assert np.array_equal(batch.images, images)
    assert batch.labels.tolist() == labels
    content = (tmp_path / "batches.meta").read_bytes()
    assert pickle.loads(content, encoding="bytes")[b"num_cases_per_batch"] == 20
    assert decode_label_names(content, name="batches.meta") == list(LABEL_NAMES)
