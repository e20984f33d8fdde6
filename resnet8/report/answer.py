"""The report's first screen: which file to ship, what it costs, and what is wrong."""

from typing import Any

from resnet8.compare.tables import interval
from resnet8.core.names import data_in_words, model_in_words
from resnet8.decision import words
from resnet8.decision.decide import RULES
from resnet8.report.inputs import Json, ReportInputs


def answer_view(inputs: ReportInputs) -> dict[str, Any]:
    """The recommendation, a card for each quantized variant, and what the network takes."""
    decision, fetch = inputs.decision, inputs.params["fetch"]
    chosen = decision["recommended"]
    return {
        "title": f"{model_in_words(fetch['model'])} on {data_in_words(fetch['dataset'])}",
        "recommended": chosen,
        "headline": words.headline(decision),
        "file": inputs.models[chosen].path if chosen else "",
        "costs": words.costs(decision, inputs.comparison),
        "reason": decision["reason"],
        "place": words.place(str(chosen)),
        "rules": RULES,
        "warnings": [x["text"] for x in decision["warnings"] if x["kind"] != "chance"],
        "cards": [
            card(name, row, is_recommended=name == chosen, mlperf=decision["mlperf_tiny"])
            for name, row in decision["variants"].items()
        ],
        "network": _network(inputs.network),
        "mlperf": words.mlperf_tiny(decision, inputs.comparison["baseline"]),
    }


def card(name: str, row: Json, *, is_recommended: bool, mlperf: Json | None) -> dict[str, Any]:
    """Figures of a variant that decide whether to ship it, as words.

    Args:
        name: of the variant.
        row: what metrics/decision.json holds of it.
        is_recommended: whether it is the one to ship.
        mlperf: what metrics/decision.json holds of MLPerf Tiny's images, if anything.
    """
    broken = [
        f"{x['detail']}: {x['value']:.2f} points lost, {x['limit']:g} allowed"
        for x in row["limits"] if not x["passed"]
    ]  # fmt: skip
    return {
        "name": name,
        "is_recommended": is_recommended,
        "keeps_limits": row["keeps_limits"],
        "broken": broken,
        "accuracy": words.percent(row["top1_accuracy"]),
        "delta": f"{row['accuracy_delta_pp']:+.2f}",
        "interval": interval(row["ci95_low_pp"], row["ci95_high_pp"]),
        "size": words.sizes(row),
        "arithmetic": _arithmetic(row),
        "is_exact": not row["saturates"],
        "findings": row["findings"],
        "mlperf": f"{mlperf['variants'][name]['n_right']} of {mlperf['n_images']}"
        if mlperf else "",
    }  # fmt: skip


def _arithmetic(row: Json) -> str:
    if row["saturates"]:
        return "products saturate"
    return "exact" if not row["largest_difference_of_codes"] else "exact but for ties"


def _network(network: Json) -> list[dict[str, str]]:
    weights, peak = network["weight_bytes"], network["peak_activation_bytes"]
    return [
        {"name": "multiply-accumulates", "value": f"{network['macs'] / 1e6:.3g} million",
         "note": "for one image"},
        {"name": "weights and biases", "value": words.kilobytes(weights["int8"]),
         "note": f"in 8 bits; {words.kilobytes(weights['float32'])} in float"},
        {"name": "activations at their peak", "value": words.kilobytes(peak["int8"]),
         "note": f"in 8 bits, at {peak['at']}; {words.kilobytes(peak['float32'])} in float"},
    ]  # fmt: skip
