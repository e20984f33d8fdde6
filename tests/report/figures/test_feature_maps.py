"""Figures of a layer's output for one image."""

import numpy as np
import pytest
from matplotlib.figure import Figure
from numpy.typing import NDArray

from resnet8.report.figures import canvas
from resnet8.report.figures.canvas import MINUS
from resnet8.report.figures.feature_maps import draw_feature_maps
from resnet8.report.figures.layer_rows import as_channels, channel_grid

EXACT = np.random.default_rng(0).normal(size=(4, 3, 3)).astype(np.float32)
OUTPUTS = {
    "keras_fp32": EXACT,
    "onnx_fp32": EXACT,
    "torch_fp32": EXACT + np.float32(0.001),
    "onnx_int8": EXACT.round(1),
    "torch_int8": EXACT.round(),
}


def test_channel_grid_reads_row_by_row_with_gaps() -> None:
    channels = np.arange(12, dtype=np.float32).reshape(3, 2, 2)
    assert channel_grid(channels, columns=2, gap=-1).tolist() == [
        [0, 1, -1, 4, 5],
        [2, 3, -1, 6, 7],
        [-1, -1, -1, -1, -1],
        [8, 9, -1, -1, -1],
        [10, 11, -1, -1, -1],
    ]


@pytest.mark.parametrize(
    ("shape", "grid"),
    [
        ((2, 3, 5), (3, 11)),
        ((4, 5), (4, 5)),
        ((7,), (2, 4)),  # single values have no gaps
        ((7, 1, 1), (2, 4)),
        ((3,), (1, 3)),
        ((), (1, 1)),
    ],
)
def test_channel_grid_holds_every_value_of_any_shape(
    shape: tuple[int, ...], grid: tuple[int, int]
) -> None:
    values = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    pixels = channel_grid(as_channels(values), columns=4, gap=np.nan)
    assert pixels.shape == grid
    assert sorted(pixels[~np.isnan(pixels)].tolist()) == values.ravel().tolist()


def draw(outputs: dict[str, NDArray[np.float32]]) -> Figure:
    return draw_feature_maps("conv2d_3.0", outputs, image="test image 0")


def titles(figure: Figure) -> list[list[str]]:
    return [[text.get_text() for text in axes.texts] for axes in figure.axes]


def test_feature_maps_show_float_quantized_and_errors_on_two_scales() -> None:
    figure = draw(OUTPUTS)
    assert titles(figure) == [
        ["onnx_fp32", "onnx_int8", "torch_int8"],
        ["", f"onnx_int8 {MINUS} onnx_fp32", f"torch_int8 {MINUS} torch_fp32"],
    ]
    above, below = (axes.images[0] for axes in figure.axes)
    error = OUTPUTS["torch_int8"] - OUTPUTS["torch_fp32"]
    reach = max(float(np.abs(x).max()) for x in (error, OUTPUTS["onnx_int8"] - EXACT))
    ends = {"value": (float(EXACT.min()), float(EXACT.max())), "difference": (-reach, reach)}
    assert [above.get_clim(), below.get_clim()] == list(ends.values())
    pixels = np.ma.filled(below.get_array(), np.nan)
    step = pixels.shape[1] // 3
    assert np.isnan(pixels[:, :step]).all()  # the float variant has no error
    np.testing.assert_array_equal(pixels[:3, 2 * step :][:, :3], error[0])
    np.testing.assert_array_equal(pixels[4:, 2 * step :][:, 4:7], error[3])
    figure.canvas.draw()
    strips = [strip for axes in figure.axes for strip in axes.child_axes]
    assert {x.get_title("left"): [t.get_text() for t in x.get_yticklabels()] for x in strips} == {
        name: [f"{end:.4g}".replace("-", MINUS) for end in both] for name, both in ends.items()
    }


@pytest.mark.parametrize("variant", ["keras_fp32", "torch_int8"])
def test_feature_maps_of_one_variant_have_no_errors(variant: str) -> None:
    assert titles(draw({variant: OUTPUTS[variant]})) == [[variant]]


def test_feature_maps_of_constant_values_are_drawn() -> None:
    same = np.zeros((2, 3, 3), np.float32)
    assert canvas.png(draw({"onnx_fp32": same, "onnx_int8": same}))
