"""Pictures that compare layers."""

from typing import Any

import numpy as np
import pytest

from resnet8.report.figures import canvas
from resnet8.report.figures.canvas import Axes, Figure
from resnet8.report.figures.layer_figures import (
    draw_channel_ranges,
    draw_ranges,
    draw_sensitivity,
    draw_sqnr,
)
from tests.report_inputs import LAYERS, make_inputs

QUANTIZED = ("onnx_int8", "onnx_uint8", "torch_int8")


@pytest.fixture
def layers() -> dict[str, Any]:
    return make_inputs(quantized=QUANTIZED).layers


@pytest.fixture
def sensitivity() -> dict[str, Any]:
    return make_inputs(quantized=QUANTIZED).sensitivity["variants"]["onnx_int8"]


def ranges(layers: dict[str, Any]) -> Axes:
    activations = layers["activations"]["calibration"]
    return draw_ranges(activations, layers=layers["layers"], over="50 images").axes[0]


def sqnr(layers: dict[str, Any]) -> Axes:
    activations = layers["activations"]["calibration"]
    return draw_sqnr(activations, layers=layers["layers"], over="50 images").axes[0]


def channel_ranges(layers: dict[str, Any]) -> Figure:
    parameters = layers["parameters"]
    return draw_channel_ranges({layer: kinds["weight"] for layer, kinds in parameters.items()})


def bars_of(axes: Axes, label: str) -> np.ndarray:
    """(rows, 2) the ends along x of the lines in a collection."""
    (found,) = (x for x in axes.collections if x.get_label() == label)
    return np.array([[path.vertices[0, 0], path.vertices[1, 0]] for path in found.get_paths()])


def line(axes: Axes, label: str) -> np.ndarray:
    """(2, points) of the line of that name."""
    (found,) = (x for x in axes.lines if x.get_label() == label)
    return np.array(found.get_data())


def names(axes: Axes) -> list[str]:
    return [label.get_text() for label in axes.get_yticklabels()]


def test_ranges_have_a_row_for_each_layer_in_order(layers: dict[str, Any]) -> None:
    assert names(ranges(layers)) == list(LAYERS)


def test_ranges_are_relative_to_the_largest_value_which_is_written(layers: dict[str, Any]) -> None:
    statistics = layers["activations"]["calibration"]["relu"]["onnx_fp32"]["statistics"]
    statistics |= {"min": -8.0, "max": 4.0, "percentiles": statistics["percentiles"] | {"25": -2.0}}
    axes = ranges(layers)
    assert bars_of(axes, "all values")[1].tolist() == [-1.0, 0.5]
    assert bars_of(axes, "25% to 75% of the values")[1, 0] == -0.25
    assert [text.get_text() for text in axes.texts] == ["4", "8", "4", "largest"]


def test_ranges_of_variants_are_their_clip_ranges(layers: dict[str, Any]) -> None:
    statistics = layers["activations"]["calibration"]["dense"]["torch_int8"]["statistics"]
    statistics |= {"clip_low": -1.0, "clip_high": 2.0}
    x, y = line(ranges(layers), "torch_int8: what 8 bits hold").reshape(2, 3, 3)
    assert x[2, :2].tolist() == [-0.25, 0.5]  # of 4, the largest value
    assert 1.5 < y[2, 0] < 2.5  # in the third row


def test_ranges_leave_out_layers_that_a_variant_does_not_have(layers: dict[str, Any]) -> None:
    x, _ = line(ranges(layers), "onnx_int8: what 8 bits hold").reshape(2, 3, 3)
    assert np.isnan(x[0]).all()
    assert np.isfinite(x[1, :2]).all()


def test_ranges_of_variants_do_not_overlap(layers: dict[str, Any]) -> None:
    lines = [line(ranges(layers), f"{name}: what 8 bits hold")[1] for name in QUANTIZED]
    assert (np.diff(lines, axis=0) > 0.1).all()


def test_ranges_of_a_layer_of_zeros_are_drawn(layers: dict[str, Any]) -> None:
    statistics = layers["activations"]["calibration"]["relu"]["onnx_fp32"]["statistics"]
    statistics |= {"min": 0.0, "max": 0.0}
    assert bars_of(ranges(layers), "all values")[1].tolist() == [0.0, 0.0]


def test_sqnr_has_a_point_for_each_layer_with_noise(layers: dict[str, Any]) -> None:
    x, y = line(sqnr(layers), "torch_int8")
    assert x.tolist() == [30.0, 29.0, 28.0]
    assert y.round().tolist() == [0, 1, 2]


def test_sqnr_leaves_out_layers_that_are_absent_or_exact(layers: dict[str, Any]) -> None:
    x, y = line(sqnr(layers), "onnx_int8")
    assert (x.tolist(), y.round().tolist()) == ([28.0], [2])


def test_sqnr_of_a_variant_without_any_noise_is_drawn(layers: dict[str, Any]) -> None:
    for rows in layers["activations"]["calibration"].values():
        rows["torch_int8"]["statistics"]["sqnr_db"] = None
    assert line(sqnr(layers), "torch_int8").size == 0


