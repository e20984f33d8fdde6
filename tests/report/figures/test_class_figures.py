"""Pictures of accuracy class by class."""

from typing import Any

import numpy as np
import pytest

from resnet8.report.figures import palette
from resnet8.report.figures.canvas import Axes
from resnet8.report.figures.class_figures import (
    AccuracyInterval,
    draw_class_accuracy,
    draw_class_delta,
)
from tests.report_inputs import LABELS, make_inputs

NAMES = ["cat", "dog", "frog"]
ACCURACIES = {
    "keras_fp32": {
        "cat": AccuracyInterval(80.0, 70.0, 88.0),
        "dog": AccuracyInterval(60.0, 50.0, 69.0),
    },
    "onnx_int8": {
        "cat": AccuracyInterval(75.0, 65.0, 83.0),
        "dog": AccuracyInterval(0.0, 0.0, 5.0),
    },
}


def accuracy() -> Axes:
    return draw_class_accuracy(ACCURACIES, label_names=NAMES).axes[0]


def delta(comparison: dict[str, Any], *variants: str) -> Axes:
    return draw_class_delta(comparison, variants=variants, label_names=LABELS).axes[0]


def points(axes: Axes, variant: str) -> np.ndarray:
    """(rows, 2) positions of a variant's markers."""
    (found,) = (x for x in axes.collections if x.get_label() == variant)
    return np.array(found.get_offsets())


def spans(axes: Axes) -> list[list[float]]:
    """Both ends along x of all intervals, variant by variant."""
    lines = [x for x in axes.collections if x.get_linewidth()[0] == 1.2]
    return [path.vertices[:, 0].tolist() for x in lines for path in x.get_paths()]


def test_class_accuracy_has_points_at_the_accuracies() -> None:
    assert points(accuracy(), "keras_fp32")[:, 0].tolist() == [80.0, 60.0]
    assert points(accuracy(), "onnx_int8")[:, 0].tolist() == [75.0, 0.0]


def test_class_accuracy_has_the_intervals() -> None:
    assert spans(accuracy()) == [[70.0, 88.0], [50.0, 69.0], [65.0, 83.0], [0.0, 5.0]]


def test_class_accuracy_has_each_point_in_the_row_of_its_class() -> None:
    axes = accuracy()
    assert [label.get_text() for label in axes.get_yticklabels()] == NAMES
    rows = [points(axes, variant)[:, 1].round().tolist() for variant in ACCURACIES]
    assert rows == [[0.0, 1.0]] * 2


def test_class_accuracy_draws_variants_side_by_side() -> None:
    axes = accuracy()
    assert (points(axes, "onnx_int8")[:, 1] - points(axes, "keras_fp32")[:, 1] > 0.2).all()


def test_class_accuracy_says_which_class_has_no_images() -> None:
    assert [(x.get_text(), x.get_position()[1]) for x in accuracy().texts] == [("no images", 2)]


def test_class_accuracy_marks_variants_differently() -> None:
    shapes = [
        x.get_paths()[0].vertices.tolist()
        for x in accuracy().collections
        if x.get_label() in ACCURACIES
    ]
    assert shapes[0] != shapes[1]


@pytest.fixture
def comparison() -> dict[str, Any]:
    return make_inputs(quantized=("onnx_int8", "torch_int8")).comparison


def test_class_delta_begins_with_all_classes(comparison: dict[str, Any]) -> None:
    axes = delta(comparison, "onnx_int8")
    assert [label.get_text() for label in axes.get_yticklabels()] == ["all classes", *LABELS]
    row = comparison["variants"]["onnx_int8"]
    assert points(axes, "onnx_int8")[0, 0] == row["accuracy_delta_pp"]
    assert spans(axes)[0] == [row["ci95_low_pp"], row["ci95_high_pp"]]


def test_class_delta_has_the_deltas_and_intervals_of_classes(comparison: dict[str, Any]) -> None:
    axes, row = delta(comparison, "torch_int8"), comparison["variants"]["torch_int8"]
    assert points(axes, "torch_int8")[1:, 0].tolist() == list(row["per_class_delta_pp"].values())
    assert spans(axes)[1:] == list(row["per_class_ci95_pp"].values())


def test_class_delta_has_a_line_at_zero(comparison: dict[str, Any]) -> None:
    (zero,) = delta(comparison, "onnx_int8").lines
    assert zero.get_xdata() == [0, 0]


def test_class_delta_is_hollow_where_the_interval_holds_zero(comparison: dict[str, Any]) -> None:
    row = comparison["variants"]["onnx_int8"]
    row["per_class_ci95_pp"] = {name: [-1.0, 2.0] for name in LABELS} | {"cat": [0.5, 2.0]}
    row |= {"ci95_low_pp": -2.0, "ci95_high_pp": -1.0}
    axes = delta(comparison, "onnx_int8")
    (hollow,) = (x for x in axes.collections if x.get_zorder() == 4)
    assert (hollow.get_facecolor() == 1).all()
    rows = {round(y) for y in np.array(hollow.get_offsets())[:, 1]}
    assert rows == set(range(11)) - {0, 1 + LABELS.index("cat")}


def test_class_delta_says_which_class_has_no_images() -> None:
    comparison = make_inputs(missing_class=3).comparison
    axes = delta(comparison, "onnx_int8", "torch_int8")
    assert [(x.get_text(), x.get_position()[1]) for x in axes.texts] == [("no images", 4)]
    assert len(points(axes, "onnx_int8")) == 10


def test_class_delta_uses_the_colours_of_the_palette(comparison: dict[str, Any]) -> None:
    axes = delta(comparison, "torch_int8")
    handle = axes.get_legend().legend_handles[0]
    found = (np.array(handle.get_facecolor()[0][:3]) * 255).round().astype(int).tolist()
    assert "#{:02X}{:02X}{:02X}".format(*found) == palette.VARIANTS["torch_int8"]
