"""Figures that compare layers."""

from typing import Any

import numpy as np
import pytest

from resnet8.report.figures.canvas import Axes
from resnet8.report.figures.layer_figures import draw_channel_ranges, draw_ranges, draw_sqnr
from tests.report_inputs import LAYERS, make_inputs

QUANTIZED = ("onnx_int8", "onnx_uint8", "torch_int8")


@pytest.fixture
def layers() -> dict[str, Any]:
    return make_inputs(quantized=QUANTIZED).results["layers"]


def statistics(layers: dict[str, Any], layer: str, variant: str) -> dict[str, Any]:
    row: dict[str, Any] = layers["activations"]["calibration"][layer][variant]["statistics"]
    return row


def draw(function: Any, layers: dict[str, Any]) -> Axes:
    return function(layers, data="calibration").axes[0]


def channel_ranges(layers: dict[str, Any]) -> list[Axes]:
    weights = {layer: kinds["weight"] for layer, kinds in layers["parameters"].items()}
    return draw_channel_ranges(weights).axes


def spans(axes: Axes, label: str, coordinate: int) -> list[list[float]]:
    """Both ends of the lines of that name along x (0) or y (1)."""
    (lines,) = (x for x in axes.collections if x.get_label() == label)
    return [path.vertices[:, coordinate].tolist() for path in lines.get_paths()]


def line(axes: Axes, label: str) -> np.ndarray:
    """(2, points) of the line of that name."""
    (line,) = (x for x in axes.lines if x.get_label() == label)
    return np.array(line.get_data())


def names(axes: Axes) -> list[str]:
    return [label.get_text() for label in axes.get_yticklabels()]


def test_ranges_are_relative_to_the_largest_value_of_the_layer(layers: dict[str, Any]) -> None:
    relu = statistics(layers, "relu", "onnx_fp32")
    relu |= {"min": -8.0, "max": 4.0, "percentiles": relu["percentiles"] | {"25": -2.0}}
    statistics(layers, "dense", "onnx_fp32").update(min=0.0, max=0.0)
    axes = draw(draw_ranges, layers)
    assert names(axes) == list(LAYERS)
    assert spans(axes, "all values", 0)[1:] == [[-1.0, 0.5], [0.0, 0.0]]
    assert spans(axes, "25% to 75% of the values", 0)[1][0] == -0.25
    assert [text.get_text() for text in axes.texts] == ["largest", "4", "8", "1"]


def test_ranges_of_variants_are_their_clip_ranges_side_by_side(layers: dict[str, Any]) -> None:
    statistics(layers, "dense", "torch_int8").update(clip_low=-1.0, clip_high=2.0)
    axes = draw(draw_ranges, layers)
    ends = {
        name: line(axes, f"{name}: range of 8-bit codes").reshape(2, 3, 3)[:, :, :2]
        for name in QUANTIZED
    }
    x, y = ends["torch_int8"]
    assert x[2].tolist() == [-0.25, 0.5]  # of 4, the largest value
    assert (y.round() == [[0], [1], [2]]).all()
    assert np.isnan(ends["onnx_int8"][0, 0]).all()  # computed together with the next layer
    assert (np.diff([ends[name][1] for name in QUANTIZED], axis=0) > 0.1).all()


def test_sqnr_has_a_point_for_each_layer_with_noise(layers: dict[str, Any]) -> None:
    statistics(layers, "dense", "onnx_uint8")["sqnr_db"] = None
    axes = draw(draw_sqnr, layers)
    points = {name: line(axes, name).T for name in QUANTIZED}
    assert points["torch_int8"].round().tolist() == [[30, 0], [29, 1], [28, 2]]
    assert points["onnx_int8"][:, 0].tolist() == pytest.approx([np.nan, np.nan, 28], nan_ok=True)
    assert np.isnan(points["onnx_uint8"][2, 0])
    heights = [y for rows in points.values() for y in rows[:, 1]]
    assert len(heights) == len({*heights})  # none covers another


def test_channel_ranges_have_float_weights_and_what_each_scale_can_hold(
    layers: dict[str, Any],
) -> None:
    rows = layers["parameters"]["conv"]["weight"]
    rows["torch_int8"]["scale"] = [0.01, 0.02, 0.03, 0.04]
    rows["onnx_uint8"] |= {"scale": [0.01], "zero_point": [100]}
    rows["onnx_uint8"]["statistics"]["dtype"] = "uint8"
    axes, dense = channel_ranges(layers)
    assert (axes.get_title("left"), dense.get_title("left")) == ("conv", "dense")
    float_row = rows["onnx_fp32"]
    ends = zip(float_row["channel_min"], float_row["channel_max"], strict=True)
    assert spans(axes, "float", 1) == [list(both) for both in ends]
    edges, lows = line(axes, "torch_int8")
    assert edges.tolist() == [-0.5, 0.5, 1.5, 2.5, 3.5]
    np.testing.assert_allclose(lows, [-1.28, -2.56, -3.84, -5.12, -5.12])
    (highs,) = (x.get_ydata() for x in axes.lines if np.allclose(x.get_ydata()[-1], 5.08))
    np.testing.assert_allclose(highs, [1.27, 2.54, 3.81, 5.08, 5.08])
    np.testing.assert_allclose(line(axes, "onnx_uint8")[1], -1.0)  # one scale for all channels
    floats = make_inputs(quantized=()).results["layers"]
    assert not channel_ranges(floats)[0].lines
