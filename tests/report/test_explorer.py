"""What the layer explorer is given."""

from typing import Any

import numpy as np
import pytest

from resnet8.report.explorer import explorer
from tests.report_inputs import FLOAT, LAYERS, make_inputs

RANKINGS = {"onnx_int8": ["conv", "relu", "dense"], "torch_int8": ["conv"]}


def found(rankings: dict[str, list[str]] = RANKINGS, **changes: Any) -> dict[str, Any]:
    inputs = make_inputs(**changes)
    return explorer(
        inputs.layers, inputs.captures, variants=list(inputs.predictions), rankings=rankings
    )


def test_explorer_starts_at_the_worst_layer_that_a_variant_shows() -> None:
    # onnx_int8 computes the worst one, conv, together with relu.
    assert found()["start"] == {"layer": "relu", "a": "onnx_fp32", "b": "onnx_int8"}


def test_explorer_starts_with_float_variants_when_there_are_no_others() -> None:
    start = found({}, quantized=())["start"]
    assert start == {"layer": "conv", "a": "keras_fp32", "b": "torch_fp32"}


def test_explorer_says_what_the_data_is() -> None:
    assert found()["data"] == {
        "calibration": "calibration set (50 images)",
        "input": "chosen input (test image 0)",
    }


def test_explorer_stores_a_picture_once() -> None:
    inputs = make_inputs()
    captures = dict.fromkeys(FLOAT, inputs.captures["keras_fp32"])
    maps = explorer(inputs.layers, captures, variants=list(captures), rankings={})["maps"]
    assert len(maps["pictures"]) == len(LAYERS)
    assert maps["layers"]["conv"]["picture"] == dict.fromkeys(captures, 0)


def test_explorer_draws_one_scale_for_all_variants() -> None:
    inputs = make_inputs()
    values = np.concatenate([x["conv"].ravel() for x in inputs.captures.values()])
    scale = found()["maps"]["layers"]["conv"]
    expected = np.percentile(values, [0.5, 99.5])
    np.testing.assert_allclose([scale["low"], scale["high"]], expected, rtol=5e-3)


def test_explorer_says_which_channels_are_drawn() -> None:
    layers = found()["maps"]["layers"]
    assert layers["conv"]["what"] == "the first 16 of 20 channels"
    assert layers["dense"]["what"] == "all 10 values, a square each"


def test_explorer_draws_fewer_channels_where_a_page_would_get_too_large(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    large = sum(map(len, found()["maps"]["pictures"]))
    monkeypatch.setattr("resnet8.report.explorer.MAX_MAP_BYTES", large - 1)
    maps = found()["maps"]
    assert maps["layers"]["conv"]["what"] == "the first 4 of 20 channels"
    assert sum(map(len, maps["pictures"])) < large
