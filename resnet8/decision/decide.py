"""Recommends a variant by stated rules: the contents of metrics/decision.json."""

from collections.abc import Mapping, Sequence
from typing import Any

from resnet8.compare.chance import chance_warning
from resnet8.core.files import Json
from resnet8.core.variants import Variant, list_larger

SAME_SIZE = 0.01  # of the smallest file
FIGURES = ("top1_accuracy", "accuracy_delta_pp", "ci95_low_pp", "ci95_high_pp")
STANDARD_ERRORS = 2  # of the smallest KL divergence
RULES = (
    "No variant is recommended where the baseline is not better than chance.",
    "A quantized variant must keep the gate's limits; those of the float models apply to all.",
    "Its 8-bit products must not saturate on the CPU that evaluated it.",
    "Its file must be smaller than the float model's.",
    f"Of these, the smallest file wins; up to {SAME_SIZE:.0%} more counts as equal.",
    "Of these, the smallest KL divergence wins; up to "
    f"{STANDARD_ERRORS} standard errors more counts as equal.",
    "Ties go to the first in params.yaml. If none is left, the float ONNX model is recommended.",
)


def decide(
    results: Json, *, limits: Sequence[Json], sizes: Mapping[Variant, int], mlperf_tiny: Json | None
) -> dict[str, Any]:
    """Describes the quantized variants, recommends one, and lists warnings.

    Args:
        results: contents of metrics/<name>.json, by name.
        limits: rows of `gate.rules.check_limits`.
        sizes: bytes of each variant's file, in the order of params.yaml.
        mlperf_tiny: accuracy on the benchmark's images by variant; None for another test set.
    """
    quantized = [x for x in sizes if not x.is_float]
    rows = {str(x): _describe(x, results, limits=limits, sizes=sizes) for x in quantized}
    # Limits of the float models and of the calibration concern all variants.
    broken = [x for x in limits if x["variant"] not in rows and not x["passed"]]
    recommended, reason = _recommend(rows, results["comparison"], is_broken=bool(broken))
    warnings = _warnings(results, broken, sizes)
    return {
        "recommended": recommended,
        "reason": reason,
        "variants": rows,
        "warnings": [{"kind": kind, "text": text} for kind, text in warnings.items() if text],
        "mlperf_tiny": mlperf_tiny,
    }


def _recommend(
    rows: Mapping[str, Json], comparison: Json, *, is_broken: bool
) -> tuple[str | None, str]:
    """Recommends a variant by `RULES`, or None, and gives the reason.

    `is_broken` is True if a limit that concerns all variants is broken.
    """
    if comparison["baseline_is_chance"]:
        return None, "the baseline is not better than chance, so accuracies say nothing"
    safe = {x: row for x, row in rows.items() if row["keeps_limits"]}
    exact = {x: row for x, row in safe.items() if not row["saturates"]}
    saving = {x: row for x, row in exact.items() if row["file_bytes"] < row["float_file_bytes"]}
    for is_reason, reason in (
        (not rows, "there is no quantized variant"),
        (is_broken, "a limit of the gate that concerns all variants is broken"),
        (not safe, "no quantized variant keeps the limits of the gate"),
        (not exact, "no quantized variant does so with products that do not saturate"),
        (not saving, "no quantized variant has a smaller file than the float model, too"),
    ):
        if is_reason:
            return str(Variant.ONNX_FP32), reason
    least_bytes = min(row["file_bytes"] for row in saving.values())
    small = [x for x, row in saving.items() if row["file_bytes"] <= (1 + SAME_SIZE) * least_bytes]
    compared = comparison["variants"]
    nearest = min((compared[name] for name in small), key=lambda row: row["kl_divergence"])
    standard_error = nearest["kl_standard_error"] or 0  # None for a single image
    most = nearest["kl_divergence"] + STANDARD_ERRORS * standard_error
    near = [name for name in small if compared[name]["kl_divergence"] <= most]
    reason = "keeps all limits of the gate, and no other that does has a smaller file"
    if len(small) > len(near):
        reason += " and is as close to float"
    if len(near) > 1:
        reason += f"; as good, and later in params.yaml: {', '.join(near[1:])}"
    return near[0], reason


def _describe(
    name: Variant, results: Json, *, limits: Sequence[Json], sizes: Mapping[Variant, int]
) -> dict[str, Any]:
    row = results["comparison"]["variants"][name]
    arithmetic = results["verify_quantized"]["variants"][name]
    findings = results["quantization_lint"]["findings"]
    concerned = [x for x in limits if x["variant"] == name]
    keys = ("parameter", "limit", "detail", "passed")
    return {
        "keeps_limits": all(x["passed"] for x in concerned),
        "limits": [
            {"value": round(x["value"], 4), **{key: x[key] for key in keys}} for x in concerned
        ],
        **{key: row[key] for key in FIGURES},
        "file_bytes": sizes[name],
        "float_file_bytes": sizes[name.original],
        "saturates": arithmetic["saturating_products"],
        "codes_compared": arithmetic["codes"],
        "largest_difference_of_codes": arithmetic["largest_difference"],
        "findings": sum(x["variant"] in {name, "all"} for x in findings),
    }


def _warnings(
    results: Json, broken: Sequence[Json], sizes: Mapping[Variant, int]
) -> dict[str, str]:
    """Returns a text by kind of warning; empty, or no entry, if there is no reason to warn."""
    warnings = {
        "chance": chance_warning(results["comparison"]),
        "limits": "; ".join(
            f"gate.{x['parameter']} is broken for {x['variant']}: {x['value']:.4g}, limit "
            f"{x['limit']:g}"
            for x in broken
        ),
        "larger_file": list_larger({str(x): n for x, n in sizes.items()}),
    }
    verified = results["verify_quantized"]["variants"]
    if saturating := [x for x, row in verified.items() if row["saturating_products"]]:
        warnings["saturating"] = (
            f"8-bit products of {', '.join(saturating)} saturate on the CPU that measured them: "
            "on others its numbers may differ."
        )
    if findings := results["quantization_lint"]["findings"]:
        plural = "s" if len(findings) > 1 else ""
        warnings["lint"] = f"{len(findings)} lint finding{plural}: {findings[0]['message']}"
    sweep = results["sweep"]
    if sweep["n_earlier"] or sweep["n_other_data"] or sweep["n_other_model"]:
        warnings["sweep"] = f"The sweep is outdated: {sweep['note']}"
    return warnings
