"""The sentences that sum up a comparison."""

from typing import Any

import pytest

from resnet8.report.verdict import verdict


def row(**changes: Any) -> dict[str, Any]:
    return {
        "top1_accuracy": 0.87, "accuracy_delta_pp": 0.0, "ci95_low_pp": -0.2, "ci95_high_pp": 0.2,
        "mcnemar_p": 1.0, "images_lost": 0, "images_won": 0, "agreement": 1.0,
        "max_abs_probability_diff": 4.17e-6,
    } | changes  # fmt: skip


SLIGHT = row(
    accuracy_delta_pp=-0.03, ci95_low_pp=-0.25, ci95_high_pp=0.19, mcnemar_p=0.858,
    agreement=0.9845, images_lost=64, images_won=61,
)  # fmt: skip
WORSE = row(
    accuracy_delta_pp=-1.2, ci95_low_pp=-1.6, ci95_high_pp=-0.8, mcnemar_p=2e-8,
    agreement=0.95, images_lost=200, images_won=80,
)  # fmt: skip
BETTER = WORSE | {"accuracy_delta_pp": 0.5, "ci95_low_pp": 0.2, "ci95_high_pp": 0.8}


def sentences(*, is_chance: bool = False, **rows: Any) -> str:
    """The verdict on variants beside a baseline that is right on 87% of the images."""
    comparison = {
        "baseline": "keras_fp32", "n_images": 10_000, "baseline_is_chance": is_chance,
        "chance_accuracy": 0.1, "variants": {"keras_fp32": row(), **rows},
    }  # fmt: skip
    return " ".join(verdict(comparison))


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ({}, [
            "keras_fp32 is right on 87.00% of 10,000 test images.",
            "There are no quantized variants to compare it with.",
        ]),
        ({"onnx_int8": row()}, ["All images keep their class."]),
        ({"onnx_int8": SLIGHT}, [
            "No difference in accuracy from keras_fp32 was detected for onnx_int8: the largest is "
            "-0.03 percentage points (onnx_int8, 95% interval -0.25 to +0.19, McNemar's exact test "
            "p = 0.86). That does not prove that there is none: the intervals leave room for a "
            "loss of up to 0.25 points.",
            "onnx_int8, which moved most, gives another class than the baseline to 155 images "
            "(1.55%), of which 64 were right before and 61 are right now.",
        ]),
        ({"onnx_uint8": WORSE}, [
            "onnx_uint8 is less accurate by 1.20 percentage points (95% interval -1.60 to -0.80, "
            "McNemar's exact test p = 2e-08): unlikely to be chance.",
        ]),
        ({"torch_int8": BETTER}, ["torch_int8 is more accurate by 0.50"]),
        ({"onnx_int8": SLIGHT, "onnx_uint8": WORSE}, [
            "onnx_uint8 is less accurate",
            "was detected for onnx_int8:",
            "onnx_uint8, which moved most, gives another class than the baseline to 500",
        ]),
        ({"onnx_fp32": row(), "torch_fp32": row()}, [
            "Conversions in float (onnx_fp32, torch_fp32) give all images the same class as "
            "keras_fp32, with probabilities within 0.0000042.",
        ]),
        ({"onnx_fp32": row(agreement=0.9999)}, ["give 99.99% of the images the same class"]),
    ],
)  # fmt: skip
def test_verdict(rows: dict[str, Any], expected: list[str]) -> None:
    text = sentences(**rows)
    assert [part for part in expected if part not in text] == []
    assert ("No difference" in text) == (SLIGHT in rows.values() or rows == {"onnx_int8": row()})


@pytest.mark.parametrize("variant", [SLIGHT, WORSE, row()], ids=["slight", "worse", "same"])
def test_verdict_on_a_baseline_that_is_chance_claims_nothing_about_accuracy(
    variant: dict[str, Any],
) -> None:
    text = sentences(is_chance=True, onnx_fp32=row(), onnx_int8=variant)
    assert text.startswith("keras_fp32 is not measurably better than chance")
    assert "(onnx_fp32) give all images the same class" in text
    for claim in ("No difference", "unlikely to be chance", "keep their class", "room"):
        assert claim not in text
