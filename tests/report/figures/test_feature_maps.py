"""Pictures of what a layer computes from one image."""

import numpy as np
import pytest
from numpy.typing import NDArray

from resnet8.report.figures import canvas
from resnet8.report.figures.canvas import Axes, Figure
from resnet8.report.figures.feature_maps import as_maps, draw_feature_maps, feature_map_grid

NAN = np.nan


def test_feature_map_grid_reads_row_by_row_with_gaps() -> None:
    maps = np.arange(12, dtype=np.float32).reshape(3, 2, 2)
    np.testing.assert_array_equal(
        feature_map_grid(maps),
        [
            [0, 1, NAN, 4, 5],
            [2, 3, NAN, 6, 7],
            [NAN, NAN, NAN, NAN, NAN],
            [8, 9, NAN, NAN, NAN],
            [10, 11, NAN, NAN, NAN],
        ],
    )


def test_feature_map_grid_of_one_channel_is_the_channel() -> None:
    maps = np.arange(6, dtype=np.float32).reshape(1, 2, 3)
    np.testing.assert_array_equal(feature_map_grid(maps), maps[0])


def test_feature_map_grid_of_single_values_has_no_gaps() -> None:
    maps = np.arange(5, dtype=np.float32).reshape(5, 1, 1)
    np.testing.assert_array_equal(feature_map_grid(maps), [[0, 1, 2], [3, 4, NAN]])


@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 3, 5), (16, 8, 8), (17, 4, 2), (64, 1, 1)])
def test_feature_map_grid_holds_every_value_once(shape: tuple[int, ...]) -> None:
    maps = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    grid = feature_map_grid(maps)
    assert sorted(grid[~np.isnan(grid)].tolist()) == maps.ravel().tolist()


def test_feature_map_grid_leaves_its_argument_alone() -> None:
    maps = np.ones((3, 2, 2), np.float32)
    feature_map_grid(maps)[:] = 7
    assert (maps == 1).all()


@pytest.mark.parametrize(
    ("shape", "expected"),
    [((3, 4, 5), (3, 4, 5)), ((4, 5), (1, 4, 5)), ((6,), (6, 1, 1)), ((), (1, 1, 1))],
)
def test_as_maps_has_three_axes(shape: tuple[int, ...], expected: tuple[int, ...]) -> None:
    assert as_maps(np.zeros(shape, np.float32)).shape == expected


@pytest.fixture
def outputs() -> dict[str, NDArray[np.float32]]:
    rng = np.random.default_rng(0)
    exact = rng.normal(size=(4, 3, 3)).astype(np.float32)
    return {
        "keras_fp32": exact,
        "onnx_fp32": exact,
        "torch_fp32": exact + np.float32(0.001),
        "onnx_int8": exact.round(1),
        "torch_int8": exact.round(),
    }


def draw(outputs: dict[str, NDArray[np.float32]]) -> Figure:
    return draw_feature_maps("conv2d_3.0", outputs, image="test image 0")


def panels(figure: Figure) -> dict[str, Axes]:
    return {title: axes for axes in figure.axes if (title := axes.get_title("left"))}


def test_draw_feature_maps_shows_float_quantized_and_differences(
    outputs: dict[str, NDArray[np.float32]],
) -> None:
    assert list(panels(draw(outputs))) == [
        "onnx_fp32", "onnx_int8", "torch_int8",
        "onnx_int8 \N{MINUS SIGN} onnx_fp32", "torch_int8 \N{MINUS SIGN} torch_fp32",
    ]  # fmt: skip


def test_draw_feature_maps_takes_the_difference_from_the_model_that_was_quantized(
    outputs: dict[str, NDArray[np.float32]],
) -> None:
    axes = panels(draw(outputs))["torch_int8 \N{MINUS SIGN} torch_fp32"]
    shown = np.ma.filled(axes.images[0].get_array(), NAN)
    difference = outputs["torch_int8"] - outputs["torch_fp32"]
    np.testing.assert_array_equal(shown[:3, :3], difference[0])
    np.testing.assert_array_equal(shown[4:, 4:], difference[3])


def test_draw_feature_maps_has_one_scale_for_values_and_one_for_differences(
    outputs: dict[str, NDArray[np.float32]],
) -> None:
    found = {name: axes.images[0].get_clim() for name, axes in panels(draw(outputs)).items()}
    exact = outputs["onnx_fp32"]
    ends = (float(exact.min()), float(exact.max()))
    assert [found[name] for name in ("onnx_fp32", "onnx_int8", "torch_int8")] == [ends] * 3
    reach = max(
        float(np.abs(outputs["onnx_int8"] - exact).max()),
        float(np.abs(outputs["torch_int8"] - outputs["torch_fp32"]).max()),
    )
    assert set(list(found.values())[3:]) == {(-reach, reach)}


def test_draw_feature_maps_writes_the_ends_of_both_scales(
    outputs: dict[str, NDArray[np.float32]],
) -> None:
    outputs["onnx_fp32"][0, 0, 0], outputs["onnx_fp32"][1, 1, 1] = -7.25, 9.5
    texts = [text.get_text() for axes in draw(outputs).axes for text in axes.texts]
    assert {"value", "difference", "\N{MINUS SIGN}7.25", "9.5"} <= set(texts)


def test_draw_feature_maps_without_quantized_variants_shows_float(
    outputs: dict[str, NDArray[np.float32]],
) -> None:
    assert list(panels(draw({"keras_fp32": outputs["keras_fp32"]}))) == ["keras_fp32"]


def test_draw_feature_maps_without_a_float_model_shows_no_difference(
    outputs: dict[str, NDArray[np.float32]],
) -> None:
    assert list(panels(draw({"torch_int8": outputs["torch_int8"]}))) == ["torch_int8"]


def test_draw_feature_maps_shows_values_that_are_all_the_same() -> None:
    same = np.zeros((2, 3, 3), np.float32)
    assert canvas.png(draw({"onnx_fp32": same, "onnx_int8": same}))


def test_draw_feature_maps_shows_pixels_as_they_are(
    outputs: dict[str, NDArray[np.float32]],
) -> None:
    with canvas.styled():
        (image,) = panels(draw(outputs))["onnx_int8"].images
    assert image.get_interpolation() == "nearest"


def test_draw_feature_maps_is_the_same_each_time(outputs: dict[str, NDArray[np.float32]]) -> None:
    assert canvas.png(draw(outputs)) == canvas.png(draw(outputs))
