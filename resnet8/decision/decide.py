"""Recommends a variant by stated rules: the contents of metrics/decision.json."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from resnet8.compare.chance import chance_warning
from resnet8.compare.rendering import Json
from resnet8.core.variants import Variant, list_larger
from resnet8.gate.rules import Limit

SAME_SIZE = 0.01  # of the smallest file
FIGURES = ("top1_accuracy", "accuracy_delta_pp", "ci95_low_pp", "ci95_high_pp")
STANDARD_ERRORS = 2  # of the smallest KL divergence
RULES = (
    "No variant is recommended where the baseline is not better than chance.",
    "A quantized variant must keep the gate's limits; those of the float models concern all.",
    "Its 8-bit products must not saturate on the CPU that measured.",
    "Its file must be smaller than the float model's.",
    f"Of these, the smallest file is chosen; {SAME_SIZE:.0%} more is as small.",
    "Of these, the one with the smallest KL divergence is; up to "
    f"{STANDARD_ERRORS} standard errors more is as good.",
    "Of these, the first in params.yaml is. Where there is none, the float ONNX model is.",
)


class Evidence(NamedTuple):
    """Inputs of a decision.

    results: contents of metrics/<name>.json, by name.
    limits: the gate's limits with their measured values.
    sizes: bytes of each variant's file.
    mlperf_tiny: accuracy on the benchmark's images by variant; None for another test set.
    """

    results: Json
    limits: Sequence[Limit]
    sizes: Mapping[Variant, int]
    mlperf_tiny: Json | None


def decide(evidence: Evidence) -> dict[str, Any]:
    """Describes the quantized variants, recommends one, and lists warnings."""
    rows = {str(x): _describe(x, evidence) for x in evidence.sizes if not x.is_float}
    shared = [x for x in evidence.limits if x.variant not in rows and not x.passed]
    recommended, reason = _recommend(rows, evidence.results["comparison"], broken=shared)
    return {
        "recommended": recommended,
        "reason": reason,
        "variants": rows,
        "warnings": _warnings(evidence, shared),
        "mlperf_tiny": evidence.mlperf_tiny,
    }


def _recommend(
    rows: Mapping[str, Json], comparison: Json, *, broken: Sequence[Limit]
) -> tuple[str | None, str]:
    """Recommends a variant by `RULES`, or None, and gives the reason.

    Rows are in the order of params.yaml; `broken` limits concern all variants.
    """
    if comparison["baseline_is_chance"]:
        return None, "the baseline is not better than chance, so accuracies say nothing"
    float_instead = str(Variant.ONNX_FP32)
    if not rows:
        return float_instead, "there is no quantized variant"
    if broken:
        return float_instead, "a limit of the gate that concerns all variants is broken"
    for requirement, is_met in (
        ("keeps the limits of the gate", lambda row: row["keeps_limits"]),
        ("does so with products that do not saturate", lambda row: not row["saturates"]),
        (
            "has a smaller file than the float model, too",
            lambda row: row["file_bytes"] < row["float_file_bytes"],
        ),
    ):
        rows = {name: row for name, row in rows.items() if is_met(row)}
        if not rows:
            return float_instead, f"no quantized variant {requirement}"
    smallest = min(row["file_bytes"] for row in rows.values())
    small = [x for x, row in rows.items() if row["file_bytes"] <= (1 + SAME_SIZE) * smallest]
    divergences = comparison["variants"]
    nearest = min((divergences[name] for name in small), key=lambda row: row["kl_divergence"])
    most = nearest["kl_divergence"] + STANDARD_ERRORS * (nearest["kl_standard_error"] or 0)
    near = [name for name in small if divergences[name]["kl_divergence"] <= most]
    reason = "keeps all limits of the gate, and no other that does has a smaller file"
    if len(small) > len(near):
        reason += " and is as close to float"
    if len(near) > 1:
        reason += f"; as good, and later in params.yaml: {', '.join(near[1:])}"
    return near[0], reason


def _describe(name: Variant, evidence: Evidence) -> dict[str, Any]:
    row = evidence.results["comparison"]["variants"][name]
    arithmetic = evidence.results["verify_quantized"]["variants"][name]
    findings = evidence.results["quantization_lint"]["findings"]
    limits = [x for x in evidence.limits if x.variant == name]
    return {
        "keeps_limits": all(x.passed for x in limits),
        "limits": [
            {"parameter": x.parameter, "value": round(x.value, 4), "limit": x.limit,
             "detail": x.detail, "passed": x.passed}
            for x in limits
        ],
        **{key: row[key] for key in FIGURES},
        "file_bytes": evidence.sizes[name],
        "float_file_bytes": evidence.sizes[name.original],
        "saturates": arithmetic["saturating_products"],
        "codes_compared": arithmetic["codes"],
        "largest_difference_of_codes": arithmetic["largest_difference"],
        "findings": sum(x["variant"] in {name, "all"} for x in findings),
    }  # fmt: skip


def _warnings(evidence: Evidence, shared: Sequence[Limit]) -> list[dict[str, str]]:
    results, sweep = evidence.results, evidence.results["sweep"]
    saturating = [x for x, row in results["verify_quantized"]["variants"].items()
                  if row["saturating_products"]]  # fmt: skip
    findings = results["quantization_lint"]["findings"]
    old = sweep["n_earlier"] + sweep["n_other_data"] + sweep["n_other_model"]
    texts = {
        "chance": chance_warning(results["comparison"]),
        "limits": "; ".join(
            f"gate.{x.parameter} is broken for {x.variant}: {x.value:.4g}, limit {x.limit:g}"
            for x in shared
        ),
        "larger_file": list_larger({str(x): n for x, n in evidence.sizes.items()}),
        "saturating": f"8-bit products of {', '.join(saturating)} saturate on the CPU that measured"
        " them: on others its numbers may differ." if saturating else "",
        "lint": f"{len(findings)} lint finding{'s' if len(findings) > 1 else ''}: "
        f"{findings[0]['message']}" if findings else "",
        "sweep": f"The sweep is outdated: {sweep['note']}" if old else "",
    }  # fmt: skip
    return [{"kind": kind, "text": text} for kind, text in texts.items() if text]
