"""Figures of the predictions of two models."""

import numpy as np

from resnet8.compare.predictions import Flip
from resnet8.report.figures.canvas import MINUS, Axes
from resnet8.report.figures.outcome_figures import draw_confusion, draw_flips

NAMES = ["cat", "dog", "frog"]
MODELS = ("keras_fp32", "onnx_int8")
BASELINE = np.array([[7, 3, 0], [1, 1200, 0], [0, 0, 0]])
VARIANT = np.array([[8, 2, 0], [1, 1190, 10], [0, 0, 0]])


def cells(axes: Axes) -> dict[tuple[int, int], str]:
    """Texts by row and column."""
    return {(int(y), int(x)): t.get_text() for t in axes.texts for x, y in [t.get_position()]}


def test_confusion_writes_counts_and_differences_by_true_and_predicted_class() -> None:
    figure = draw_confusion(BASELINE, VARIANT, models=MODELS, names=NAMES)
    baseline, variant, difference, legend = figure.axes
    assert cells(baseline) == {(0, 0): "7", (0, 1): "3", (1, 0): "1", (1, 1): "1200"}
    assert cells(variant)[1, 2] == "10"
    assert cells(difference) == {
        (0, 0): "+1",
        (0, 1): f"{MINUS}1",
        (1, 1): f"{MINUS}10",
        (1, 2): "+10",
    }
    assert [t.get_text() for t in variant.get_xticklabels()] == NAMES
    assert difference.get_title("left") == "onnx_int8 minus keras_fp32"
    assert "1,207 of 1,211 right\nonnx_int8: 1,198 of 1,211" in legend.texts[0].get_text()


def test_confusion_shades_by_share_of_the_true_class_and_differences_symmetrically() -> None:
    axes = draw_confusion(BASELINE, VARIANT, models=MODELS, names=NAMES).axes
    shades = np.array(axes[0].images[0].get_array())
    np.testing.assert_allclose(shades[0], [0.7, 0.3, 0.0])
    assert shades[2].tolist() == [0, 0, 0]  # a class without images
    low, high = axes[2].images[0].get_clim()
    assert -low == high >= 10


def make_flips(count: int) -> list[Flip]:
    before, after = np.float32([0.6, 0.3, 0.1]), np.float32([0.25, 0.75, 0.0])
    return [Flip(i, i % 3, 0, 1, before, after) for i in range(10, 10 + count)]


def test_flips_shows_each_image_above_its_predictions() -> None:
    images = np.random.default_rng(0).integers(0, 256, (9, 32, 32, 3), dtype=np.uint8)
    figure = draw_flips(images, make_flips(9), totals=(40, 60), models=MODELS, names=NAMES)
    axes = figure.axes[0]
    assert [text.get_text() for text in axes.texts[:3]] == [
        "#10: dog\nbefore: cat 60%\nafter: dog 75% ✓",
        "#11: frog\nbefore: cat 60%\nafter: dog 75%",
        "#12: cat\nbefore: cat 60% ✓\nafter: dog 75%",
    ]
    for pixels, image, text in zip(images, axes.images, axes.texts, strict=True):
        np.testing.assert_array_equal(image.get_array(), pixels)
        left, _, bottom, _ = image.get_extent()
        x, y = text.get_position()
        assert (x, y > bottom, y < bottom + 0.1) == (left, True, True)
    assert figure.texts[0].get_text().endswith("40 of 60 test images change class; the 9 that "
                                               "moved most")  # fmt: skip


def test_flips_of_no_image_says_so() -> None:
    none = np.empty((0, 32, 32, 3), np.uint8)
    figure = draw_flips(none, [], totals=(0, 60), models=MODELS, names=NAMES)
    assert figure.texts[0].get_text() == "onnx_int8: 0 of 60 test images change class"
    assert "is that of keras_fp32 for every image" in figure.axes[0].texts[0].get_text()
