"""Rules by which revisions pass or fail."""

import numpy as np
import pytest
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests

from resnet8.compare.comparison import correct_p_values
from resnet8.compare.hits import Correctness, describe_correctness, read_correctness
from resnet8.core.dataset import TestSet
from resnet8.core.errors import GateError
from resnet8.core.params import Params, load_params
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


def one(base: tuple[int, ...], current: tuple[int, ...]) -> Change:
    return changes({"onnx_int8": right(*base)}, {"onnx_int8": right(*current)})["onnx_int8"]


@pytest.mark.parametrize("count", [1, 2, 6, 60])
def test_correct_p_values_are_holms(count: int) -> None:
    p_values = list(np.random.default_rng(count).random(count) ** 4)
    expected = multipletests(p_values, method="holm")[1]
    assert correct_p_values(p_values) == pytest.approx(list(expected), abs=1e-12)


def test_no_change_is_unchanged() -> None:
    found = one(BASE, BASE)
    assert (found.verdict, found.difference.p, found.difference.lost) == ("unchanged", 1.0, 0)


def test_a_loss_that_chance_explains_is_noise() -> None:
    found = one(BASE, tuple(range(8, 112)))  # 12 lost, 8 won
    assert found.verdict == "noise"
    assert (found.difference.lost, found.difference.won) == (12, 8)


def test_a_loss_that_chance_does_not_explain_is_worse() -> None:
    found = one(BASE, tuple(range(130)))  # 30 lost, none won: spread over all classes
    assert found.verdict == "worse"
    assert found.difference.new == pytest.approx(0.87)
    assert found.classes_worse == ()


def test_a_gain_that_chance_does_not_explain_is_better() -> None:
    assert one(BASE, tuple(range(30, 100))).verdict == "better"


def test_p_is_that_of_mcnemars_exact_test_times_the_number_of_variants() -> None:
    base, now = right(*BASE), right(*range(7, 120))
    names = ("onnx_int8", "onnx_uint8", "torch_int8")
    found = changes(dict.fromkeys(names, base), dict.fromkeys(names, now))
    table = [[np.sum(base & now), np.sum(base & ~now)], [np.sum(~base & now), 0]]
    expected = mcnemar(table, exact=True).pvalue
    assert found["onnx_int8"].difference.p == pytest.approx(3 * expected)


def test_one_broken_class_is_worse_by_its_name_although_the_total_is_the_same() -> None:
    cats = tuple(i for i in range(100, 400) if LABELS[i] == 3)
    found = one(BASE, (*range(30, 100), *cats))  # as many won, in all classes, as cats lost
    assert found.difference.lost == found.difference.won == 30
    assert found.verdict == "worse"
    assert found.classes_worse == ("cat",)
    assert found.classes["cat"].lost == 30


def test_a_class_that_improves_is_not_named() -> None:
    base = (*BASE, *(i for i in range(100, 400) if LABELS[i] == 3))
    assert one(base, BASE).classes_worse == ()
    assert one(base, BASE).verdict == "better"


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


def params(**gate: object) -> Params:
    found = load_params(TEST_PARAMS)
    return found.model_copy(update={"gate": found.gate.model_copy(update=gate)})


def broken(correct: Right, chosen: Params, error: float = 1e-6) -> list[tuple[str, str, str]]:
    """Parameter, variant and detail of each limit that is broken."""
    errors = {"onnx_fp32": error, "torch_fp32": error / 2}
    found = check_limits(correctness(correct), errors, chosen)
    return [(x.parameter, x.variant, x.detail) for x in found if not x.passed]


def test_usual_results_keep_all_limits() -> None:
    assert broken(usual(), params()) == []


def test_each_float_model_has_a_floor() -> None:
    correct = usual() | {"torch_fp32": right(*range(151))}
    assert broken(correct, params()) == [("float_accuracy_min", "torch_fp32", "top-1 accuracy")]


def test_float_models_must_be_the_same() -> None:
    assert broken(usual(), params(), 1.5e-4) == [
        ("float_parity_max", "onnx_fp32", "difference to its original")
    ]


def test_a_quantized_variant_may_not_drop_further_than_its_limit() -> None:
    correct = usual() | {"onnx_int8": right(*range(108))}  # 0.8 points
    assert broken(correct, params()) == [
        ("drop_max_pp", "onnx_int8", "below keras_fp32, all images")
    ]
    own = {"default": 0.5, "onnx_int8": 0.8}
    assert broken(correct, params(drop_max_pp=own)) == []


def test_no_class_may_drop_further_than_its_limit() -> None:
    cats = tuple(i for i in range(100, 200) if LABELS[i] == 3)[:4]  # 4 points of 100 cats
    correct = usual() | {"onnx_int8": right(*(x for x in BASE if x not in (0, 1, 2, 4)), *cats)}
    assert broken(correct, params()) == [
        ("class_drop_max_pp", "onnx_int8", "below keras_fp32, cat")
    ]


def test_calibration_on_few_images_is_refused() -> None:
    chosen = params()
    few = chosen.model_copy(update={"calibrate": chosen.calibrate.model_copy(update={"size": 8})})
    assert broken(usual(), few) == [("calibration_images_min", "calibration", "training images")]
