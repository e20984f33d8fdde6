"""Conversions that changed the model are refused."""

from typing import Any

import numpy as np
import pytest

from resnet8.core.errors import ArtifactError, ParityError
from resnet8.models.parity import check_conversion, check_layers

ROWS = np.array([[0.7, 0.3], [0.4, 0.6]], np.float32)


def compared(original: Any, converted: Any = ROWS) -> dict[str, Any]:
    images = np.zeros((2, 32, 32, 3), np.uint8)
    return check_conversion(
        lambda _: np.float32(original), lambda _: converted, images, names=("Keras", "ONNX")
    )


def test_check_conversion_reports_difference_and_agreement() -> None:
    assert compared(ROWS, ROWS + np.float32(5e-5)) == {
        "n_images": 2,
        "agreement": 1.0,
        "max_abs_probability_diff": 1e-4,  # a bound of 5e-5
        "tolerance": 1e-4,
    }


@pytest.mark.parametrize(
    ("original", "converted", "message"),
    [
        (ROWS, ROWS[:, ::-1], r"of the ONNX model must be within 0\.0001 .*got 0\.4 on 2 images"),
        (ROWS, ROWS * np.float32("nan"), "got nan"),
        ([[2, 5]], ROWS, "of the Keras model must be probabilities.*sums up to 7.*softmax"),
        ([[-0.5, 1.5]], ROWS, "must be probabilities, got values from -0.5"),
        ([[np.nan, 1]], ROWS, "must be finite"),
    ],
)
def test_check_conversion_refuses(original: Any, converted: Any, message: str) -> None:
    with pytest.raises((ArtifactError, ParityError), match=message):
        compared(original, converted)


def test_check_layers_reports_each_pair_and_the_share_of_the_largest_value() -> None:
    rows = check_layers({"conv": {"keras_onnx": 2e-5, "onnx_torch": 1e-5}}, magnitudes={"conv": 4})
    assert rows == {
        "conv": {"keras_onnx": 4e-5, "onnx_torch": 4e-5, "magnitude": 4.0, "relative": 1e-5}
    }  # 1e-5 of the magnitude, below which is noise


@pytest.mark.parametrize("difference", [5e-4, float("nan")])
def test_check_layers_refuses_a_layer_that_differs(difference: float) -> None:
    with pytest.raises(
        ParityError, match="Layer conv must be the same in keras_onnx within 0.0001"
    ):
        check_layers({"conv": {"keras_onnx": difference}}, magnitudes={"conv": 4})
