"""What the report says in sentences."""

from typing import Any

import pytest

from resnet8.report.verdict import verdict


def row(**changes: Any) -> dict[str, Any]:
    return {
        "top1_accuracy": 0.87, "accuracy_delta_pp": 0.0, "ci95_low_pp": -0.2, "ci95_high_pp": 0.2,
        "mcnemar_p": 1.0, "images_lost": 0, "images_won": 0, "agreement": 1.0,
        "max_abs_probability_diff": 4.17e-6,
    } | changes  # fmt: skip


def said(
    quantized: tuple[str, ...] = (),
    converted: tuple[str, ...] = (),
    *,
    is_chance: bool = False,
    **rows: Any,
) -> str:
    found = {"keras_fp32": row(), **rows}
    comparison = {
        "baseline": "keras_fp32", "n_images": 10_000, "baseline_is_chance": is_chance,
        "chance_accuracy": 0.1, "variants": found,
    }  # fmt: skip
    return " ".join(verdict(comparison, quantized=quantized, converted=converted))


SLIGHT = row(
    accuracy_delta_pp=-0.03, ci95_low_pp=-0.25, ci95_high_pp=0.19, mcnemar_p=0.858,
    agreement=0.9845, images_lost=64, images_won=61,
)  # fmt: skip
WORSE = row(
    accuracy_delta_pp=-1.2, ci95_low_pp=-1.6, ci95_high_pp=-0.8, mcnemar_p=2e-8,
    agreement=0.95, images_lost=200, images_won=80,
)  # fmt: skip


def test_verdict_begins_with_the_baseline() -> None:
    assert said().startswith("keras_fp32 is right on 87.00% of 10,000 test images.")


def test_verdict_claims_no_equality_from_a_large_p() -> None:
    text = said(("onnx_int8",), onnx_int8=SLIGHT)
    assert (
        "No difference in accuracy from keras_fp32 was detected for onnx_int8: the largest is "
        "-0.03 percentage points (onnx_int8, 95% interval -0.25 to +0.19, McNemar's exact test "
        "p = 0.86). That does not prove that there is none: the intervals leave room for a loss "
        "of up to 0.25 points."
    ) in text


def test_verdict_names_a_loss_that_is_unlikely_to_be_chance() -> None:
    text = said(("onnx_uint8",), onnx_uint8=WORSE)
    assert (
        "onnx_uint8 is less accurate by 1.20 percentage points (95% interval -1.60 to -0.80, "
        "McNemar's exact test p = 2e-08): unlikely to be chance."
    ) in text
    assert "No difference" not in text


def test_verdict_calls_a_gain_a_gain() -> None:
    better = WORSE | {"accuracy_delta_pp": 0.5, "ci95_low_pp": 0.2, "ci95_high_pp": 0.8}
    assert "torch_int8 is more accurate by 0.50" in said(("torch_int8",), torch_int8=better)


def test_verdict_tells_variants_apart() -> None:
    text = said(("onnx_int8", "onnx_uint8"), onnx_int8=SLIGHT, onnx_uint8=WORSE)
    assert "onnx_uint8 is less accurate" in text
    assert "was detected for onnx_int8:" in text
    assert "onnx_uint8, which moved most, gives another class than the baseline to 500" in text


def test_verdict_counts_images_that_changed_class() -> None:
    text = said(("onnx_int8",), onnx_int8=SLIGHT)
    assert (
        "The variant gives another class than the baseline to 155 images (1.55%), of which 64 "
        "were right before and 61 are right now."
    ) in text


def test_verdict_says_how_near_conversions_are() -> None:
    text = said(converted=("onnx_fp32", "torch_fp32"), onnx_fp32=row(), torch_fp32=row())
    assert (
        "In float, onnx_fp32 and torch_fp32 give all images the same class as keras_fp32, with "
        "probabilities within 0.0000042."
    ) in text


def test_verdict_says_that_nothing_is_quantized() -> None:
    assert said().endswith("There are no quantized variants to compare it with.")


def test_verdict_says_that_all_images_keep_their_class() -> None:
    assert said(("onnx_int8",), onnx_int8=row()).endswith("All images keep their class.")


@pytest.mark.parametrize("variant", [SLIGHT, WORSE, row()], ids=["slight", "worse", "same"])
def test_verdict_on_a_baseline_that_is_chance_says_that_and_nothing_of_accuracy(
    variant: dict[str, Any],
) -> None:
    text = said(
        ("onnx_int8",),
        ("onnx_fp32",),
        is_chance=True,
        keras_fp32=row(top1_accuracy=0.1012),
        onnx_fp32=row(),
        onnx_int8=variant,
    )
    assert text.startswith(
        "keras_fp32 is not measurably better than chance: it is right on 10.12% of 10,000 test "
        "images"
    )
    assert "In float, onnx_fp32 gives all images the same class" in text
    for reassurance in ("No difference", "unlikely to be chance", "keep their class", "room"):
        assert reassurance not in text
