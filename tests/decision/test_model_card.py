"""The model card has the metrics' numbers, and a head that hubs can read."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from numpy.typing import NDArray

from resnet8.core.files import Fingerprint
from resnet8.core.variants import Variant
from resnet8.decision.model_card import CardInputs, choose_variant, write_card
from resnet8.inspection.watch import load_variants
from resnet8.models import onnx_model, torch_model
from tests.report_inputs import LABELS, make_inputs

SHA = {"model": "aa" * 32, "original": "bb" * 32, "images": "cc" * 32, "test": "dd" * 32}
VARIANTS = ("onnx_int8", "onnx_uint8", "torch_int8")
RESULTS = dict(make_inputs(quantized=VARIANTS).results)


def card(variant: str = "onnx_int8", *, path: str = "", **changes: Any) -> tuple[Any, str]:
    """Head and text of a card of the model at a path; changes are made to the results."""
    arithmetic = {
        "codes": 12345, "largest_difference": 1, "distance_from_tie_at_most": 0.001,
        "saturating_products": False,
    }  # fmt: skip
    scores = {
        "top1_accuracy": RESULTS["comparison"]["variants"][variant]["top1_accuracy"],
        "per_class_accuracy": {name: 0.5 + 0.01 * k for k, name in enumerate(LABELS)},
    }
    results = RESULTS | {
        "correct": {"test_set_sha256": SHA["test"]},
        "scores": scores,
        "verify_quantized": {"n_images": 20, "variants": {"onnx_int8": arithmetic}},
    }
    settings = {
        "fetch": {"dataset": "cifar10", "model": "models/mine|`x`.h5", "model_sha256": None},
        "convert_onnx": {"opset": 17},
        "calibrate": {"size": 50, "batches": [1, 2]},
        "fit": {"weight_rounding": "gptq", "bias_correction": True},
    }
    inputs = CardInputs(
        results | changes,
        settings,
        model=Fingerprint(path or f"artifacts/models/{variant}.onnx", 102_999, SHA["model"]),
        original=Fingerprint("data/raw/model.h5", 316_270, SHA["original"]),
        calibration=Fingerprint("data/calibration/images.npy", 99, SHA["images"]),
    )
    _, head, text = write_card(Variant(variant), inputs).split("---\n", 2)
    return yaml.safe_load(head), text


def test_head_has_the_accuracy_of_the_metrics_as_model_index() -> None:
    head, _ = card()
    (entry,) = head["model-index"]
    (result,) = entry["results"]
    row = RESULTS["comparison"]["variants"]["onnx_int8"]
    assert result["metrics"][0]["value"] == row["top1_accuracy"]
    assert result["task"]["type"] == head["pipeline_tag"] == "image-classification"
    assert result["dataset"]["type"] in head["datasets"]
    assert head["license"] == "other"  # that of a user's own model is unknown


def test_text_has_the_numbers_of_the_metrics_and_all_hashes() -> None:
    _, text = card()
    row = RESULTS["comparison"]["variants"]["onnx_int8"]
    for words in (
        f"{100 * row['top1_accuracy']:.2f}%",
        f"{row['accuracy_delta_pp']:+.2f} percentage points ({row['ci95_low_pp']:+.2f} to",
        f"{100 * row['agreement']:.2f}%",
        "102,999",
        "All 12,345 8-bit values of 20 test images",
        "airplane (50.0%)",
        "the 50 calibration images were compared with the test images byte by byte",
        "| `calibrate.batches` | \\[1, 2\\] |",
        "# mine\\|\\`x\\`.h5, quantized to 8 bits",
        *SHA.values(),
    ):
        assert words in text, words
    assert "The sweep is" not in text  # an old sweep does not concern the model


MLPERF = {"n_right": 174, "top1_accuracy": 0.87, "ci95_low": 0.8163, "ci95_high": 0.9097}


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("network", {"peak_activation_bytes": {"int8": 1, "at": "<b>_x_"}}, "at &lt;b&gt;\\_x\\_,"),
        ("decision", {"warnings": [{"kind": "lint", "text": "1 finding: <i>*y*"}]},
         "> **Warning:** 1 finding: &lt;i&gt;\\*y\\*"),
        ("decision", {"mlperf_tiny": {"n_images": 200, "target": 0.85,
                                      "variants": {"onnx_int8": MLPERF}}},
         "174 correct, 87.0%\n(95% interval 81.6 to 91.0%). The benchmark requires 85%."),
        ("quantization_lint", {"calibration": {"n_images": 50, "n_in_test_set": 7}},
         "7 of the 50 calibration images are also test images"),
    ],
)  # fmt: skip
def test_text_follows_the_results_and_escapes_names(
    name: str, change: dict[str, Any], words: str
) -> None:
    _, text = card(**{name: RESULTS[name] | change})
    assert words in text


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
    head, text = card("onnx_fp32")
    assert "quantized" not in json.dumps(head)
    assert "converted to ONNX" in text
    assert "fit.weight_rounding" not in text


@pytest.mark.parametrize("variant", [Variant(x) for x in VARIANTS])
def test_code_of_a_card_gives_the_evaluated_probabilities(
    models_folder: Path, calibration_images: NDArray[np.uint8], variant: Variant
) -> None:
    _, text = card(variant, path=str(variant.path(models_folder)))
    code = "\n".join(line[4:] for line in text.splitlines() if line.startswith("    "))
    images = np.ascontiguousarray(calibration_images[:200], np.float32)
    names: dict[str, Any] = {"images": images}
    exec(code, names)
    model = load_variants([variant], models_folder, raw=models_folder, n_classes=10)[variant]
    library = onnx_model if variant.runtime == "onnx" else torch_model
    expected = library.make_predictor(model)(images)
    # A session that fuses the operators of onnx_int8 differs by more than a hundredth.
    got = torch.as_tensor(names["probabilities"]).detach()
    np.testing.assert_allclose(got, expected, atol=1e-5)
