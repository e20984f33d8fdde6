"""Which variant is recommended, and what is warned of."""

from typing import Any

import pytest

from resnet8.core.variants import Variant
from resnet8.decision.decide import Evidence, decide
from resnet8.gate.rules import Limit

VARIANTS = ("onnx_int8", "onnx_uint8", "torch_int8")
SIZES = {
    "keras_fp32": 900, "onnx_fp32": 316, "torch_fp32": 359, "onnx_int8": 103, "onnx_uint8": 103,
    "torch_int8": 269,
}  # fmt: skip


def evidence(**changes: Any) -> Evidence:
    """All variants alike, but for the size of the PyTorch program."""
    row = {
        "top1_accuracy": 0.87, "accuracy_delta_pp": -0.1, "ci95_low_pp": -0.2, "ci95_high_pp": 0.1,
        "kl_divergence": 0.0008, "kl_standard_error": 0.0001,
    }  # fmt: skip
    arithmetic = {"saturating_products": False, "codes": 9, "largest_difference": 1}
    rows = {name: dict(row) for name in VARIANTS}
    found = Evidence(
        comparison={
            "baseline": "keras_fp32", "n_images": 100, "baseline_is_chance": False,
            "chance_accuracy": 0.1, "variants": {"keras_fp32": {"top1_accuracy": 0.88}} | rows,
        },
        verification={"variants": {name: dict(arithmetic) for name in VARIANTS}},
        lint={"findings": []},
        sweep={"n_earlier": 0, "n_other_data": 0, "n_other_model": 0, "note": "Nothing."},
        limits=[limit("onnx_fp32")] + [limit(name) for name in VARIANTS],
        sizes={Variant(name): 1000 * size for name, size in SIZES.items()},
        mlperf_tiny=None,
    )  # fmt: skip
    return found._replace(**changes)


def limit(variant: str, *, lost: float = 0.1) -> Limit:
    return Limit("drop_max_pp", variant, lost, 0.5, "pp", at_least=False, detail="all images")


def with_row(variant: str, **figures: float) -> Evidence:
    found = evidence()
    found.comparison["variants"][variant].update(figures)
    return found


def saturating(*variants: str) -> Evidence:
    found = evidence()
    for name in variants:
        found.verification["variants"][name]["saturating_products"] = True
    return found


def recommended(found: Evidence) -> str | None:
    name: str | None = decide(found)["recommended"]
    return name


def kinds(found: Evidence) -> list[str]:
    return [x["kind"] for x in decide(found)["warnings"]]


def test_the_first_of_equals_is_recommended_and_the_others_are_named() -> None:
    found = decide(evidence())
    assert found["recommended"] == "onnx_int8"
    assert found["reason"].endswith("as good, and later in params.yaml: onnx_uint8")


def test_a_much_smaller_file_wins_over_a_smaller_divergence() -> None:
    found = with_row("torch_int8", kl_divergence=0.0001)
    assert recommended(found) == "onnx_int8"


def test_among_files_of_one_size_the_divergence_decides_beyond_its_noise() -> None:
    assert recommended(with_row("onnx_uint8", kl_divergence=0.00065)) == "onnx_int8"
    assert recommended(with_row("onnx_uint8", kl_divergence=0.0005)) == "onnx_uint8"


def test_a_variant_that_breaks_its_limit_is_not_recommended() -> None:
    limits = [limit("onnx_int8", lost=0.6), *(limit(name) for name in VARIANTS[1:])]
    found = decide(evidence(limits=limits))
    assert found["recommended"] == "onnx_uint8"
    assert [row["keeps_limits"] for row in found["variants"].values()] == [False, True, True]


def test_float_is_recommended_where_all_variants_break_their_limits() -> None:
    found = decide(evidence(limits=[limit(name, lost=2) for name in VARIANTS]))
    assert found["recommended"] == "onnx_fp32"
    assert found["reason"] == "no quantized variant keeps the limits of the gate"


def test_a_broken_limit_of_the_float_models_concerns_all() -> None:
    found = evidence(limits=[limit("onnx_fp32", lost=2), *map(limit, VARIANTS)])
    assert recommended(found) == "onnx_fp32"
    assert kinds(found) == ["limits"]


def test_a_variant_whose_products_saturate_is_not_recommended() -> None:
    assert recommended(saturating("onnx_int8")) == "onnx_uint8"
    assert kinds(saturating("onnx_int8")) == ["saturating"]
    assert recommended(saturating(*VARIANTS)) == "onnx_fp32"


def test_a_file_larger_than_the_float_one_is_not_recommended() -> None:
    sizes = {**evidence().sizes, Variant.ONNX_INT8: 400_000}
    assert recommended(evidence(sizes=sizes)) == "onnx_uint8"
    assert kinds(evidence(sizes=sizes)) == ["larger_file"]


def test_nothing_is_recommended_where_the_baseline_is_chance() -> None:
    comparison = evidence().comparison | {"baseline_is_chance": True}
    found = decide(evidence(comparison=comparison))
    assert found["recommended"] is None
    assert [x["kind"] for x in found["warnings"]] == ["chance"]


def test_float_is_recommended_where_nothing_is_quantized() -> None:
    sizes = {name: size for name, size in evidence().sizes.items() if name.is_float}
    found = decide(evidence(sizes=sizes, verification={"variants": {}}))
    assert (found["recommended"], found["variants"]) == ("onnx_fp32", {})


@pytest.mark.parametrize("variant", ["onnx_int8", "all"])
def test_findings_of_the_lint_are_counted_and_warned_of(variant: str) -> None:
    lint = {"findings": [{"variant": variant, "message": "Conv computes in float."}]}
    found = decide(evidence(lint=lint))
    assert found["variants"]["onnx_int8"]["findings"] == 1
    assert found["variants"]["torch_int8"]["findings"] == (variant == "all")
    assert found["warnings"][0]["text"] == "1 lint finding: Conv computes in float."


@pytest.mark.parametrize("name", ["n_earlier", "n_other_data", "n_other_model"])
def test_an_outdated_sweep_is_warned_of(name: str) -> None:
    sweep = evidence().sweep | {name: 3}
    assert kinds(evidence(sweep=sweep)) == ["sweep"]


def test_nothing_is_warned_of_where_all_is_well() -> None:
    assert kinds(evidence()) == []
