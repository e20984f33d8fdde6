"""Conversions that changed the model are refused."""

import numpy as np
import pytest

from resnet8.core.errors import ArtifactError, ParityError
from resnet8.models.parity import check_layers, check_parity, check_probabilities

ROWS = np.array([[0.7, 0.3], [0.4, 0.6]], np.float32)


def test_check_parity_reports_difference_and_agreement() -> None:
    found = check_parity(ROWS, ROWS + np.float32(5e-5), tolerance=1e-4, name="x")
    assert found.max_abs_probability_diff == pytest.approx(5e-5, rel=1e-2)
    assert (found.n_images, found.agreement, found.tolerance) == (2, 1.0, 1e-4)


def test_check_parity_refuses_a_difference_above_the_tolerance() -> None:
    other = ROWS[:, ::-1]
    with pytest.raises(
        ParityError, match=r"of the ONNX model must be within 0\.0001 .*got 0\.4 on 2 images"
    ):
        check_parity(ROWS, other, tolerance=1e-4, name="the ONNX model")


def test_check_parity_refuses_nan() -> None:
    with pytest.raises(ParityError, match="got nan"):
        check_parity(ROWS, ROWS * np.float32("nan"), tolerance=1e-4, name="x")


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (np.array([[2.0, 5.0]], np.float32), "must be probabilities.*sums up to 7.*softmax"),
        (np.array([[-0.5, 1.5]], np.float32), "must be probabilities, got values from -0.5"),
        (np.array([[np.nan, 1.0]], np.float32), "must be finite"),
    ],
)
def test_check_probabilities_refuses_what_is_no_distribution(
    rows: np.ndarray, message: str
) -> None:
    with pytest.raises(ArtifactError, match=message):
        check_probabilities(rows, name="the Keras model")


def test_check_probabilities_takes_a_distribution() -> None:
    check_probabilities(ROWS, name="x")


def test_check_layers_reports_each_pair_and_the_share_of_the_largest_value() -> None:
    found = check_layers({"conv": {"keras_onnx": 2e-5, "onnx_torch": 1e-5}}, magnitudes={"conv": 4})
    assert found == {
        "conv": {"keras_onnx": 4e-5, "onnx_torch": 4e-5, "magnitude": 4.0, "relative": 1e-5}
    }  # 1e-5 of the magnitude, below which is noise


@pytest.mark.parametrize("difference", [5e-4, float("nan")])
def test_check_layers_refuses_a_layer_that_differs(difference: float) -> None:
    with pytest.raises(
        ParityError, match="Layer conv must be the same in keras_onnx within 0.0001"
    ):
        check_layers({"conv": {"keras_onnx": difference}}, magnitudes={"conv": 4})
