"""Decisions in words."""

import pytest

from resnet8.decision.words import in_lines, kilobytes, mlperf_tiny
from tests.report_inputs import make_inputs


def test_lines_have_variant_reason_costs_and_warnings() -> None:
    results = make_inputs().results
    decision, comparison = results["decision"], results["comparison"]
    row = comparison["variants"]["onnx_int8"]
    first, second, third = in_lines(decision, comparison)
    assert first == "Ship onnx_int8.onnx: keeps all limits of the gate."
    assert second.startswith(f"{100 * row['top1_accuracy']:.2f}% of 60 test images correct")
    assert second.endswith("103 kB instead of 316 kB.")
    assert third.startswith("Warning: The sweep")
    nothing = decision | {"recommended": None, "warnings": []}
    assert in_lines(nothing, comparison) == [
        "Ship none of these variants: keeps all limits of the gate."
    ]


def test_mlperf_tinys_images_have_their_interval() -> None:
    rows = {
        name: {"n_right": n_right, "ci95_low": 0.8163, "ci95_high": 0.9097}
        for name, n_right in (("keras_fp32", 174), ("onnx_int8", 173), ("torch_int8", 175))
    }
    decision = make_inputs().results["decision"]
    assert mlperf_tiny(decision, "keras_fp32") == ""
    scores = {"n_images": 200, "target": 0.85, "variants": rows}
    text = mlperf_tiny(decision | {"mlperf_tiny": scores}, "keras_fp32")
    assert "keras_fp32 classifies 174 correctly, the quantized variants 173 to 175." in text
    assert "81.6 to 91.0%" in text


@pytest.mark.parametrize(
    ("n_bytes", "words"), [(4_321, "4.32 kB"), (78_744, "78.7 kB"), (1_116_712, "1,117 kB")]
)
def test_sizes_have_three_digits_or_are_whole(n_bytes: int, words: str) -> None:
    assert kilobytes(n_bytes) == words
