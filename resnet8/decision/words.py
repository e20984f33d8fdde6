"""Puts a decision into words, for the report, the README, the terminal and the model card."""

from pathlib import Path

from resnet8.compare.tables import interval
from resnet8.core.files import Json
from resnet8.core.variants import Variant


def headline(decision: Json) -> str:
    """Names the file to ship."""
    chosen = decision["recommended"]
    return f"Ship {Variant(chosen).path(Path()).name if chosen else 'none of these variants'}"


def costs(decision: Json, comparison: Json) -> str:
    """Describes the cost of the recommended variant; empty unless it is a quantized one."""
    row = decision["variants"].get(decision["recommended"])
    if row is None:
        return ""
    ends = row["ci95_low_pp"], row["ci95_high_pp"]
    judged = ", no difference detected" if ends[0] <= 0 <= ends[1] else ""
    return (
        f"{percent(row['top1_accuracy'])} of {comparison['n_images']:,} test images correct, "
        f"{row['accuracy_delta_pp']:+.2f} percentage points against {comparison['baseline']} "
        f"(95% interval {interval(*ends)}{judged}). {sizes(row)}."
    )


def sizes(row: Json) -> str:
    """Compares the size of a variant's file with the float model's."""
    return f"{kilobytes(row['file_bytes'])} instead of {kilobytes(row['float_file_bytes'])}"


def percent(fraction: float) -> str:
    """Formats a fraction as percent."""
    return f"{100 * fraction:.2f}%"


# Where quantized variants should run; docs/reproducibility.md has the reasons.
PLACES = {
    "onnx_int8": "Activations and weights are signed: for devices with int8 kernels. x86 CPUs have "
    "none for int8 activations, and run unsigned ones faster.",
    "onnx_uint8": "Activations and weights are unsigned: integer kernels, and the same codes on "
    "every x86 CPU.",
    "onnx_uint8_int8": "Activations are unsigned, weights signed: products can saturate on x86 "
    "CPUs without VNNI.",
    "torch_int8": "For PyTorch, on CPUs; it keeps graph and float parts in its file.",
}


def kilobytes(n_bytes: int) -> str:
    """Formats a size in kB, with three digits or as a whole number."""
    size = n_bytes / 1000
    return f"{size:.3g} kB" if size < 100 else f"{size:,.0f} kB"


def mlperf_tiny(decision: Json, baseline: str) -> str:
    """Describes the accuracy on MLPerf Tiny's images; empty if it was not measured."""
    scores = decision["mlperf_tiny"]
    if scores is None:
        return ""
    rows, n, target = scores["variants"], scores["n_images"], scores["target"]
    row, counts = rows[baseline], [rows[name]["n_right"] for name in decision["variants"]]
    quantized = ""
    if counts:
        ends = sorted({min(counts), max(counts)})  # one number if all are equal
        quantized = f", the quantized variants {' to '.join(map(str, ends))}"
    return (
        f"MLPerf Tiny measures accuracy on {n} of these images and requires {100 * target:.0f}%, "
        f"{target * n:.0f} images: {baseline} classifies {row['n_right']} correctly{quantized}. "
        f"The 95% interval of so few images is {100 * row['ci95_low']:.1f} to "
        f"{100 * row['ci95_high']:.1f}%; the whole test set is more precise."
    )


def in_lines(decision: Json, comparison: Json) -> list[str]:
    """Returns the decision as lines for a terminal."""
    lines = [f"{headline(decision)}: {decision['reason']}.", costs(decision, comparison)]
    lines += [f"Warning: {x['text']}" for x in decision["warnings"]]
    return [line for line in lines if line]
