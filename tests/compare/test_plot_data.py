"""Tables behind DVC's plots."""

import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import confusion_matrix
from statsmodels.stats.proportion import proportion_confint

from resnet8.compare.plot_data import (
    Confusion,
    LayerSensitivity,
    LayerSqnr,
    class_accuracies,
    confusions,
    sensitivities,
    sqnr_profile,
)
from resnet8.core.files import csv_bytes

NAMES = ["cat", "dog", "frog"]


@pytest.fixture
def labels() -> NDArray[np.int64]:
    """40 images of cats and dogs; there is no frog."""
    return np.arange(40) % 2


@pytest.fixture
def predictions() -> dict[str, NDArray[np.float32]]:
    rng = np.random.default_rng(0)
    return {
        name: rng.dirichlet([1, 1, 1], 40).astype(np.float32) for name in ("onnx_int8", "keras")
    }


def test_class_accuracies_are_percentages_of_each_class(
    predictions: dict[str, Any], labels: NDArray[np.int64]
) -> None:
    rows = class_accuracies(predictions, labels, label_names=NAMES)
    for row in rows:
        of_class = predictions[row.variant][labels == NAMES.index(row.class_name)]
        right = sum(int(p.argmax() == NAMES.index(row.class_name)) for p in of_class)
        assert row.accuracy_percent == pytest.approx(100 * right / 20)


def test_class_accuracies_have_wilson_intervals(
    predictions: dict[str, Any], labels: NDArray[np.int64]
) -> None:
    for row in class_accuracies(predictions, labels, label_names=NAMES):
        low, high = proportion_confint(row.accuracy_percent / 5, 20, method="wilson")
        # Both ends are rounded to four decimals.
        assert row.low_percent == pytest.approx(100 * low, abs=5.1e-5)
        assert row.high_percent == pytest.approx(100 * high, abs=5.1e-5)


def test_class_accuracies_leave_out_classes_without_images(
    predictions: dict[str, Any], labels: NDArray[np.int64]
) -> None:
    rows = class_accuracies(predictions, labels, label_names=NAMES)
    assert [(row.variant, row.class_name) for row in rows] == [
        ("onnx_int8", "cat"), ("onnx_int8", "dog"), ("keras", "cat"), ("keras", "dog"),
    ]  # fmt: skip


def test_class_accuracies_of_a_perfect_model_stay_below_100_percent_at_the_low_end(
    labels: NDArray[np.int64],
) -> None:
    perfect = np.eye(3, dtype=np.float32)[labels]
    row = class_accuracies({"keras": perfect}, labels, label_names=NAMES)[0]
    assert row.accuracy_percent == row.high_percent == 100
    assert row.low_percent < 90


def test_confusions_count_like_scikit_learn(
    predictions: dict[str, Any], labels: NDArray[np.int64]
) -> None:
    rows = confusions(predictions, labels, label_names=NAMES)
    for name, probabilities in predictions.items():
        counts = [row.images for row in rows if row.variant == name]
        expected = confusion_matrix(labels, probabilities.argmax(axis=1), labels=[0, 1, 2])
        assert counts == expected.ravel().tolist()


def test_confusions_name_the_actual_class_before_the_predicted_one() -> None:
    cat_taken_for_dog = {"keras": np.array([[0.1, 0.7, 0.2]], dtype=np.float32)}
    rows = confusions(cat_taken_for_dog, np.array([0]), label_names=NAMES)
    assert [row for row in rows if row.images] == [Confusion("keras", "cat", "dog", 1)]
    assert len(rows) == 9


def inspection() -> dict[str, Any]:
    def statistics(sqnr_db: float | None) -> dict[str, Any]:
        return {"statistics": {"sqnr_db": sqnr_db}}

    calibration = {
        "dense": {"onnx_int8": statistics(31.5), "torch_int8": statistics(30.0)},
        "conv": {"onnx_int8": statistics(28.0), "keras_fp32": {"statistics": {}}},
        "permute": {"onnx_int8": statistics(None), "torch_int8": statistics(66.0)},
    }
    return {
        "layers": ["permute", "conv", "dense"],
        "activations": {"calibration": calibration},
    }


def test_sqnr_profile_goes_from_input_to_output() -> None:
    rows = sqnr_profile(inspection(), variants=["onnx_int8"])
    assert rows == [
        LayerSqnr("onnx_int8", "conv", 1, 28.0),
        LayerSqnr("onnx_int8", "dense", 2, 31.5),
    ]


def test_sqnr_profile_leaves_out_layers_that_a_variant_lacks() -> None:
    rows = sqnr_profile(inspection(), variants=["torch_int8"])
    assert [(row.layer, row.position) for row in rows] == [("permute", 0), ("dense", 2)]


def test_sqnr_profile_of_no_variant_is_empty() -> None:
    assert sqnr_profile(inspection(), variants=[]) == []


def test_sensitivities_are_by_rank_in_the_order_of_variants() -> None:
    def row(rank: int, divergence: float) -> dict[str, Any]:
        alone = {"kl_divergence": divergence, "agreement": 0.99}
        spared = {"kl_divergence": 0.5, "agreement": 0.9}
        return {"rank": rank, "alone": alone, "spared": spared}

    found = {
        "variants": {
            "onnx_int8": {"layers": {"a": row(2, 0.1), "b": row(1, 0.2)}},
            "torch_int8": {"layers": {"a": row(1, 0.3)}},
        }
    }
    assert sensitivities(found, variants=["torch_int8", "onnx_int8"]) == [
        LayerSensitivity("torch_int8", "a", 1, 0.3, 0.5, 0.99),
        LayerSensitivity("onnx_int8", "b", 1, 0.2, 0.5, 0.99),
        LayerSensitivity("onnx_int8", "a", 2, 0.1, 0.5, 0.99),
    ]


def test_csv_bytes_quote_and_end_lines_alike_everywhere() -> None:
    rows = [Confusion("keras", "cat, big", 'a "dog"', 3), Confusion("keras", "dög", "cat", 0)]
    assert csv_bytes(Confusion._fields, rows) == (
        "variant,actual,predicted,images\n"
        'keras,"cat, big","a ""dog""",3\n'
        "keras,dög,cat,0\n"
    ).encode()  # fmt: skip


def test_csv_bytes_keep_every_digit() -> None:
    content = csv_bytes(["x"], [[math.pi], [1.5e-07]]).decode()
    assert [float(line) for line in content.splitlines()[1:]] == [math.pi, 1.5e-07]


def test_csv_bytes_without_rows_are_a_header() -> None:
    assert csv_bytes(LayerSqnr._fields, []) == b"variant,layer,position,sqnr_db\n"
