"""Rules by which revisions pass or fail."""

from typing import Any

import numpy as np
import pytest
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests

from resnet8.compare.comparison import correct_p_values
from resnet8.compare.hits import Correctness, describe_correctness, read_correctness
from resnet8.core.dataset import TestSet
from resnet8.core.errors import GateError
from resnet8.core.params import load_params
from resnet8.gate.rules import Change, check_limits, find_changes
from tests.gate.project import (
    IMAGES,
    LABELS,
    NAMES,
    QUANTIZED,
    Right,
    predictions,
    right,
    usual,
)
from tests.parameters import TEST_PARAMS

BASE = tuple(range(100))  # wrong in the usual float models


def correctness(correct: Right) -> Correctness:
    found = {name: predictions(x) for name, x in correct.items()}
    record = describe_correctness(found, TestSet(IMAGES, LABELS, NAMES))
    return read_correctness(record)


def changes(base: Right, current: Right, significance: float = 0.01) -> dict[str, Change]:
    found = find_changes(correctness(base), correctness(current), significance=significance)
    return {change.variant: change for change in found}


@pytest.mark.parametrize("count", [1, 2, 6, 60])
def test_correct_p_values_are_holms(count: int) -> None:
    p_values = list(np.random.default_rng(count).random(count) ** 4)
    expected = multipletests(p_values, method="holm")[1]
    assert correct_p_values(p_values) == pytest.approx(list(expected), abs=1e-12)


CATS = tuple(i for i in range(100, 400) if LABELS[i] == 3)


@pytest.mark.parametrize(
    ("base", "current", "verdict", "counts", "classes"),
    [
        (BASE, BASE, "unchanged", (0, 0), ()),
        (BASE, range(8, 112), "noise", (12, 8), ()),
        (BASE, range(130), "worse", (30, 0), ()),  # spread over all classes
        (BASE, range(30, 100), "better", (0, 30), ()),
        # As many won, in all classes, as cats lost.
        (BASE, (*range(30, 100), *CATS), "worse", (30, 30), ("cat",)),
        ((*BASE, *CATS), BASE, "better", (0, 30), ()),  # a class that improves is not named
    ],
)
def test_verdict_of_changes_on_the_same_images(
    base: Any, current: Any, verdict: str, counts: tuple[int, int], classes: tuple[str, ...]
) -> None:
    found = changes({"onnx_int8": right(*base)}, {"onnx_int8": right(*current)})["onnx_int8"]
    assert (found.verdict, found.classes_worse) == (verdict, classes)
    assert (found.difference.images_lost, found.difference.images_won) == counts
    delta = 100 * (counts[1] - counts[0]) / 1000
    assert found.difference.accuracy_delta_pp == pytest.approx(delta)


def test_p_is_that_of_mcnemars_exact_test_times_the_number_of_variants() -> None:
    base, now = right(*BASE), right(*range(7, 120))
    names = ("onnx_int8", "onnx_uint8", "torch_int8")
    found = changes(dict.fromkeys(names, base), dict.fromkeys(names, now))
    table = [[np.sum(base & now), np.sum(base & ~now)], [np.sum(~base & now), 0]]
    expected = mcnemar(table, exact=True).pvalue
    assert found["onnx_int8"].difference.mcnemar_p_holm == pytest.approx(3 * expected)


def test_a_variant_without_a_base_is_new_and_one_that_is_gone_is_removed() -> None:
    found = changes({"onnx_int8": right()}, {"onnx_uint8": right()})
    assert {name: x.verdict for name, x in found.items()} == {
        "onnx_uint8": "new",
        "onnx_int8": "removed",
    }
    assert found["onnx_uint8"].difference is None


def test_more_comparisons_make_the_same_loss_less_certain() -> None:
    base, now = right(*BASE), right(*range(112))  # 12 lost, none won: p 0.0005
    assert changes({"onnx_int8": base}, {"onnx_int8": now}, 0.001)["onnx_int8"].verdict == "worse"
    names = QUANTIZED
    found = changes(
        dict.fromkeys(names, base), {**dict.fromkeys(names, base), names[0]: now}, 0.001
    )
    assert found[names[0]].verdict == "noise"


def test_another_test_set_is_refused() -> None:
    base = correctness(usual())
    with pytest.raises(GateError, match="The test set must be that of the base .+ BASE=HEAD"):
        find_changes(base, base._replace(test_set="0" * 64), significance=0.01)


def test_noise_alone_fails_seldom() -> None:
    # Of 60 pairs of equally good models, 20 images of which flip at random either way, at most
    # `significance` may fail for each of the two families; 0.05 here, to be able to see it.
    rng = np.random.default_rng(0)
    failed = 0
    for _ in range(60):
        flips = rng.choice(1000, 40, replace=False)
        base, now = right(*flips[:20]), right(*flips[20:])
        found = changes({"onnx_int8": base}, {"onnx_int8": now}, 0.05)
        failed += found["onnx_int8"].verdict == "worse"
    assert failed <= 6  # 10% of 60


# 4 points of 100 cats, as many images as win elsewhere.
FEW_CATS = (*(x for x in BASE if x not in (0, 1, 2, 4)), *CATS[:4])


@pytest.mark.parametrize(
    ("correct", "gate", "error", "expected"),
    [
        ({}, {}, 1e-6, []),
        (
            {"torch_fp32": range(151)},
            {},
            1e-6,
            [("float_accuracy_min", "torch_fp32", "top-1 accuracy")],
        ),
        ({}, {}, 1.5e-4, [("float_parity_max", "onnx_fp32", "difference to its original")]),
        (
            {"onnx_int8": range(108)},  # 0.8 points
            {},
            1e-6,
            [("drop_max_pp", "onnx_int8", "below keras_fp32, all images")],
        ),
        (
            {"onnx_int8": range(108)},
            {"drop_max_pp": {"default": 0.5, "onnx_int8": 0.8}},
            1e-6,
            [],
        ),
        (
            {"onnx_int8": FEW_CATS},
            {},
            1e-6,
            [("class_drop_max_pp", "onnx_int8", "below keras_fp32, cat")],
        ),
        (
            {},
            {"calibration_images_min": 2000},
            1e-6,
            [("calibration_images_min", "calibration", "training images")],
        ),
    ],
)
def test_broken_limits(
    correct: dict[str, Any], gate: dict[str, Any], error: float, expected: list[Any]
) -> None:
    found = load_params(TEST_PARAMS)
    params = found.model_copy(update={"gate": found.gate.model_copy(update=gate)})
    results = correctness(usual() | {name: right(*wrong) for name, wrong in correct.items()})
    limits = check_limits(results, {"onnx_fp32": error, "torch_fp32": error / 2}, params)
    assert [(x.parameter, x.variant, x.detail) for x in limits if not x.passed] == expected
