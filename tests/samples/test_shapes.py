"""The sample's images."""

import hashlib

import numpy as np
import pytest
from numpy.typing import NDArray

from samples import shapes
from samples.shapes import LABEL_NAMES, SHAPES, TEST_BATCH, draw_batch


def test_draw_batch_draws_the_same_again_for_the_same_number() -> None:
    (first, first_labels), (second, second_labels) = (draw_batch(3, size=20) for _ in range(2))
    assert (first.tobytes(), first_labels) == (second.tobytes(), second_labels)


def test_draw_batch_does_not_depend_on_numpys_global_seed() -> None:
    np.random.seed(1)  # noqa: NPY002
    first = draw_batch(3, size=20)[0]
    np.random.seed(2)  # noqa: NPY002
    assert np.array_equal(draw_batch(3, size=20)[0], first)


@pytest.mark.parametrize("number", [1, 2, 3, 4, 5])
def test_draw_batch_draws_no_image_of_the_test_set_for_training(number: int) -> None:
    test, training = (
        {hashlib.sha256(image.tobytes()).digest() for image in draw_batch(n, size=200)[0]}
        for n in (TEST_BATCH, number)
    )
    assert not test & training


def test_draw_batch_draws_another_order_of_classes_for_another_number() -> None:
    assert draw_batch(1, size=50)[1] != draw_batch(2, size=50)[1]


def test_draw_batch_draws_each_image_differently() -> None:
    images = draw_batch(1, size=200)[0]
    assert len({image.tobytes() for image in images}) == 200


def test_draw_batch_gives_small_rgb_images() -> None:
    images, _ = draw_batch(1, size=20)
    assert (images.shape, images.dtype) == ((20, 32, 32, 3), np.uint8)


@pytest.mark.parametrize("size", [10, 50, 200])
def test_draw_batch_draws_each_class_equally_often(size: int) -> None:
    labels = draw_batch(1, size=size)[1]
    assert [labels.count(k) for k in range(10)] == [size // 10] * 10


def test_draw_batch_gives_labels_as_plain_integers() -> None:
    assert {type(label) for label in draw_batch(1, size=20)[1]} == {int}


def test_draw_batch_mixes_the_classes() -> None:
    labels = draw_batch(1, size=200)[1]
    assert len(set(labels[:50])) == 10


@pytest.mark.parametrize("name", LABEL_NAMES)
def test_draw_batch_labels_each_image_with_its_shape(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    def glaring(shape: str, _: object, count: int) -> NDArray[np.float64]:
        return np.full((count, 32, 32), 1e9 if shape == name else 0.0)

    monkeypatch.setattr(shapes, "_coverage", glaring)
    images, labels = draw_batch(1, size=50)
    saturated = np.isin(images, (0, 255)).all(axis=(1, 2, 3))
    assert [LABEL_NAMES[k] == name for k in labels] == saturated.tolist()


def test_draw_batch_draws_no_flat_image() -> None:
    images = draw_batch(1, size=200)[0]
    assert images.reshape(200, -1).std(axis=1).min() > 5


def test_draw_batch_clips_few_pixels() -> None:
    images = draw_batch(1, size=200)[0]
    assert np.isin(images, (0, 255)).mean() < 0.1


@pytest.mark.parametrize("size", [1, 9, 11, 105])
def test_draw_batch_refuses_a_size_that_the_classes_do_not_divide(size: int) -> None:
    with pytest.raises(ValueError, match=rf"^size must be a multiple of 10, got {size}\.$"):
        draw_batch(1, size=size)


def test_label_names_are_ten_different_ones() -> None:
    assert len(set(LABEL_NAMES)) == len(LABEL_NAMES) == 10


@pytest.mark.parametrize("name", LABEL_NAMES)
def test_shapes_end_within_one_and_a_quarter_radii(name: str) -> None:
    angle = np.linspace(0, 2 * np.pi, 360)
    assert (SHAPES[name](1.25 * np.cos(angle), 1.25 * np.sin(angle)) > 0).all()


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


@pytest.mark.parametrize("name", LABEL_NAMES)
def test_shapes_are_negative_inside_and_positive_outside(name: str) -> None:
    inside, outside = (
        float(SHAPES[name](np.array(u), np.array(v))) for u, v in INSIDE_AND_OUTSIDE[name]
    )
    assert inside < 0 < outside
