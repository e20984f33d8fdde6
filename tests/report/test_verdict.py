"""The sentences that sum up a comparison."""

from typing import Any

import pytest

from resnet8.report.verdict import verdict

SAME = {
    "top1_accuracy": 0.87, "accuracy_delta_pp": 0.0, "ci95_low_pp": -0.2, "ci95_high_pp": 0.2,
    "mcnemar_p": 1.0, "images_lost": 0, "images_won": 0, "agreement": 1.0,
    "max_abs_probability_diff": 4.17e-6,
}  # fmt: skip
SLIGHT = SAME | {
    "accuracy_delta_pp": -0.03, "ci95_low_pp": -0.25, "ci95_high_pp": 0.19, "mcnemar_p": 0.858,
    "agreement": 0.9845, "images_lost": 64, "images_won": 61,
}  # fmt: skip
WORSE = SAME | {
    "accuracy_delta_pp": -1.2, "ci95_low_pp": -1.6, "ci95_high_pp": -0.8, "mcnemar_p": 2e-8,
    "agreement": 0.95, "images_lost": 200, "images_won": 80,
}  # fmt: skip


def sentences(*, is_chance: bool = False, **rows: Any) -> list[str]:
    """The verdict on variants beside a baseline that is right on 87% of the images."""
    return verdict({
        "baseline": "keras_fp32", "n_images": 10_000, "baseline_is_chance": is_chance,
        "chance_accuracy": 0.1, "variants": {**rows, "keras_fp32": SAME},
    })  # fmt: skip


def test_verdict_has_a_sentence_for_each_variant() -> None:
    assert sentences(onnx_uint8=WORSE, onnx_int8=SLIGHT, onnx_fp32=SAME) == [
        "keras_fp32 is right on 87.00% of 10,000 test images.",
        "onnx_fp32 gives all images the same class as keras_fp32, with probabilities within "
        "0.0000042.",
        "onnx_int8 gives another class to 155 images (1.55%), of which 64 were right before and "
        "61 are right now: -0.03 percentage points (95% interval -0.25 to +0.19, McNemar's exact "
        "test p = 0.86), no difference detected, but room for a loss of up to 0.25 points.",
        "onnx_uint8 gives another class to 500 images (5.00%), of which 200 were right before and "
        "80 are right now: -1.20 percentage points (95% interval -1.60 to -0.80, McNemar's exact "
        "test p = 2e-08), unlikely to be chance.",
    ]


@pytest.mark.parametrize("variant", [SLIGHT, WORSE])
def test_verdict_on_a_baseline_that_is_chance_claims_nothing_about_accuracy(
    variant: dict[str, Any],
) -> None:
    warning, *others = sentences(is_chance=True, onnx_fp32=SAME, onnx_int8=variant)
    assert warning.startswith("keras_fp32 is not measurably better than chance")
    assert [x.partition(" with")[0] for x in others] == [
        "onnx_fp32 gives all images the same class as keras_fp32,"
    ]
