"""Data of the layer explorer, and its pictures, decoded again with Pillow."""

import base64
import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from resnet8.report.explorer import explorer
from resnet8.report.thumbnails import GAP, grey_channels, png_uri
from tests.report_inputs import FLOAT, LAYERS, make_inputs

RANKINGS = {"onnx_int8": ["conv", "relu", "dense"], "torch_int8": ["conv"]}


def explore(rankings: dict[str, list[str]] = RANKINGS, **changes: Any) -> dict[str, Any]:
    inputs = make_inputs(**changes)
    return explorer(
        inputs.results["layers"],
        inputs.captures,
        variants=list(inputs.predictions),
        rankings=rankings,
    )


def test_explorer_starts_at_the_worst_layer_that_a_variant_has() -> None:
    # onnx_int8 computes the worst one, conv, together with relu.
    assert explore()["start"] == {"layer": "relu", "a": "onnx_fp32", "b": "onnx_int8"}
    start = explore({}, quantized=())["start"]
    assert start == {"layer": "conv", "a": "keras_fp32", "b": "torch_fp32"}


def test_explorer_stores_a_picture_once() -> None:
    inputs = make_inputs()
    captures = dict.fromkeys(FLOAT, inputs.captures["keras_fp32"])
    found = explorer(inputs.results["layers"], captures, variants=list(captures), rankings={})
    assert len(found["maps"]["pictures"]) == len(LAYERS)
    assert found["maps"]["layers"]["conv"]["picture"] == dict.fromkeys(captures, 0)


def test_explorer_draws_all_variants_on_one_scale() -> None:
    values = np.concatenate([x["conv"].ravel() for x in make_inputs().captures.values()])
    layers = explore()["maps"]["layers"]
    ends = [layers["conv"]["low"], layers["conv"]["high"]]
    np.testing.assert_allclose(ends, np.percentile(values, [0.5, 99.5]), rtol=5e-3)
    assert layers["conv"]["what"] == "the first 16 of 20 channels"
    assert layers["dense"]["what"] == "all 10 values, a square each"


def test_explorer_draws_fewer_channels_if_a_page_would_get_too_large(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    large = sum(map(len, explore()["maps"]["pictures"]))
    monkeypatch.setattr("resnet8.report.explorer.MAX_MAP_BYTES", large - 1)
    maps = explore()["maps"]
    assert maps["layers"]["conv"]["what"] == "the first 4 of 20 channels"
    assert sum(map(len, maps["pictures"])) < large


def test_png_uri_keeps_all_pixels_and_makes_a_grey_level_transparent() -> None:
    colours = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    for pixels, transparent in ((colours, None), (np.array([[0, 1, 255]], np.uint8), 0)):
        kind, _, content = png_uri(pixels, transparent=transparent).partition(",")
        assert kind == "data:image/png;base64"
        with Image.open(io.BytesIO(base64.b64decode(content))) as picture:
            np.testing.assert_array_equal(np.array(picture), pixels)
            assert picture.info.get("transparency") == transparent


def test_grey_channels_are_in_rows_with_gaps() -> None:
    values = np.arange(6, dtype=np.float32).reshape(6, 1, 1) * np.ones((1, 2, 2), np.float32)
    grid = grey_channels(values, low=0, high=5, channels=5)
    assert grid.shape == (5, 11)  # two rows of 2 pixels, four columns of 2, and gaps
    assert grid[0, [0, 3, 6, 9]].tolist() == [1, 52, 103, 153]  # 1 + 254 * channel / 5, rounded
    assert (grid[3, 0], *grid[3, 3:]) == (204, *[GAP] * 8)  # the fifth channel alone


@pytest.mark.parametrize(
    ("values", "ends", "expected"),
    [
        ([[[-9.0, 0.0], [1.0, 9.0]]], (0, 1), [[1, 1], [255, 255]]),  # beyond the scale
        ([2.0] * 20, (0, 1), [[255] * 16, [255] * 4 + [GAP] * 12]),  # single values
        ([[[2.0]], [[0.0]]], (0, 1), [[255, 1]]),
        (np.zeros((1, 200, 100)), (0, 0), [[1] * 25] * 50),  # thinned out, constant
    ],
)
def test_grey_channels_of_any_shape(
    values: Any, ends: tuple[float, float], expected: list[list[int]]
) -> None:
    low, high = ends
    grid = grey_channels(np.array(values, np.float32), low=low, high=high, channels=1)
    assert grid.tolist() == expected
