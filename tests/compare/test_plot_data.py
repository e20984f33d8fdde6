"""Tables behind DVC's plots."""

from typing import Any

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix
from statsmodels.stats.proportion import proportion_confint

from resnet8.compare.plot_data import COLUMNS, plot_tables
from resnet8.core.dataset import TestSet

NAMES = ["cat", "dog", "frog"]
LABELS = np.arange(40) % 2  # there is no frog
RNG = np.random.default_rng(0)
VARIANTS = ("torch_int8", "onnx_int8")
PREDICTIONS = {name: RNG.dirichlet([1, 1, 1], 40).astype(np.float32) for name in VARIANTS}
SQNR: dict[str, dict[str, float | None]] = {
    "dense": {"onnx_int8": 31.5, "torch_int8": 30.0},
    "conv": {"onnx_int8": 28.0, "keras_fp32": None},
    "permute": {"onnx_int8": None, "torch_int8": 66.0},
}
COSTS = {"onnx_int8": {"a": (2, 0.1), "b": (1, 0.2)}, "torch_int8": {"a": (1, 0.3)}}


@pytest.fixture(scope="module")
def tables() -> dict[str, list[tuple[Any, ...]]]:
    calibration = {
        layer: {variant: {"statistics": {"sqnr_db": db}} for variant, db in row.items()}
        for layer, row in SQNR.items()
    }
    layers, spared = ["permute", "conv", "dense"], {"kl_divergence": 0.5, "agreement": 0.9}
    sensitivity: dict[str, Any] = {
        variant: {
            "layers": {
                x: {"rank": rank, "alone": {"kl_divergence": kl, "agreement": 0.99}}
                | {"spared": spared}
                for x, (rank, kl) in costs.items()
            }
        }
        for variant, costs in COSTS.items()
    }
    return plot_tables(
        PREDICTIONS,
        TestSet(np.zeros((40, 32, 32, 3), np.uint8), LABELS, NAMES),
        inspection={"layers": layers, "activations": {"calibration": calibration}},
        sensitivity={"variants": sensitivity},
        quantized=VARIANTS,
    )


def test_rows_have_the_columns_of_their_table(tables: dict[str, list[Any]]) -> None:
    assert tables.keys() == COLUMNS.keys()
    for name, rows in tables.items():
        assert {len(row) for row in rows} == {len(COLUMNS[name])}


def test_class_accuracies_are_percentages_with_wilson_intervals(tables: dict[str, Any]) -> None:
    rows = tables["per_class_accuracy"]
    assert [row[:2] for row in rows] == [(v, x) for v in VARIANTS for x in ("cat", "dog")]
    for variant, name, *percentages in rows:
        label = NAMES.index(name)
        right = int((PREDICTIONS[variant][label == LABELS].argmax(axis=1) == label).sum())
        ends = proportion_confint(right, 20, method="wilson")
        assert percentages == pytest.approx([5 * right, *(100 * end for end in ends)], abs=5.1e-5)


def test_confusions_count_like_scikit_learn(tables: dict[str, Any]) -> None:
    for variant, probabilities in PREDICTIONS.items():
        counts = confusion_matrix(LABELS, probabilities.argmax(axis=1), labels=[0, 1, 2])
        assert [row[1:] for row in tables["confusion"] if row[0] == variant] == [
            (NAMES[i], NAMES[k], counts[i, k]) for i in range(3) for k in range(3)
        ]


def test_layers_are_in_order_without_those_that_a_variant_lacks(tables: dict[str, Any]) -> None:
    assert tables["sqnr"] == [
        ("torch_int8", "permute", 0, 66.0), ("torch_int8", "dense", 2, 30.0),
        ("onnx_int8", "conv", 1, 28.0), ("onnx_int8", "dense", 2, 31.5),
    ]  # fmt: skip
    assert tables["sensitivity"] == [
        ("torch_int8", "a", 1, 0.3, 0.5, 0.99),
        ("onnx_int8", "b", 1, 0.2, 0.5, 0.99), ("onnx_int8", "a", 2, 0.1, 0.5, 0.99),
    ]  # fmt: skip
