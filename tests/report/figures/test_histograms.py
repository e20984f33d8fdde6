"""Pictures of how values are distributed."""

from typing import Any

import numpy as np
import pytest

from resnet8.report.figures import canvas
from resnet8.report.figures.canvas import Axes, Figure
from resnet8.report.figures.histograms import draw_layer
from tests.report_inputs import make_inputs

QUANTIZED = ("onnx_int8", "onnx_uint8", "torch_int8")


@pytest.fixture
def layers() -> dict[str, Any]:
    return make_inputs(quantized=QUANTIZED).layers


def draw(layers: dict[str, Any], layer: str, **changes: Any) -> Figure:
    given = {"over": "50 images", "absent": {}, "parameters": layers["parameters"].get(layer, {})}
    return draw_layer(layer, layers["activations"]["calibration"][layer], **given | changes)


def panel(figure: Figure, title: str) -> Axes:
    (found,) = (axes for axes in figure.axes if axes.get_title("left").startswith(title))
    return found


def line(axes: Axes, label: str) -> np.ndarray:
    """(2, points) of the line of that name."""
    (found,) = (x for x in axes.lines if x.get_label() == label)
    return np.array(found.get_data())


def steps(axes: Axes, variant: str) -> np.ndarray:
    """The height of each bin."""
    return line(axes, variant)[1][1:-1:2]


def texts(axes: Axes) -> list[str]:
    return [text.get_text() for text in axes.get_legend().get_texts()]


def test_draw_layer_has_a_panel_for_each_kind_of_value(layers: dict[str, Any]) -> None:
    titles = [axes.get_title("left") for axes in draw(layers, "dense").axes]
    assert titles == [
        "Activations", "Error of activations", "Weights (4 × 3 × 3 × 3)", "Biases (4)",
    ]  # fmt: skip


def test_draw_layer_without_parameters_has_activations_only(layers: dict[str, Any]) -> None:
    titles = [axes.get_title("left") for axes in draw(layers, "relu").axes]
    assert titles == ["Activations", "Error of activations"]


def test_draw_layer_without_quantized_variants_draws_float() -> None:
    figure = draw(make_inputs(quantized=()).layers, "relu")
    assert [axes.get_title("left") for axes in figure.axes] == ["Activations"]
    assert texts(figure.axes[0]) == ["onnx_fp32: zeros 12.5%"]
    assert "8 bits" not in figure.texts[1].get_text()


def test_draw_layer_draws_one_float_variant_and_all_quantized_ones(layers: dict[str, Any]) -> None:
    names = [text.partition(":")[0] for text in texts(panel(draw(layers, "dense"), "Activations"))]
    assert names == ["onnx_fp32", *QUANTIZED]


@pytest.mark.parametrize("variant", QUANTIZED)
def test_activations_are_shares_of_all_values(layers: dict[str, Any], variant: str) -> None:
    row = layers["activations"]["calibration"]["dense"][variant]
    row["histogram"]["counts"][:3] = [250.0, 0.0, 1.0]
    heights = steps(panel(draw(layers, "dense"), "Activations"), variant)
    np.testing.assert_allclose(heights[[0, 2]], [0.25, 0.001])  # of 1,000 values


def test_an_empty_bin_is_below_the_axis(layers: dict[str, Any]) -> None:
    row = layers["activations"]["calibration"]["dense"]["onnx_int8"]
    row["histogram"]["counts"][1] = 0.0
    axes = panel(draw(layers, "dense"), "Activations")
    assert steps(axes, "onnx_int8")[1] < axes.get_ylim()[0] < 0.001


def test_bins_are_where_the_histogram_has_them(layers: dict[str, Any]) -> None:
    row = layers["activations"]["calibration"]["dense"]["onnx_int8"]
    row["histogram"] = {"low": -2.0, "high": 6.0, "counts": [5.0, 0.0, 7.0, 9.0]}
    x, _ = line(panel(draw(layers, "dense"), "Activations"), "onnx_int8")
    assert x.tolist() == [-2, -2, 0, 0, 2, 2, 4, 4, 6, 6]


def test_float_is_an_area_over_the_same_bins(layers: dict[str, Any]) -> None:
    row = layers["activations"]["calibration"]["dense"]["onnx_fp32"]
    row["histogram"] = {"low": -4.0, "high": 0.0, "counts": [500.0, 2.0]}
    axes = panel(draw(layers, "dense"), "Activations")
    (area,) = (x for x in axes.collections if x.get_label() == "onnx_fp32")
    corners = {tuple(corner) for corner in area.get_paths()[0].vertices.round(9).tolist()}
    assert {(-4.0, 0.5), (-2.0, 0.5), (-2.0, 0.002), (0.0, 0.002)} <= corners


@pytest.mark.parametrize("variant", QUANTIZED)
def test_bracket_spans_the_clip_range(layers: dict[str, Any], variant: str) -> None:
    statistics = layers["activations"]["calibration"]["dense"][variant]["statistics"]
    statistics |= {"clip_low": -2.5, "clip_high": 7.25}
    x, _ = line(panel(draw(layers, "dense"), "Activations"), f"{variant} range")
    assert x.tolist() == [-2.5, 7.25]


