"""Names what quantization hides: what a model does not say, and accuracy does not show.

Shape letters: N images, K classes.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
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

_MEANT_TO_BE_FLOAT = ("Softmax",)

USED_SHARE = 0.5  # of a shared range, below which sharing wastes levels
WIDENED = 3.0  # times the range of all values but one in 500
LEVELS = 128  # of 256
SHOWN_CHANNELS = 10


class Operator(NamedTuple):
    """An operator that computes.

    name: of its node, and of the layer.
    op_type: what it is.
    inputs: the tensors between nodes that it reads.
    """

    name: str
    op_type: str
    inputs: tuple[str, ...]


class Finding(NamedTuple):
    """What an engineer should look at.

    variant: `all` for a finding about the calibration images.
    rule: `shared_scale`, `outlier_range`, `few_levels`, `dead_channels`, `float_operator`,
        `tied_outputs` or `calibrated_on_test`.
    layer: None for the model as a whole.
    """

    variant: str
    rule: str
    layer: str | None
    message: str


def read_operators(model: onnx.ModelProto) -> list[Operator]:
    """The operators of a float model that could run in 8 bits, in order."""
    graph = Graph(model)
    return [
        Operator(node.name, node.op_type, tuple(x for x in node.input if not graph.is_constant(x)))
        for node in graph.nodes
        if node.op_type not in PASSING + _MEANT_TO_BE_FLOAT and node.output[0] != OUTPUT
    ]


def find_passed(model: onnx.ModelProto) -> dict[str, str]:
    """Maps the output of each pass-through operator (reshape, clip, ReLU) to its input."""
    return {node.output[0]: node.input[0] for node in model.graph.node if node.op_type in PASSING}


def find_dead_channels(model: onnx.ModelProto, quantization: Quantization) -> dict[str, list[int]]:
    """Finds channels that are the same for all images, by layer.

    Whatever the input, their output varies by less than a step of the tensor in which it is
    rounded: their weights are pruned, or their batch normalization decayed.

    Args:
        model: the float model.
        quantization: what `fit` decided about it.
    """
    outputs = find_outputs(model, quantization.activations)
    found = {}
    for layer in read_layers(model):
        output = quantization.activations.get(outputs[layer.name])
        if output is not None and layer.name in quantization.weights:
            weight = quantization.layers[layer.name].weight.values
            low, high = quantization.activations[layer.input].clip_range
            sums = np.abs(weight.reshape(len(weight), -1)).sum(axis=1, dtype=np.float64)
            if (dead := np.flatnonzero(sums * (high - low) < output.scale)).size:
                found[layer.name] = dead.tolist()
    return found


def count_test_images(calibration: NDArray[np.uint8], test: NDArray[np.uint8]) -> int:
    """Counts the calibration images (N, H, W, C) that are, byte by byte, test images."""
    known = {image.tobytes() for image in test}
    return sum(image.tobytes() in known for image in calibration)


def lint_calibration(n_images: int, n_in_test_set: int) -> list[Finding]:
    """Finds calibration images that are test images, on which no accuracy counts any more."""
    if not n_in_test_set:
        return []
    message = (
        f"{n_in_test_set:,} of {n_images:,} calibration images are test images: accuracies are "
        "too good. Calibrate on training images."
    )
    return [Finding("all", "calibrated_on_test", None, message)]


def lint(  # noqa: PLR0913, PLR0917
    operators: Sequence[Operator],
    passed: Mapping[str, str],
    layers: Mapping[str, Any],
    predictions: Mapping[str, Probabilities],
    codes: Mapping[str, NDArray[np.int8]],
    dead: Mapping[str, Sequence[int]] = MappingProxyType({}),
) -> list[Finding]:
    """Finds silent quantization problems.

    Args:
        operators: of the float model.
        passed: see `find_passed`.
        layers: what `inspect_layers` wrote.
        predictions: by variant, (N, K).
        codes: by layer, its 8-bit weights.
        dead: see `find_dead_channels`.
    """
    found = []
    shown = layers["activations"]["calibration"]
    for variant in map(Variant, predictions):
        if variant.is_float:
            continue
        statistics = {
            layer: rows[variant]["statistics"] for layer, rows in shown.items() if variant in rows
        }
        rounded = {layer for layer, row in statistics.items() if "scale" in row}
        weights = {
            layer
            for layer, kinds in layers["parameters"].items()
            if "dtype" in kinds.get("weight", {}).get(variant, {}).get("statistics", {})
        }
        spans = {
            layer: rows[variant.original]["statistics"]["dynamic_range"]
            for layer, rows in shown.items()
            if variant.original in rows
        }
        for rule in (
            _float_operators(operators, passed, rounded, set(layers["parameters"]) - weights),
            _shared_scales(operators, passed, statistics, spans),
            _outlier_ranges(statistics),
            _few_levels(statistics, codes),
            _dead_channels(dead),
            _tied_outputs(predictions[variant]),
        ):
            found += [Finding(variant, *rest) for rest in rule]
    return found


_Found = list[tuple[str, str | None, str]]  # rule, layer and message


def _source(tensor: str, passed: Mapping[str, str], among: set[str]) -> str | None:
    """The tensor, or the one that it was made of, that is among others."""
    while tensor not in among:
        if tensor not in passed:
            return None
        tensor = passed[tensor]
    return tensor


def _float_operators(
    operators: Sequence[Operator],
    passed: Mapping[str, str],
    rounded: set[str],
    with_float_weights: set[str],
) -> _Found:
    found: _Found = []
    for operator in operators:
        if operator.name in with_float_weights or any(
            _source(x, passed, rounded | {INPUT}) is None for x in operator.inputs
        ):
            message = f"{operator.op_type} computes in float."
            found.append(("float_operator", operator.name, message))
    return found


def _shared_scales(
    operators: Sequence[Operator],
    passed: Mapping[str, str],
    statistics: Mapping[str, Any],
    spans: Mapping[str, float],
) -> _Found:
    found: _Found = []
    rounded = {layer for layer, row in statistics.items() if "scale" in row}
    for operator in operators:
        before = [_source(x, passed, rounded) for x in operator.inputs]
        own = statistics.get(operator.name, {})
        for name in filter(None, before):
            other = statistics[name]
            alike = all(own.get(key) == other[key] for key in ("scale", "zero_point"))
            share = spans.get(operator.name, 0.0) / (other["clip_high"] - other["clip_low"])
            if alike and share < USED_SHARE:
                message = (
                    f"{operator.op_type} shares the scale of its input {name}, of whose range its "
                    f"own values need {share:.0%}."
                )
                found.append(("shared_scale", operator.name, message))
    return found


def _outlier_ranges(statistics: Mapping[str, Any]) -> _Found:
    found: _Found = []
    for layer, row in statistics.items():
        if "scale" not in row:
            continue
        usual = max(row["percentiles"]["99.9"], 0.0) - min(row["percentiles"]["0.1"], 0.0)
        span = row["clip_high"] - row["clip_low"]
        if usual > 0 and span > WIDENED * usual:
            message = (
                f"The range is {span / usual:.1f} times as wide as 99.8% of the values need: few "
                "outliers widen it."
            )
            found.append(("outlier_range", layer, message))
    return found


def _few_levels(statistics: Mapping[str, Any], codes: Mapping[str, NDArray[np.int8]]) -> _Found:
    found: _Found = []
    for layer, row in statistics.items():
        if "scale" in row and row["levels_used"] < LEVELS:
            message = f"Its output uses {row['levels_used']} of 256 levels."
            found.append(("few_levels", layer, message))
    for layer, stored in codes.items():
        used = len(np.unique(stored))
        if used < min(LEVELS, stored.size // 2):
            message = f"Its weights use {used} of 256 levels."
            found.append(("few_levels", layer, message))
    return found


def _dead_channels(dead: Mapping[str, Sequence[int]]) -> _Found:
    return [
        (
            "dead_channels",
            layer,
            f"{len(channels)} of its channels are dead or nearly so, whatever the input: "
            f"{', '.join(map(str, channels[:SHOWN_CHANNELS]))}"
            f"{', …' if len(channels) > SHOWN_CHANNELS else '.'}",
        )
        for layer, channels in dead.items()
    ]


def _tied_outputs(probabilities: Probabilities) -> _Found:
    best = np.sort(probabilities, axis=1)[:, -2:]
    ties = int(np.count_nonzero(best[:, 0] == best[:, 1]))
    if not ties:
        return []
    message = f"{ties} of {len(probabilities)} images have two classes with the same probability."
    return [("tied_outputs", None, message)]
