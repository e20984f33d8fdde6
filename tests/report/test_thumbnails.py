"""Small pictures, decoded again with Pillow."""

import base64
import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from resnet8.report.thumbnails import GAP, feature_maps, grey_channels, png_uri
from tests.report_inputs import FLOAT, LAYERS, make_inputs

CAPTURES = make_inputs().captures


def test_feature_maps_are_on_one_scale_and_stored_once() -> None:
    values = np.concatenate([x["conv"].ravel() for x in CAPTURES.values()])
    layers = feature_maps(CAPTURES, LAYERS)["layers"]
    ends = [layers["conv"]["low"], layers["conv"]["high"]]
    np.testing.assert_allclose(ends, np.percentile(values, [0.5, 99.5]), rtol=5e-3)
    assert layers["conv"]["content"] == "the first 16 of 20 channels"
    assert layers["dense"]["content"] == "all 10 values, a square each"
    same = feature_maps(dict.fromkeys(FLOAT, CAPTURES["keras_fp32"]), LAYERS)
    assert len(same["pictures"]) == len(LAYERS)
    assert same["layers"]["conv"]["picture"] == dict.fromkeys(FLOAT, 0)


def test_feature_maps_have_fewer_channels_if_a_page_would_get_too_large(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    large = sum(map(len, feature_maps(CAPTURES, LAYERS)["pictures"]))
    monkeypatch.setattr("resnet8.report.thumbnails.MAX_MAP_BYTES", large - 1)
    maps = feature_maps(CAPTURES, LAYERS)
    assert maps["layers"]["conv"]["content"] == "the first 4 of 20 channels"
    assert sum(map(len, maps["pictures"])) < large


def test_png_uri_keeps_all_pixels_and_makes_gaps_transparent() -> None:
    colours = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    for pixels, transparent in ((colours, None), (np.array([[GAP, 1, 255]], np.uint8), GAP)):
        kind, _, content = png_uri(pixels).partition(",")
        assert kind == "data:image/png;base64"
        with Image.open(io.BytesIO(base64.b64decode(content))) as picture:
            np.testing.assert_array_equal(np.array(picture), pixels)
            assert picture.info.get("transparency") == transparent


@pytest.mark.parametrize(
    ("values", "ends", "expected"),
    [
        ([[[-9.0, 0.0], [1.0, 9.0]]], (0, 1), [[1, 1], [255, 255]]),  # beyond the scale
        ([2.0] * 20, (0, 1), [[255] * 16, [255] * 4 + [GAP] * 12]),  # single values
        ([[[2.0]], [[0.0]]], (0, 1), [[255, 1]]),
        (np.zeros((1, 200, 100)), (0, 0), [[1] * 25] * 50),  # thinned out, constant
        # Five channels, 1 + 254 * channel / 5 rounded, four in a row; the sixth is left out.
        (np.arange(6.0)[:, None, None] * np.ones((1, 2)), (0, 5), [
            [1, 1, GAP, 52, 52, GAP, 103, 103, GAP, 153, 153],
            [GAP] * 11,
            [204, 204] + [GAP] * 9,
        ]),
    ],
)  # fmt: skip
def test_grey_channels_of_any_shape(
    values: Any, ends: tuple[float, float], expected: list[list[int]]
) -> None:
    low, high = ends
    grid = grey_channels(np.array(values, np.float32), low=low, high=high, channels=5)
    assert grid.tolist() == expected
