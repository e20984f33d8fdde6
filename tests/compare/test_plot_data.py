"""Tables behind DVC's plots."""

import math
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix
from statsmodels.stats.proportion import proportion_confint

from resnet8.compare.plot_data import class_accuracies, plot_tables
from resnet8.core.dataset import TestSet
from resnet8.core.files import csv_bytes

NAMES = ["cat", "dog", "frog"]
LABELS = np.arange(40) % 2  # there is no frog
RNG = np.random.default_rng(0)
PREDICTIONS = {
    name: RNG.dirichlet([1, 1, 1], 40).astype(np.float32) for name in ("onnx_int8", "torch_int8")
}


def statistics(sqnr_db: float | None) -> dict[str, Any]:
    return {"statistics": {"sqnr_db": sqnr_db}}


INSPECTION = {
    "layers": ["permute", "conv", "dense"],
    "activations": {
        "calibration": {
            "dense": {"onnx_int8": statistics(31.5), "torch_int8": statistics(30.0)},
            "conv": {"onnx_int8": statistics(28.0), "keras_fp32": {"statistics": {}}},
            "permute": {"onnx_int8": statistics(None), "torch_int8": statistics(66.0)},
        }
    },
}


def cost(rank: int, divergence: float) -> dict[str, Any]:
    alone = {"kl_divergence": divergence, "agreement": 0.99}
    return {"rank": rank, "alone": alone, "spared": {"kl_divergence": 0.5, "agreement": 0.9}}


SENSITIVITY = {
    "variants": {
        "onnx_int8": {"layers": {"a": cost(2, 0.1), "b": cost(1, 0.2)}},
        "torch_int8": {"layers": {"a": cost(1, 0.3)}},
    }
}


def rows(table: str, *variants: str) -> list[tuple[Any, ...]]:
    test_set = TestSet(np.zeros((40, 32, 32, 3), np.uint8), LABELS, NAMES)
    tables = plot_tables(
        PREDICTIONS, test_set, inspection=INSPECTION, sensitivity=SENSITIVITY, quantized=variants
    )
    return [tuple(row) for row in tables[table].rows]


def test_class_accuracies_are_percentages_with_wilson_intervals() -> None:
    table = class_accuracies(PREDICTIONS, LABELS, label_names=NAMES)
    assert [row[:2] for row in table] == [(v, x) for v in PREDICTIONS for x in ("cat", "dog")]
    for variant, name, *found in table:
        label = NAMES.index(name)
        right = int((PREDICTIONS[variant][label == LABELS].argmax(axis=1) == label).sum())
        ends = proportion_confint(right, 20, method="wilson")
        assert found == pytest.approx([5 * right, *(100 * end for end in ends)], abs=5.1e-5)


def test_confusions_count_by_actual_and_predicted_class_like_scikit_learn() -> None:
    table = rows("confusion")
    for variant, probabilities in PREDICTIONS.items():
        counts = confusion_matrix(LABELS, probabilities.argmax(axis=1), labels=[0, 1, 2])
        assert [row for row in table if row[0] == variant] == [
            (variant, NAMES[i], NAMES[k], counts[i, k]) for i in range(3) for k in range(3)
        ]


@pytest.mark.parametrize(
    ("table", "variants", "expected"),
    [
        ("sqnr", ["onnx_int8"], [("onnx_int8", "conv", 1, 28.0), ("onnx_int8", "dense", 2, 31.5)]),
        ("sqnr", ["torch_int8"], [
            ("torch_int8", "permute", 0, 66.0), ("torch_int8", "dense", 2, 30.0),
        ]),
        ("sqnr", [], []),
        ("sensitivity", ["torch_int8", "onnx_int8"], [
            ("torch_int8", "a", 1, 0.3, 0.5, 0.99),
            ("onnx_int8", "b", 1, 0.2, 0.5, 0.99),
            ("onnx_int8", "a", 2, 0.1, 0.5, 0.99),
        ]),
    ],
)  # fmt: skip
def test_layers_are_in_order_without_those_that_a_variant_lacks(
    table: str, variants: list[str], expected: list[tuple[Any, ...]]
) -> None:
    assert rows(table, *variants) == expected


def test_csv_bytes_keep_every_digit_and_quote_alike_everywhere() -> None:
    table = [("cat, big", 'a "dog"', math.pi), ("dög", "cat", 1.5e-07)]
    assert (
        csv_bytes(("actual", "predicted", "x"), table)
        == (
            'actual,predicted,x\n"cat, big","a ""dog""",3.141592653589793\ndög,cat,1.5e-07\n'
        ).encode()
    )
    assert csv_bytes(["x"], []) == b"x\n"
