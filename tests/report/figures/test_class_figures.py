"""Figures of accuracy by class."""

import numpy as np
import pytest

from resnet8.compare.plot_data import ClassAccuracy
from resnet8.report.figures.canvas import Axes
from resnet8.report.figures.class_figures import draw_class_accuracy, draw_class_delta
from tests.report_inputs import LABELS, make_inputs


def points(axes: Axes, variant: str) -> np.ndarray:
    """(rows, 2) positions of a variant's markers."""
    (markers,) = (x for x in axes.collections if x.get_label() == variant)
    return np.array(markers.get_offsets())


def intervals(axes: Axes) -> list[list[float]]:
    """Both ends of all intervals, variant by variant."""
    lines = [x for x in axes.collections if x.get_linewidth()[0] == 1.2]
    return [path.vertices[:, 0].tolist() for x in lines for path in x.get_paths()]


def names(axes: Axes) -> list[str]:
    return [label.get_text() for label in axes.get_yticklabels()]


def test_class_accuracy_has_points_and_intervals_in_the_row_of_their_class() -> None:
    rows = [
        ClassAccuracy("keras_fp32", "cat", 80.0, 70.0, 88.0),
        ClassAccuracy("keras_fp32", "dog", 60.0, 50.0, 69.0),
        ClassAccuracy("onnx_int8", "dog", 0.0, 0.0, 5.0),
    ]
    axes = draw_class_accuracy(rows, names=["cat", "dog", "frog"]).axes[0]
    assert names(axes) == ["cat", "dog", "frog"]
    assert points(axes, "keras_fp32").round().tolist() == [[80, 0], [60, 1]]
    assert points(axes, "onnx_int8").round().tolist() == [[0, 1]]
    assert intervals(axes) == [[70.0, 88.0], [50.0, 69.0], [0.0, 5.0]]
    assert [(x.get_text(), x.get_position()[1]) for x in axes.texts] == [("no images", 2)]


@pytest.mark.parametrize("variant", ["onnx_int8", "torch_int8"])
def test_class_delta_begins_with_all_classes(variant: str) -> None:
    comparison = make_inputs().comparison
    axes = draw_class_delta(comparison, variants=[variant], names=LABELS).axes[0]
    row = comparison["variants"][variant]
    assert names(axes) == ["all classes", *LABELS]
    deltas = [row["accuracy_delta_pp"], *row["per_class_delta_pp"].values()]
    assert points(axes, variant)[:, 0].tolist() == deltas
    whole = [row["ci95_low_pp"], row["ci95_high_pp"]]
    assert intervals(axes) == [whole, *row["per_class_ci95_pp"].values()]
    assert axes.lines[0].get_xdata() == [0, 0]


def test_class_delta_is_hollow_where_the_interval_contains_zero() -> None:
    comparison = make_inputs().comparison
    row = comparison["variants"]["onnx_int8"]
    row["per_class_ci95_pp"] = {name: [-1.0, 2.0] for name in LABELS} | {"cat": [0.5, 2.0]}
    row |= {"ci95_low_pp": -2.0, "ci95_high_pp": -1.0}
    axes = draw_class_delta(comparison, variants=["onnx_int8"], names=LABELS).axes[0]
    (hollow,) = (x for x in axes.collections if x.get_zorder() == 4)
    assert (hollow.get_facecolor() == 1).all()
    rows = {round(y) for y in np.array(hollow.get_offsets())[:, 1]}
    assert rows == set(range(11)) - {0, 1 + LABELS.index("cat")}
