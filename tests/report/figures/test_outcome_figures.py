"""Pictures of what two models said of the test images."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from resnet8.compare.predictions import Flip
from resnet8.report.figures import canvas
from resnet8.report.figures.canvas import Axes, Figure
from resnet8.report.figures.outcome_figures import SHOWN_FLIPS, draw_confusion, draw_flips

NAMES = ["cat", "dog", "frog"]
MODELS = ("keras_fp32", "onnx_int8")
MINUS = "\N{MINUS SIGN}"


def confusion(baseline: Any, variant: Any) -> list[Axes]:
    counts = np.array(baseline), np.array(variant)
    return draw_confusion(*counts, names=MODELS, label_names=NAMES).axes


def cells(axes: Axes) -> dict[tuple[int, int], str]:
    """What is written, by row and column."""
    return {(int(y), int(x)): t.get_text() for t in axes.texts for x, y in [t.get_position()]}


BASELINE = [[7, 3, 0], [1, 1200, 0], [0, 0, 0]]
VARIANT = [[8, 2, 0], [1, 1190, 10], [0, 0, 0]]


def test_confusion_writes_the_counts_by_true_and_predicted_class() -> None:
    baseline, variant, *_ = confusion(BASELINE, VARIANT)
    assert cells(baseline) == {(0, 0): "7", (0, 1): "3", (1, 0): "1", (1, 1): "1200"}
    assert cells(variant)[1, 2] == "10"


def test_confusion_writes_the_difference_with_signs() -> None:
    found = cells(confusion(BASELINE, VARIANT)[2])
    assert found == {(0, 0): "+1", (0, 1): f"{MINUS}1", (1, 1): f"{MINUS}10", (1, 2): "+10"}


def test_confusion_shades_by_share_of_the_true_class() -> None:
    shades = np.array(confusion(BASELINE, VARIANT)[0].images[0].get_array())
    np.testing.assert_allclose(shades[0], [0.7, 0.3, 0.0])


def test_confusion_of_a_class_without_images_is_empty() -> None:
    shades = np.array(confusion(BASELINE, VARIANT)[0].images[0].get_array())
    assert shades[2].tolist() == [0, 0, 0]


def test_confusion_shades_differences_alike_on_both_sides_of_zero() -> None:
    low, high = confusion(BASELINE, VARIANT)[2].images[0].get_clim()
    assert -low == high >= 10


def test_confusion_of_the_same_answers_has_no_difference() -> None:
    assert cells(confusion(BASELINE, BASELINE)[2]) == {}


def test_confusion_says_how_many_are_right() -> None:
    text = confusion(BASELINE, VARIANT)[3].texts[0].get_text()
    assert text.startswith("keras_fp32: 1,207 of 1,211 right\nonnx_int8: 1,198 of 1,211 right")


def test_confusion_names_classes_and_models() -> None:
    baseline, variant, difference, _ = confusion(BASELINE, VARIANT)
    assert [t.get_text() for t in baseline.get_xticklabels()] == NAMES
    assert [t.get_text() for t in variant.get_yticklabels()] == NAMES
    assert difference.get_title("left") == "onnx_int8 minus keras_fp32"


@pytest.fixture
def images() -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (60, 32, 32, 3), dtype=np.uint8)


def make_flips(count: int) -> list[Flip]:
    before, after = np.float32([0.6, 0.3, 0.1]), np.float32([0.25, 0.75, 0.0])
    return [Flip(i, i % 3, 0, 1, before, after) for i in range(10, 10 + count)]


def flips(images: NDArray[np.uint8], count: int) -> Figure:
    return draw_flips(images, make_flips(count), names=MODELS, label_names=NAMES)


def test_flips_shows_the_images_with_their_own_pixels(images: NDArray[np.uint8]) -> None:
    shown = flips(images, 3).axes[0].images
    for i, image in enumerate(shown):
        np.testing.assert_array_equal(image.get_array(), images[10 + i])


def test_flips_says_what_both_models_said(images: NDArray[np.uint8]) -> None:
    texts = [text.get_text() for text in flips(images, 3).axes[0].texts]
    assert texts == [
        "#10: dog\nbefore: cat 60%\nafter: dog 75% ✓",
        "#11: frog\nbefore: cat 60%\nafter: dog 75%",
        "#12: cat\nbefore: cat 60% ✓\nafter: dog 75%",
    ]


def test_flips_writes_below_the_image_that_is_meant(images: NDArray[np.uint8]) -> None:
    axes = flips(images, 9).axes[0]
    for image, text in zip(axes.images, axes.texts, strict=True):
        left, _, bottom, _ = image.get_extent()
        x, y = text.get_position()
        assert x == left
        assert bottom < y < bottom + 0.1


def test_flips_shows_the_first_of_many_and_counts_all(images: NDArray[np.uint8]) -> None:
    figure = flips(images, 40)
    assert len(figure.axes[0].images) == SHOWN_FLIPS
    assert figure.texts[0].get_text() == (
        "onnx_int8: 40 of 60 test images change class; the 24 that moved most"
    )


def test_flips_of_no_image_says_so(images: NDArray[np.uint8]) -> None:
    figure = flips(images, 0)
    assert figure.texts[0].get_text() == "onnx_int8: 0 of 60 test images change class"
    assert (
        figure.axes[0].texts[0].get_text()
        == "Its top-1 class is that of keras_fp32 for every image."
    )


def test_flips_is_the_same_each_time(images: NDArray[np.uint8]) -> None:
    assert canvas.png(flips(images, 3)) == canvas.png(flips(images, 3))