def test_sqnr_marks_variants_differently(layers: dict[str, Any]) -> None:
    lines = [x for x in sqnr(layers).lines if x.get_label() in QUANTIZED]
    assert len({x.get_marker() for x in lines}) == len(QUANTIZED)
    heights = [y for x in lines for y in x.get_ydata()]
    assert len(heights) == len({*heights})  # none covers another


def test_channel_ranges_have_a_panel_for_each_layer_with_weights(layers: dict[str, Any]) -> None:
    assert [x.get_title("left") for x in channel_ranges(layers).axes] == ["conv", "dense"]


def test_channel_ranges_span_the_float_weights_of_each_channel(layers: dict[str, Any]) -> None:
    row = layers["parameters"]["conv"]["weight"]["onnx_fp32"]
    axes = channel_ranges(layers).axes[0]
    (bars,) = (x for x in axes.collections if x.get_label() == "float")
    found = np.array([path.vertices for path in bars.get_paths()])  # (C, ends, x and y)
    np.testing.assert_array_equal(found[:, 0, 1], row["channel_min"])
    np.testing.assert_array_equal(found[:, 1, 1], row["channel_max"])
    assert found[:, 0, 0].tolist() == [0, 1, 2, 3]


def test_channel_ranges_show_what_each_channels_scale_can_hold(layers: dict[str, Any]) -> None:
    row = layers["parameters"]["conv"]["weight"]["torch_int8"]
    row["scale"] = [0.01, 0.02, 0.03, 0.04]
    x, y = line(channel_ranges(layers).axes[0], "torch_int8")
    np.testing.assert_allclose(y[[1, 3, 5, 7]], [-1.28, -2.56, -3.84, -5.12])
    np.testing.assert_allclose(y[[9, 11, 13, 15]], [1.27, 2.54, 3.81, 5.08])
    assert x[:4].tolist() == [-0.5, 0.5, 0.5, 1.5]  # of the first two channels


def test_channel_ranges_of_one_scale_are_those_of_every_channel(layers: dict[str, Any]) -> None:
    row = layers["parameters"]["conv"]["weight"]["onnx_uint8"]
    row |= {"scale": [0.01], "zero_point": [100]}
    row["statistics"]["dtype"] = "uint8"
    _, y = line(channel_ranges(layers).axes[0], "onnx_uint8")
    np.testing.assert_allclose(np.unique(y[np.isfinite(y)].round(9)), [-1.0, 1.55])


def test_channel_ranges_without_quantized_variants_show_float_weights() -> None:
    figure = channel_ranges(make_inputs(quantized=()).layers)
    assert not figure.axes[0].lines
    assert "8 bits" not in figure.texts[1].get_text()


def test_sensitivity_begins_with_the_layer_that_costs_most(sensitivity: dict[str, Any]) -> None:
    left = draw_sensitivity("onnx_int8", sensitivity).axes[0]
    assert names(left) == ["dense", "relu", "conv", "input"]
    np.testing.assert_allclose([bar.get_width() for bar in left.patches], [0.003, 0.002, 0.001, 0])


def test_sensitivity_is_on_a_logarithmic_axis(sensitivity: dict[str, Any]) -> None:
    assert draw_sensitivity("onnx_int8", sensitivity).axes[0].get_xscale() == "log"


def test_sensitivity_writes_a_zero_where_there_is_no_bar(sensitivity: dict[str, Any]) -> None:
    left = draw_sensitivity("onnx_int8", sensitivity).axes[0]
    assert [text.get_position()[1] for text in left.texts if text.get_text() == "0"] == [3]


def test_sensitivity_shows_what_sparing_a_layer_changes(sensitivity: dict[str, Any]) -> None:
    sensitivity["layers"]["relu"]["spared"]["kl_divergence"] = 0.006
    bars = draw_sensitivity("onnx_int8", sensitivity).axes[1].patches
    assert {round(bar.get_x() + min(bar.get_width(), 0), 6) for bar in bars} == {0.003, 0.004}
    np.testing.assert_allclose([x.get_width() for x in bars], [-0.001, 0.002, 0.001, 0], atol=1e-9)


def test_sensitivity_hatches_layers_that_are_better_not_spared(
    sensitivity: dict[str, Any],
) -> None:
    sensitivity["layers"]["relu"]["spared"]["kl_divergence"] = 0.006
    bars = draw_sensitivity("onnx_int8", sensitivity).axes[1].patches
    assert [bool(bar.get_hatch()) for bar in bars] == [False, True, True, False]


def test_sensitivity_writes_how_many_images_keep_their_class(sensitivity: dict[str, Any]) -> None:
    left, right = draw_sensitivity("onnx_int8", sensitivity).axes
    assert [x.get_text() for x in left.texts][:4] == ["98.0%", "99.0%", "100.0%", "100.0%"]
    assert [x.get_text() for x in right.texts][:4] == ["98.0%", "98.0%", "98.0%", "97.5%"]


def test_sensitivity_without_any_cost_is_drawn(sensitivity: dict[str, Any]) -> None:
    for row in [sensitivity["all"], *(x["alone"] for x in sensitivity["layers"].values())]:
        row["kl_divergence"] = 0.0
    assert canvas.png(draw_sensitivity("onnx_int8", sensitivity))
