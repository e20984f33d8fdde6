"""Choice of the recommended variant, and warnings."""

from typing import Any

import pytest

from resnet8.core.variants import Variant
from resnet8.decision.decide import decide

VARIANTS = ("onnx_int8", "onnx_uint8", "torch_int8")
SIZES = {
    "keras_fp32": 900, "onnx_fp32": 316, "torch_fp32": 359, "onnx_int8": 103, "onnx_uint8": 103,
    "torch_int8": 269,
}  # fmt: skip
LINT = {"variant": "onnx_int8", "message": "Conv computes in float."}


def decided(
    *,
    is_chance: bool = False,
    kl: dict[str, float] | None = None,
    lost: dict[str, float] | None = None,
    sizes: dict[str, int] | None = None,
    saturating: tuple[str, ...] = (),
    findings: tuple[dict[str, str], ...] = (),
    sweep: str = "",
    quantized: tuple[str, ...] = VARIANTS,
) -> dict[str, Any]:
    """The decision where all variants are alike but for the size of the PyTorch program."""
    row = {
        "top1_accuracy": 0.87, "accuracy_delta_pp": -0.1, "ci95_low_pp": -0.2, "ci95_high_pp": 0.1,
        "kl_standard_error": 0.0001,
    }  # fmt: skip
    rows = {name: row | {"kl_divergence": (kl or {}).get(name, 0.0008)} for name in quantized}
    arithmetic = {
        name: {"saturating_products": name in saturating, "codes": 9, "largest_difference": 1}
        for name in quantized
    }
    counts = dict.fromkeys(("n_earlier", "n_other_data", "n_other_model"), 0)
    results = {
        "comparison": {
            "baseline": "keras_fp32", "n_images": 100, "baseline_is_chance": is_chance,
            "chance_accuracy": 0.1, "variants": {"keras_fp32": {"top1_accuracy": 0.88}} | rows,
        },
        "verify_quantized": {"variants": arithmetic},
        "quantization_lint": {"findings": findings},
        "sweep": counts | {"note": "Nothing."} | ({sweep: 3} if sweep else {}),
    }  # fmt: skip
    drops = {x: (lost or {}).get(x, 0.1) for x in ("onnx_fp32", *quantized)}
    limits = [
        {
            "parameter": "drop_max_pp",
            "variant": name,
            "value": drop,
            "limit": 0.5,
            "detail": "all images",
            "passed": drop <= 0.5,
        }
        for name, drop in drops.items()
    ]
    names = [name for name in SIZES if "fp32" in name or name in quantized]
    bytes_of = {Variant(name): 1000 * (SIZES | (sizes or {}))[name] for name in names}
    return decide(results, limits=limits, sizes=bytes_of, mlperf_tiny=None)


@pytest.mark.parametrize(
    ("evidence", "recommended", "reason", "warnings"),
    [
        ({}, "onnx_int8", "and later in params.yaml: onnx_uint8", []),
        ({"kl": {"torch_int8": 0.0001}}, "onnx_int8", "", []),  # the smaller file wins
        ({"kl": {"onnx_uint8": 0.00065}}, "onnx_int8", "", []),  # within the noise of KL
        ({"kl": {"onnx_uint8": 0.0005}}, "onnx_uint8", "is as close to float", []),
        ({"lost": {"onnx_int8": 0.6}}, "onnx_uint8", "", []),
        ({"lost": dict.fromkeys(VARIANTS, 2)}, "onnx_fp32",
         "no quantized variant keeps the limits of the gate", []),
        ({"lost": {"onnx_fp32": 2}}, "onnx_fp32", "concerns all variants", ["limits"]),
        ({"saturating": ("onnx_int8",)}, "onnx_uint8", "", ["saturating"]),
        ({"saturating": VARIANTS}, "onnx_fp32", "products that do not saturate", ["saturating"]),
        ({"sizes": {"onnx_int8": 400}}, "onnx_uint8", "", ["larger_file"]),
        ({"is_chance": True}, None, "not better than chance", ["chance"]),
        ({"quantized": ()}, "onnx_fp32", "there is no quantized variant", []),
        ({"findings": (LINT,)}, "onnx_int8", "", ["lint"]),
        ({"sweep": "n_earlier"}, "onnx_int8", "", ["sweep"]),
        ({"sweep": "n_other_data"}, "onnx_int8", "", ["sweep"]),
        ({"sweep": "n_other_model"}, "onnx_int8", "", ["sweep"]),
    ],
)  # fmt: skip
def test_decision(evidence: Any, recommended: str | None, reason: str, warnings: list[str]) -> None:
    decision = decided(**evidence)
    assert decision["recommended"] == recommended
    assert reason in decision["reason"]
    assert [x["kind"] for x in decision["warnings"]] == warnings


def test_each_variant_is_described_by_its_limits_and_findings() -> None:
    decision = decided(lost={"onnx_int8": 0.6}, findings=(LINT, LINT | {"variant": "all"}))
    rows = decision["variants"]
    assert list(rows) == list(VARIANTS)
    assert [row["keeps_limits"] for row in rows.values()] == [False, True, True]
    assert [row["findings"] for row in rows.values()] == [2, 1, 1]
    assert decision["warnings"][0]["text"] == "2 lint findings: Conv computes in float."
