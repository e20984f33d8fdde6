"""The model card has the metrics' numbers, and a head that hubs can read."""

import json
from typing import Any

import pytest
import yaml

from resnet8.core.provenance import Fingerprint
from resnet8.core.variants import Variant
from resnet8.decision.model_card import CardInputs, choose_variant, write_card
from tests.report_inputs import LABELS, make_inputs

SHA = {"model": "aa" * 32, "original": "bb" * 32, "images": "cc" * 32, "test": "dd" * 32}
MODEL = "models/mine|`x`.h5"


def inputs(variant: str = "onnx_int8", **changes: Any) -> CardInputs:
    report = make_inputs()
    row = report.comparison["variants"][variant]
    card = CardInputs(
        comparison=report.comparison,
        decision=report.decision,
        lint=report.lint,
        network=report.network,
        scores={
            "top1_accuracy": row["top1_accuracy"],
            "per_class_accuracy": {name: 0.5 + 0.01 * k for k, name in enumerate(LABELS)},
        },
        verification={
            "n_images": 20,
            "variants": {
                "onnx_int8": {
                    "codes": 12345, "largest_difference": 1, "distance_from_tie_at_most": 0.001,
                    "saturating_products": False,
                }
            },
        },
        settings={
            "fetch": {"dataset": "cifar10", "model": MODEL, "model_sha256": None},
            "convert_onnx": {"opset": 17},
            "calibrate": {"size": 50, "batches": [1, 2]},
            "fit": {"weight_rounding": "gptq", "bias_correction": True},
        },
        model=Fingerprint(f"artifacts/models/{variant}.onnx", 102_999, SHA["model"]),
        original=Fingerprint("data/raw/model.h5", 316_270, SHA["original"]),
        calibration=Fingerprint("data/calibration/images.npy", 99, SHA["images"]),
        test_set_sha256=SHA["test"],
    )  # fmt: skip
    return card._replace(**changes)


def head_and_text(card: str) -> tuple[Any, str]:
    _, head, text = card.split("---\n", 2)
    return yaml.safe_load(head), text


def test_head_has_the_accuracy_of_the_metrics_as_model_index() -> None:
    found = inputs()
    head, _ = head_and_text(write_card(Variant.ONNX_INT8, found))
    (entry,) = head["model-index"]
    (result,) = entry["results"]
    assert result["metrics"][0]["value"] == found.scores["top1_accuracy"]
    assert result["task"]["type"] == head["pipeline_tag"] == "image-classification"
    assert result["dataset"]["type"] in head["datasets"]
    assert head["license"] == "other"  # of a user's own model nobody knows it


def test_text_has_the_numbers_of_the_metrics_and_all_hashes() -> None:
    found = inputs()
    _, text = head_and_text(write_card(Variant.ONNX_INT8, found))
    row = found.comparison["variants"]["onnx_int8"]
    for words in (
        f"{100 * row['top1_accuracy']:.2f}%",
        f"{row['accuracy_delta_pp']:+.2f} percentage points ({row['ci95_low_pp']:+.2f} to",
        f"{100 * row['agreement']:.2f}%",
        "102,999",
        "All 12,345 8-bit values of 20 test images",
        "airplane (50.0%)",
        "the 50 calibration images were compared with the test images byte by byte",
        "| `calibrate.batches` | \\[1, 2\\] |",
        *SHA.values(),
    ):
        assert words in text, words


def test_text_escapes_names_from_outside() -> None:
    _, text = head_and_text(write_card(Variant.ONNX_INT8, inputs()))
    assert "# mine\\|\\`x\\`.h5, quantized to 8 bits" in text
    peak = inputs().network["peak_activation_bytes"] | {"at": "<b>_x_"}
    found = inputs(
        network=inputs().network | {"peak_activation_bytes": peak},
        decision=inputs().decision | {"warnings": [{"kind": "lint", "text": "1 finding: <i>*y*"}]},
    )
    _, text = head_and_text(write_card(Variant.ONNX_INT8, found))
    assert "at &lt;b&gt;\\_x\\_," in text
    assert "1 finding: &lt;i&gt;\\*y\\*" in text


def test_text_has_mlperf_tinys_images_where_they_were_measured() -> None:
    row = {"n_right": 174, "top1_accuracy": 0.87, "ci95_low": 0.8163, "ci95_high": 0.9097}
    mlperf = {"n_images": 200, "target": 0.85, "variants": {"onnx_int8": row}}
    decision = inputs().decision | {"mlperf_tiny": mlperf}
    _, text = head_and_text(write_card(Variant.ONNX_INT8, inputs(decision=decision)))
    assert "174 correct, 87.0%\n(95% interval 81.6 to 91.0%). The benchmark requires 85%." in text


def test_text_says_how_many_calibration_images_are_test_images() -> None:
    lint = {"findings": [], "calibration": {"n_images": 50, "n_in_test_set": 7}}
    _, text = head_and_text(write_card(Variant.ONNX_INT8, inputs(lint=lint)))
    assert "7 of the 50 calibration images are also test images" in text


def test_text_warns_of_what_concerns_the_model_and_not_of_an_old_sweep() -> None:
    warnings = [{"kind": "sweep", "text": "Old."}, {"kind": "lint", "text": "1 lint finding."}]
    decision = inputs().decision | {"warnings": warnings}
    _, text = head_and_text(write_card(Variant.ONNX_INT8, inputs(decision=decision)))
    assert "> **Warning:** 1 lint finding." in text
    assert "Old." not in text


@pytest.mark.parametrize(
    ("candidate", "recommended", "chosen"),
    [
        ("torch_int8", "onnx_int8", "torch_int8"),
        ("keras_fp32", "onnx_int8", "onnx_int8"),
        ("keras_fp32", "onnx_fp32", "onnx_fp32"),
        ("keras_fp32", None, "onnx_fp32"),
    ],
)
def test_variant_is_a_quantized_candidate_or_the_recommended(
    candidate: str, recommended: str | None, chosen: str
) -> None:
    assert choose_variant({"recommended": recommended}, candidate) == chosen


def test_a_float_model_has_a_card_without_quantization() -> None:
    head, text = head_and_text(write_card(Variant.ONNX_FP32, inputs("onnx_fp32")))
    assert "quantized" not in json.dumps(head)
    assert "converted to ONNX" in text
    assert "fit.weight_rounding" not in text
