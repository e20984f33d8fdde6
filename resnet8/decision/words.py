"""Says a decision in words, for the report, the terminal and the model card."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from resnet8.compare.tables import interval
from resnet8.core.variants import Variant

Json = Mapping[str, Any]


def headline(decision: Json) -> str:
    """Which file to ship, in a few words."""
    chosen = decision["recommended"]
    if chosen is None:
        return "Ship none of these variants"
    return f"Ship {Variant(chosen).path(Path()).name}"


def costs(decision: Json, comparison: Json) -> str:
    """Cost of the recommended variant; empty where it is a float variant, or there is none.

    Args:
        decision: what metrics/decision.json holds.
        comparison: what metrics/comparison.json holds.
    """
    row = decision["variants"].get(decision["recommended"])
    if row is None:
        return ""
    ends = row["ci95_low_pp"], row["ci95_high_pp"]
    judged = ", no difference detected" if ends[0] <= 0 <= ends[1] else ""
    return (
        f"{percent(row['top1_accuracy'])} of {comparison['n_images']:,} test images right, "
        f"{row['accuracy_delta_pp']:+.2f} percentage points against {comparison['baseline']} "
        f"(95% interval {interval(*ends)}{judged}). {sizes(row)}."
    )


def sizes(row: Json) -> str:
    """The size of a variant's file beside the float model's."""
    return f"{kilobytes(row['file_bytes'])} instead of {kilobytes(row['float_file_bytes'])}"


def percent(fraction: float) -> str:
    """A fraction of images as percent."""
    return f"{100 * fraction:.2f}%"


# By type of activations and weights; docs/reproducibility.md has the reasons.
_PLACES = {
    "onnx_int8": "Activations and weights are signed: for devices with int8 kernels. x86 CPUs have "
    "none for int8 activations, and run unsigned ones faster.",
    "onnx_uint8": "Activations and weights are unsigned: integer kernels, and the same codes on "
    "every x86 CPU.",
    "onnx_uint8_int8": "Activations are unsigned, weights signed: products can saturate on x86 "
    "CPUs without VNNI.",
    "torch_int8": "For PyTorch, on CPUs; it keeps graph and float parts in its file.",
}


def place(variant: str) -> str:
    """Where a quantized variant belongs, as a sentence; empty for a float one."""
    return _PLACES.get(variant, "")


def kilobytes(n_bytes: int) -> str:
    """A size in kB, with three digits or whole."""
    size = n_bytes / 1000
    return f"{size:.3g} kB" if size < 100 else f"{size:,.0f} kB"


def mlperf_tiny(decision: Json, baseline: str) -> str:
    """Accuracy on MLPerf Tiny's images; empty where it was not measured."""
    found = decision["mlperf_tiny"]
    if found is None:
        return ""
    rows, n = found["variants"], found["n_images"]
    low, high = (100 * rows[baseline][key] for key in ("ci95_low", "ci95_high"))
    right = {rows[name]["n_right"] for name in decision["variants"]}
    span = " to ".join(str(x) for x in sorted({min(right), max(right)})) if right else ""
    return (
        f"MLPerf Tiny measures accuracy on {n} of these images and asks for "
        f"{100 * found['target']:.0f}%, {found['target'] * n:.0f} images: {baseline} gets "
        f"{rows[baseline]['n_right']} right{f', the quantized variants {span}' if right else ''}. "
        f"So few leave an interval of {low:.1f} to {high:.1f}%; the whole test set tells more."
    )


def in_lines(decision: Json, comparison: Json) -> list[str]:
    """The decision for a terminal."""
    lines = [f"{headline(decision)}: {decision['reason']}.", costs(decision, comparison)]
    lines += [f"Warning: {x['text']}" for x in decision["warnings"]]
    return [line for line in lines if line]