def test_bracket_beyond_the_histogram_is_in_the_panel(layers: dict[str, Any]) -> None:
    statistics = layers["activations"]["calibration"]["dense"]["torch_int8"]["statistics"]
    statistics |= {"clip_low": -50.0, "clip_high": 70.0}
    low, high = panel(draw(layers, "dense"), "Activations").get_xlim()
    assert (low < -50) & (high > 70)


def test_brackets_are_above_all_curves(layers: dict[str, Any]) -> None:
    figure = draw(layers, "dense")
    figure.canvas.draw()
    for title in ("Activations", "Weights"):
        axes = panel(figure, title)
        lowest = min(
            x.get_window_extent().y0 for x in axes.lines if str(x.get_label()).endswith("range")
        )
        highest = max(axes.transData.transform([0, steps(axes, x).max()])[1] for x in QUANTIZED)
        assert highest < lowest


def test_a_variant_that_is_float_here_has_no_bracket(layers: dict[str, Any]) -> None:
    statistics = layers["activations"]["calibration"]["dense"]["torch_int8"]["statistics"]
    for name in ("dtype", "clip_low", "clip_high", "clipped_share"):
        del statistics[name]
    axes = panel(draw(layers, "dense"), "Activations")
    assert not [x for x in axes.lines if x.get_label() == "torch_int8 range"]
    assert "torch_int8: zeros 12.5%, float at this point, SQNR 28.0 dB" in texts(axes)


@pytest.mark.parametrize(
    ("dtype", "zero_point", "ends"),
    [("int8", 0, [-128 * 0.02, 127 * 0.02]), ("uint8", 128, [-128 * 0.02, 127 * 0.02])],
)
def test_bracket_of_weights_spans_the_channel_with_the_widest_range(
    layers: dict[str, Any], dtype: str, zero_point: int, ends: list[float]
) -> None:
    row = layers["parameters"]["dense"]["weight"]["onnx_uint8"]
    row |= {"scale": [0.01, 0.02, 0.001, 0.01], "zero_point": [zero_point] * 4}
    row["statistics"]["dtype"] = dtype
    x, _ = line(panel(draw(layers, "dense"), "Weights"), "onnx_uint8 range")
    np.testing.assert_allclose(x, ends)


def test_biases_in_32_bits_have_no_bracket(layers: dict[str, Any]) -> None:
    for row in layers["parameters"]["dense"]["bias"].values():
        row["statistics"]["dtype"] = "int32"
    axes = panel(draw(layers, "dense"), "Biases")
    assert not [x for x in axes.lines if str(x.get_label()).endswith("range")]


def test_legend_tells_zeros_clipping_and_sqnr(layers: dict[str, Any]) -> None:
    statistics = layers["activations"]["calibration"]["dense"]["onnx_int8"]["statistics"]
    statistics |= {"zeros_share": 0.532, "clipped_share": 0.00031, "sqnr_db": 34.44}
    axes = panel(draw(layers, "dense"), "Activations")
    assert "onnx_int8: zeros 53.2%, clipped 0.031%, SQNR 34.4 dB" in texts(axes)


@pytest.mark.parametrize(
    ("share", "text"), [(0.0, "0%"), (1e-7, "<0.0001%"), (1e-6, "0.0001%"), (1.0, "100%")]
)
def test_shares_are_readable_at_both_ends(layers: dict[str, Any], share: float, text: str) -> None:
    layers["activations"]["calibration"]["dense"]["onnx_fp32"]["statistics"]["zeros_share"] = share
    assert f"onnx_fp32: zeros {text}" in texts(panel(draw(layers, "dense"), "Activations"))


def test_legend_says_where_there_is_no_error(layers: dict[str, Any]) -> None:
    row = layers["activations"]["calibration"]["dense"]["onnx_int8"]
    row["statistics"]["sqnr_db"] = None
    row["error_histogram"]["counts"] = [0.0] * 96
    axes = panel(draw(layers, "dense"), "Error")
    assert "onnx_int8: no error, exact 100%" in texts(axes)


def test_caption_says_why_a_variant_is_absent(layers: dict[str, Any]) -> None:
    figure = draw(layers, "conv", absent={"onnx_int8": "computed together with relu"})
    caption = figure.texts[1].get_text().replace("\n", " ")
    assert "Not in onnx_int8: computed together with relu." in caption
    assert "50 images" in caption


def test_a_layer_of_zeros_is_drawn(layers: dict[str, Any]) -> None:
    for row in layers["activations"]["calibration"]["relu"].values():
        row["histogram"]["counts"] = [0.0] * 96
    assert canvas.png(draw(layers, "relu"))


def test_curves_of_variants_have_different_dashes(layers: dict[str, Any]) -> None:
    axes = panel(draw(layers, "dense"), "Activations")
    dashes = {str(x._unscaled_dash_pattern) for x in axes.lines if x.get_label() in QUANTIZED}
    assert len(dashes) == len(QUANTIZED)


def test_draw_layer_is_the_same_each_time(layers: dict[str, Any]) -> None:
    assert canvas.png(draw(layers, "dense")) == canvas.png(draw(layers, "dense"))
