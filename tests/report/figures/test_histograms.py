"""Figures of how values are distributed."""

from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from resnet8.report.figures import canvas
from resnet8.report.figures.canvas import Axes
from resnet8.report.figures.histograms import draw_layer
from tests.report_inputs import make_inputs

QUANTIZED = ("onnx_int8", "onnx_uint8", "torch_int8")
TITLES = ["Activations", "Error of activations", "Weights (4 × 3 × 3 × 3)", "Biases (4)"]


@pytest.fixture
def layers() -> dict[str, Any]:
    return make_inputs(quantized=QUANTIZED).results["layers"]


def draw(layers: dict[str, Any], layer: str = "dense") -> Figure:
    return draw_layer(layer, layers, data="calibration")


def row(layers: dict[str, Any], variant: str) -> dict[str, Any]:
    found: dict[str, Any] = layers["activations"]["calibration"]["dense"][variant]
    return found


def panel(figure: Figure, title: str = "Activations") -> Axes:
    (axes,) = (axes for axes in figure.axes if axes.get_title("left").startswith(title))
    return axes


def steps(axes: Axes, variant: str) -> Any:
    """Heights, edges and floor of a histogram."""
    (patch,) = (x for x in axes.patches if x.get_label() == variant)
    return patch.get_data()


def brackets(axes: Axes) -> dict[str, list[float]]:
    lines = {str(x.get_label()): x.get_xdata() for x in axes.lines}
    return {x.removesuffix(" range"): list(ends) for x, ends in lines.items() if " range" in x}


def texts(axes: Axes) -> list[str]:
    return [text.get_text() for text in axes.get_legend().get_texts()]


@pytest.mark.parametrize(("layer", "titles"), [("dense", TITLES), ("relu", TITLES[:2])])
def test_draw_layer_has_a_panel_for_each_kind_of_value(
    layers: dict[str, Any], layer: str, titles: list[str]
) -> None:
    figure = draw(layers, layer)
    assert [axes.get_title("left") for axes in figure.axes] == titles
    names = [text.partition(":")[0] for text in texts(panel(figure))]
    assert names == ["onnx_fp32", *QUANTIZED]


def test_draw_layer_without_quantized_variants_draws_float() -> None:
    figure = draw(make_inputs(quantized=()).results["layers"], "relu")
    assert [axes.get_title("left") for axes in figure.axes] == ["Activations"]
    assert texts(figure.axes[0]) == ["onnx_fp32: zeros 12.5%"]
    assert "8 bits" not in figure.texts[1].get_text()


@pytest.mark.parametrize("variant", ["onnx_fp32", "torch_int8"])
def test_histograms_are_shares_of_all_values_over_their_bins(
    layers: dict[str, Any], variant: str
) -> None:
    row(layers, variant)["histogram"] = {"low": -2.0, "high": 6.0, "counts": [250.0, 0, 1, 7]}
    axes = panel(draw(layers))
    heights, edges, floor = steps(axes, variant)
    assert edges.tolist() == [-2, 0, 2, 4, 6]
    np.testing.assert_allclose(heights[[0, 2]], [0.25, 0.001])  # of 1,000 values
    assert heights[1] == floor < axes.get_ylim()[0] < 0.001  # an empty bin


def test_brackets_span_the_clip_ranges_above_all_curves(layers: dict[str, Any]) -> None:
    row(layers, "onnx_int8")["statistics"] |= {"clip_low": -50.0, "clip_high": 70.0}
    row(layers, "torch_int8")["statistics"]["dtype"] = "float32"
    figure = draw(layers)
    axes = panel(figure)
    assert brackets(axes) == {"onnx_int8": [-50.0, 70.0], "onnx_uint8": [-3.0, 4.96875]}
    low, high = axes.get_xlim()
    assert (low < -50) & (high > 70)
    figure.canvas.draw()
    lowest = min(x.get_window_extent().y0 for x in axes.lines)
    tops = [max(steps(axes, variant)[0]) for variant in QUANTIZED]
    assert axes.transData.transform([0, max(tops)])[1] < lowest


@pytest.mark.parametrize(
    ("dtype", "zero_point", "expected"),
    [("int8", 0, [-2.56, 2.54]), ("uint8", 128, [-2.56, 2.54]), ("int32", 0, None)],
)
def test_brackets_of_parameters_span_the_channel_with_the_widest_range(
    layers: dict[str, Any], dtype: str, zero_point: int, expected: list[float] | None
) -> None:
    weight = layers["parameters"]["dense"]["weight"]["onnx_uint8"]
    weight |= {"scale": [0.01, 0.02, 0.001, 0.01], "zero_point": [zero_point] * 4}
    weight["statistics"]["dtype"] = dtype
    found = brackets(panel(draw(layers), "Weights")).get("onnx_uint8")
    assert found == (expected and pytest.approx(expected))


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"zeros_share": 0.532, "clipped_share": 0.00031}, "zeros 53.2%, clipped 0.031%"),
        ({"clips_on_purpose": "below"}, "clipped 1% (on purpose), SQNR 28.0 dB"),
        ({"clipped_share": None, "dtype": "int8"}, "zeros 12.5%, int8, SQNR 28.0 dB"),
        ({"zeros_share": 0.0}, "zeros 0%"),
        ({"zeros_share": 1e-7}, "zeros <0.0001%"),
        ({"zeros_share": 1.0}, "zeros 100%"),
        ({"sqnr_db": None}, "no error"),
    ],
)
def test_legend_tells_zeros_clipping_and_sqnr(
    layers: dict[str, Any], changes: dict[str, Any], text: str
) -> None:
    row(layers, "onnx_int8")["statistics"] |= changes
    assert text in texts(panel(draw(layers)))[1]


def test_legend_of_errors_tells_the_share_of_exact_values(layers: dict[str, Any]) -> None:
    row(layers, "onnx_int8")["statistics"]["sqnr_db"] = None
    row(layers, "onnx_int8")["error_histogram"]["counts"] = [0.0] * 96
    assert "onnx_int8: no error, exact 100%" in texts(panel(draw(layers), "Error"))


def test_caption_gives_the_reason_why_a_variant_is_absent(layers: dict[str, Any]) -> None:
    caption = draw(layers, "conv").texts[1].get_text().replace("\n", " ")
    assert "over 50 calibration images" in caption
    assert "Not in onnx_int8: computed together with relu." in caption


def test_a_layer_of_zeros_is_drawn(layers: dict[str, Any]) -> None:
    for variant in layers["activations"]["calibration"]["relu"].values():
        variant["histogram"]["counts"] = [0.0] * 96
    assert canvas.png(draw(layers, "relu"))
