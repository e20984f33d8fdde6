"""Finds silent quantization problems, which neither models nor accuracies show.

Shape letters: N images, K classes.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import onnx
from numpy.typing import NDArray

from resnet8.core.evaluation import Probabilities
from resnet8.core.names import INPUT
from resnet8.core.variants import Variant
from resnet8.models.onnx_graph import PASSING, Graph
from resnet8.models.onnx_model import OUTPUT
from resnet8.quantize.layers import read_layers
from resnet8.quantize.quantization import Quantization
from resnet8.quantize.scales import find_outputs

USED_SHARE = 0.5  # of a shared range; below, sharing wastes levels
WIDENED = 3.0  # times the range of all values but one in 500
LEVELS = 128  # of 256
SHOWN_CHANNELS = 10
RULES = (
    "calibrated_on_test", "float_operator", "shared_scale", "outlier_range",
    "few_levels", "dead_channels", "tied_outputs",
)  # fmt: skip


class Finding(NamedTuple):
    """A problem that the user should look at.

    variant: `all` for a finding about the calibration images.
    rule: one of `RULES`.
    layer: None for the whole model.
    message: a sentence.
    """

    variant: str
    rule: str
    layer: str | None
    message: str


_SHARED = "{} shares the scale of its input {}, of whose range its own values need {:.0%}."
_OUTLIERS = "The range is {:.1f} times as wide as 99.8% of the values need: few outliers widen it."
_DEAD = "{} of its channels are dead or nearly so, whatever the input: {}"
_TIED = "{} of {} images have two classes with the same probability."
_SCALE_KEYS = ("scale", "zero_point")
_Rows = Iterator[tuple[str, str | None, str]]  # rule, layer and message


def count_test_images(calibration: NDArray[np.uint8], test: NDArray[np.uint8]) -> int:
    """Counts the calibration images (N, H, W, C) that are byte-identical to a test image."""
    known = {image.tobytes() for image in test}
    return sum(image.tobytes() in known for image in calibration)


def lint_calibration(n_images: int, n_in_test_set: int) -> list[Finding]:
    """Finds calibration images that are test images, which invalidate all accuracies."""
    message = (
        f"{n_in_test_set:,} of {n_images:,} calibration images are test images: accuracies are "
        "too good. Calibrate on training images."
    )
    return [Finding("all", "calibrated_on_test", None, message)] if n_in_test_set else []


def lint(
    model: onnx.ModelProto,
    quantization: Quantization,
    layers: Mapping[str, Any],
    predictions: Mapping[str, Probabilities],
) -> list[Finding]:
    """Finds silent problems in the quantized variants, sorted by variant and rule.

    Args:
        model: the float model.
        quantization: the result of `fit` for this model.
        layers: content of `layers.json`, written by `inspect_layers`.
        predictions: probabilities (N, K) by variant.
    """
    findings = []
    for variant in map(Variant, predictions):
        if not variant.is_float:
            rows = [
                *_lint_operators(model, layers, variant),
                *_lint_outputs(_statistics(layers, variant)),
                *_lint_weights(model, quantization),
                *_lint_predictions(predictions[variant]),
            ]
            rows.sort(key=lambda row: RULES.index(row[0]))
            findings += [Finding(variant, *row) for row in rows]
    return findings


def _statistics(layers: Mapping[str, Any], variant: str) -> dict[str, Any]:
    """Returns the activation statistics of a variant, by layer."""
    by_layer = layers["activations"]["calibration"]
    return {
        layer: rows[variant]["statistics"] for layer, rows in by_layer.items() if variant in rows
    }


def _lint_operators(model: onnx.ModelProto, layers: Mapping[str, Any], variant: Variant) -> _Rows:
    """Finds operators that compute in float, or share the scale of an input with a wide range."""
    graph, statistics = Graph(model), _statistics(layers, variant)
    original = _statistics(layers, variant.original)
    passed = {x.output[0]: x.input[0] for x in graph.nodes if x.op_type in PASSING}

    def find_rounded(tensor: str) -> str | None:
        """Returns the 8-bit tensor behind pass-through operators, `input`, or None for float."""
        while tensor != INPUT and "scale" not in statistics.get(tensor, {}):
            if tensor not in passed:
                return None
            tensor = passed[tensor]
        return tensor

    for node in graph.nodes:
        if node.op_type in (*PASSING, "Softmax") or node.output[0] == OUTPUT:
            continue
        name, op_type = node.name, node.op_type
        sources = [find_rounded(x) for x in node.input if not graph.is_constant(x)]
        kinds = layers["parameters"].get(name)
        weight = (kinds or {}).get("weight", {}).get(variant, {}).get("statistics", {})
        has_float_weight = kinds is not None and "dtype" not in weight
        if None in sources or has_float_weight:
            yield "float_operator", name, f"{op_type} computes in float."
        output = statistics.get(name, {})
        span = original[name]["dynamic_range"] if name in original else 0.0
        for source in sources:
            shared = statistics.get(str(source), {})
            if "scale" not in shared or any(output.get(x) != shared[x] for x in _SCALE_KEYS):
                continue
            share = span / (shared["clip_high"] - shared["clip_low"])
            if share < USED_SHARE:
                yield "shared_scale", name, _SHARED.format(op_type, source, share)


def _lint_outputs(statistics: Mapping[str, Any]) -> _Rows:
    """Finds 8-bit tensors whose range few outliers widen, or that use few levels."""
    for layer, row in statistics.items():
        if "scale" not in row:
            continue
        usual = max(row["percentiles"]["99.9"], 0.0) - min(row["percentiles"]["0.1"], 0.0)
        span = row["clip_high"] - row["clip_low"]
        if usual > 0 and span > WIDENED * usual:
            yield "outlier_range", layer, _OUTLIERS.format(span / usual)
        if row["levels_used"] < LEVELS:
            yield "few_levels", layer, f"Its output uses {row['levels_used']} of 256 levels."


def _lint_weights(model: onnx.ModelProto, quantization: Quantization) -> _Rows:
    """Finds weights with few levels, and dead channels."""
    for layer, weights in quantization.codes.items():
        n_levels = len(np.unique(weights))
        if n_levels < min(LEVELS, weights.size // 2):
            yield "few_levels", layer, f"Its weights use {n_levels} of 256 levels."
    for layer, channels in find_dead_channels(model, quantization).items():
        listed = ", ".join(map(str, channels[:SHOWN_CHANNELS]))
        end = ", …" if len(channels) > SHOWN_CHANNELS else "."
        yield "dead_channels", layer, _DEAD.format(len(channels), listed + end)


def find_dead_channels(model: onnx.ModelProto, quantization: Quantization) -> dict[str, list[int]]:
    """Returns channels with the same output for all images, by layer.

    For any input, their output varies by less than a step of the tensor in which it is rounded:
    their weights are pruned, or their batch normalization decayed.
    """
    outputs = find_outputs(model, quantization.activations)
    channels = {}
    for layer in read_layers(model):
        output = quantization.activations.get(outputs[layer.name])
        if output is not None and layer.name in quantization.weights:
            weight = quantization.layers[layer.name].weight.values
            low, high = quantization.activations[layer.input].clip_range
            sums = np.abs(weight.reshape(len(weight), -1)).sum(axis=1, dtype=np.float64)
            dead = np.flatnonzero(sums * (high - low) < output.scale)
            if dead.size:
                channels[layer.name] = dead.tolist()
    return channels


def _lint_predictions(probabilities: Probabilities) -> _Rows:
    """Finds images whose two most probable classes tie."""
    best = np.sort(probabilities, axis=1)[:, -2:]
    if ties := int(np.count_nonzero(best[:, 0] == best[:, 1])):
        yield "tied_outputs", None, _TIED.format(ties, len(probabilities))
