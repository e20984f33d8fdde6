"""Rules by which revisions pass or fail."""

from typing import Any

import numpy as np
import pytest
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests

from resnet8.compare.comparison import correct_p_values, split_by_class
from resnet8.compare.hits import Correctness
from resnet8.core.params import load_params
from resnet8.gate.rules import check_limits, find_changes
from tests.gate.project import LABELS, NAMES, QUANTIZED, Right, right, usual
from tests.parameters import TEST_PARAMS

BASE = tuple(range(100))  # wrong in the usual float models
CATS = tuple(i for i in range(100, 400) if LABELS[i] == 3)


def correctness(correct: Right) -> Correctness:
    return Correctness("", {name: split_by_class(x, LABELS, NAMES) for name, x in correct.items()})


def change(base: Any, current: Any, *, significance: float = 0.01) -> dict[str, Any]:
    """The comparison of a variant, by the images that are wrong."""
    old, new = (correctness({"onnx_int8": right(*wrong)}) for wrong in (base, current))
    return find_changes(old, new, significance=significance)["onnx_int8"]


@pytest.mark.parametrize("count", [1, 2, 6, 60])
def test_correct_p_values_are_holms(count: int) -> None:
    p_values = list(np.random.default_rng(count).random(count) ** 4)
    expected = multipletests(p_values, method="holm")[1]
    assert correct_p_values(p_values) == pytest.approx(list(expected), abs=1e-12)


@pytest.mark.parametrize(
    ("base", "current", "verdict", "counts", "classes"),
    [
        (BASE, BASE, "unchanged", (0, 0), []),
        (BASE, range(8, 112), "noise", (12, 8), []),
        (BASE, range(130), "worse", (30, 0), []),  # spread over all classes
        (BASE, range(30, 100), "better", (0, 30), []),
        # As many won, in all classes, as cats lost.
        (BASE, (*range(30, 100), *CATS), "worse", (30, 30), ["cat"]),
        ((*BASE, *CATS), BASE, "better", (0, 30), []),  # a class that improves is not named
    ],
)
def test_verdict_of_changes_on_the_same_images(
    base: Any, current: Any, verdict: str, counts: tuple[int, int], classes: list[str]
) -> None:
    row = change(base, current)
    assert (row["verdict"], row["classes_worse"]) == (verdict, classes)
    assert (row["images_lost"], row["images_won"]) == counts
    assert row["accuracy_delta_pp"] == pytest.approx(100 * (counts[1] - counts[0]) / 1000)


def test_p_is_that_of_mcnemars_exact_test_times_the_number_of_variants() -> None:
    base, now = right(*BASE), right(*range(7, 120))
    old, new = (correctness(dict.fromkeys(QUANTIZED, x)) for x in (base, now))
    table = [[np.sum(base & now), np.sum(base & ~now)], [np.sum(~base & now), 0]]
    p = mcnemar(table, exact=True).pvalue
    for significance, verdict in ((2.9 * p, "noise"), (3.1 * p, "worse")):
        for row in find_changes(old, new, significance=significance).values():
            assert row["mcnemar_p_holm"] == pytest.approx(3 * p)
            assert row["verdict"] == verdict


def test_noise_alone_fails_seldom() -> None:
    # Of 60 pairs of equally good models, 20 images of which flip at random either way, at most
    # `significance` may fail for each of the two families; 0.05 here, to be able to see it.
    rng = np.random.default_rng(0)
    flips = [rng.choice(1000, 40, replace=False) for _ in range(60)]
    failed = sum(change(x[:20], x[20:], significance=0.05)["verdict"] == "worse" for x in flips)
    assert failed <= 6  # 10% of 60


# 4 points of 100 cats, as many images as win elsewhere.
FEW_CATS = (*(x for x in BASE if x not in (0, 1, 2, 4)), *CATS[:4])


@pytest.mark.parametrize(
    ("correct", "gate", "error", "expected"),
    [
        ({}, {}, 1e-6, []),
        ({"torch_fp32": range(151)}, {}, 1e-6,
         [("float_accuracy_min", "torch_fp32", "top-1 accuracy")]),
        ({}, {}, 1.5e-4, [("float_parity_max", "onnx_fp32", "difference to its original")]),
        ({"onnx_int8": range(108)}, {}, 1e-6,  # 0.8 points
         [("drop_max_pp", "onnx_int8", "below keras_fp32, all images")]),
        ({"onnx_int8": range(108)}, {"drop_max_pp": {"default": 0.5, "onnx_int8": 0.8}}, 1e-6, []),
        ({"onnx_int8": FEW_CATS}, {}, 1e-6,
         [("class_drop_max_pp", "onnx_int8", "below keras_fp32, cat")]),
        ({}, {"calibration_images_min": 2000}, 1e-6,
         [("calibration_images_min", "calibration", "training images")]),
    ],
)  # fmt: skip
def test_broken_limits(
    correct: dict[str, Any], gate: dict[str, Any], error: float, expected: list[Any]
) -> None:
    params = load_params(TEST_PARAMS)
    params = params.model_copy(update={"gate": params.gate.model_copy(update=gate)})
    results = correctness(usual() | {name: right(*wrong) for name, wrong in correct.items()})
    limits = check_limits(results, {"onnx_fp32": error, "torch_fp32": error / 2}, params)
    broken = [(x["parameter"], x["variant"], x["detail"]) for x in limits if not x["passed"]]
    assert broken == expected
