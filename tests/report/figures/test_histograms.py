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
ACTIVATIONS, ERROR, WEIGHTS, BIASES = TITLES = (
    "Activations", "Error of activations", "Weights (4 × 3 × 3 × 3)", "Biases (4)",
)  # fmt: skip


@pytest.fixture
def layers() -> dict[str, Any]:
    return make_inputs(quantized=QUANTIZED).results["layers"]


def draw(layers: dict[str, Any], layer: str = "dense") -> Figure:
    return draw_layer(layer, layers, data="calibration")


def row(layers: dict[str, Any], variant: str) -> dict[str, Any]:
    row: dict[str, Any] = layers["activations"]["calibration"]["dense"][variant]
    return row


def panels(figure: Figure) -> dict[str, Axes]:
    return {axes.get_legend().get_title().get_text(): axes for axes in figure.axes}


def steps(axes: Axes, variant: str) -> Any:
    """Heights, edges and floor of a histogram."""
    (patch,) = (x for x in axes.patches if x.get_label().startswith(f"{variant}: "))
    return patch.get_data()


def brackets(axes: Axes) -> dict[str, list[float]]:
    return {line.get_gid(): list(line.get_xdata()) for line in axes.lines}


def legend(axes: Axes) -> dict[str, str]:
    entries = (text.get_text().split(": ", maxsplit=1) for text in axes.get_legend().get_texts())
    return dict(entries)


def test_draw_layer_has_a_panel_for_each_kind_of_value(layers: dict[str, Any]) -> None:
    assert tuple(panels(draw(layers))) == TITLES
    relu = panels(draw(layers, "relu"))
    assert tuple(relu) == TITLES[:2]
    assert list(legend(relu[ACTIVATIONS])) == ["onnx_fp32", *QUANTIZED]
    floats = draw(make_inputs(quantized=()).results["layers"], "relu")
    assert {title: legend(axes) for title, axes in panels(floats).items()} == {
        ACTIVATIONS: {"onnx_fp32": "zeros 12.5%"}
    }
    assert "8 bits" not in floats.texts[1].get_text()


@pytest.mark.parametrize("variant", ["onnx_fp32", "torch_int8"])
def test_histograms_are_shares_of_all_values_over_their_bins(
    layers: dict[str, Any], variant: str
) -> None:
    row(layers, variant)["histogram"] = {"low": -2.0, "high": 6.0, "counts": [250.0, 0, 1, 7]}
    axes = panels(draw(layers))[ACTIVATIONS]
    heights, edges, floor = steps(axes, variant)
    assert edges.tolist() == [-2, 0, 2, 4, 6]
    np.testing.assert_allclose(heights[[0, 2]], [0.25, 0.001])  # of 1,000 values
    assert heights[1] == floor < axes.get_ylim()[0] < 0.001  # an empty bin


def test_brackets_span_the_clip_ranges_above_all_curves(layers: dict[str, Any]) -> None:
    row(layers, "onnx_int8")["statistics"] |= {"clip_low": -50.0, "clip_high": 70.0}
    row(layers, "torch_int8")["statistics"]["dtype"] = "float32"
    figure = draw(layers)
    axes = panels(figure)[ACTIVATIONS]
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
    ends = brackets(panels(draw(layers))[WEIGHTS]).get("onnx_uint8")
    assert ends == (expected and pytest.approx(expected))


@pytest.mark.parametrize(
    ("title", "changes", "text"),
    [
        (ACTIVATIONS, {"zeros_share": 0.532, "clipped_share": 0.00031},
         "zeros 53.2%, clipped 0.031%, SQNR 28.0 dB"),
        (ACTIVATIONS, {"clips_on_purpose": "below"},
         "zeros 12.5%, clipped 1% (on purpose), SQNR 28.0 dB"),
        (ACTIVATIONS, {"clipped_share": None, "dtype": "int8"}, "zeros 12.5%, int8, SQNR 28.0 dB"),
        (ACTIVATIONS, {"zeros_share": 1e-7, "sqnr_db": None},
         "zeros <0.0001%, clipped 1%, no error"),
        (ERROR, {"sqnr_db": None, "n_values": 10**9}, "no error, exact 100%"),
        (WEIGHTS, {}, "zeros 12.5%, int8, SQNR 45.0 dB"),
    ],
)  # fmt: skip
def test_legend_has_zeros_clipping_and_sqnr(
    layers: dict[str, Any], title: str, changes: dict[str, Any], text: str
) -> None:
    row(layers, "onnx_int8")["statistics"] |= changes
    assert legend(panels(draw(layers))[title])["onnx_int8"] == text


def test_caption_gives_the_reason_why_a_variant_is_absent(layers: dict[str, Any]) -> None:
    caption = draw(layers, "conv").texts[1].get_text().replace("\n", " ")
    assert "over 50 calibration images" in caption
    assert "Not in onnx_int8: computed together with relu." in caption


def test_a_layer_of_zeros_is_drawn(layers: dict[str, Any]) -> None:
    for variant in layers["activations"]["calibration"]["relu"].values():
        variant["histogram"]["counts"] = [0.0] * 96
    assert canvas.png(draw(layers, "relu"))
