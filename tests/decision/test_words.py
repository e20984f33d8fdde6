"""A decision in words."""

import pytest

from resnet8.decision.words import in_lines, kilobytes
from tests.report_inputs import make_inputs


def test_lines_have_variant_reason_costs_and_warnings() -> None:
    inputs = make_inputs()
    row = inputs.comparison["variants"]["onnx_int8"]
    first, second, third = in_lines(inputs.decision, inputs.comparison)
    assert first == "Ship onnx_int8: keeps all limits of the gate."
    assert second.startswith(f"{100 * row['top1_accuracy']:.2f}% of 60 test images right")
    assert second.endswith("103 kB instead of 316 kB.")
    assert third.startswith("Warning: The sweep")


def test_lines_of_no_recommendation_have_no_costs() -> None:
    inputs = make_inputs()
    decision = inputs.decision | {"recommended": None, "warnings": []}
    assert in_lines(decision, inputs.comparison) == [
        "Ship none of these variants: keeps all limits of the gate."
    ]


@pytest.mark.parametrize(
    ("n_bytes", "words"), [(4_321, "4.32 kB"), (78_744, "78.7 kB"), (1_116_712, "1,117 kB")]
)
def test_sizes_have_three_digits_or_are_whole(n_bytes: int, words: str) -> None:
    assert kilobytes(n_bytes) == words
