"""The lint of quantized models: each rule finds what was planted, and nothing else."""

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest

from resnet8.core.qparams import Parameter, QuantizationParameters
from resnet8.quantize.lint import (
    Finding,
    count_test_images,
    find_dead_channels,
    lint,
    lint_calibration,
)
from resnet8.quantize.quantization import LayerParameters, Quantization
from tests.quantize import graphs
from tests.quantize.graphs import fitted, node
from tests.quantize.test_scales import damaged

VARIANT = "onnx_int8"
RNG = np.random.default_rng(0)
CODES = RNG.integers(-127, 128, (16, 16, 3, 3)).astype(np.int8)


def model() -> onnx.ModelProto:
    nodes = [
        node("Conv", "conv", "input", "w"),
        node("Relu", "relu", "conv"),
        node("AveragePool", "pool", "relu", kernel_shape=[2, 2]),
        node("Gemm", "dense", "pool", "v"),
        node("Softmax", "probabilities", "dense"),
    ]
    return graphs.build(nodes, {name: np.ones((2, 2), np.float32) for name in "wv"})


def statistics(high: float, *, scale: float | None = None, levels: int = 250) -> dict[str, Any]:
    """Of a layer after a ReLU: values up to `high`, 99.9% of them below three quarters of it."""
    row = {"dynamic_range": high, "percentiles": {"0.1": 0.0, "99.9": 0.75 * high}}
    if scale is None:
        return row
    quantized = {"scale": scale, "zero_point": 0, "clip_low": 0.0, "clip_high": 255 * scale}
    return row | quantized | {"levels_used": levels}


def layers() -> dict[str, Any]:
    """Output of inspect_layers for a model without faults."""
    activations = {
        name: {
            "onnx_fp32": {"statistics": statistics(high)},
            VARIANT: {"statistics": statistics(high, scale=high / 255)},
        }
        for name, high in {"relu": 8.0, "pool": 2.0}.items()
    }
    weight = {VARIANT: {"statistics": {"dtype": "int8"}}}
    return {
        "activations": {"calibration": activations},
        "parameters": {name: {"weight": weight} for name in ("conv", "dense")},
    }


def run(
    content: dict[str, Any], *, probabilities: Any = ((0.7, 0.3), (0.1, 0.9)), codes: Any = CODES
) -> list[tuple[str, str | None, str]]:
    """Rule, layer and message of the findings."""
    rows = np.array(probabilities)
    parameters = QuantizationParameters.per_tensor(1.0, 0, "int8")
    layer = LayerParameters(Parameter(codes.astype(np.float32), parameters), None)
    predictions = {"onnx_fp32": rows, VARIANT: rows.astype(np.float32)}
    findings = lint(model(), Quantization({}, {"conv": layer}), content, predictions)
    assert {finding.variant for finding in findings} <= {VARIANT}
    return [finding[1:] for finding in findings]


def row_of(content: dict[str, Any], layer: str) -> dict[str, Any]:
    return content["activations"]["calibration"][layer][VARIANT]["statistics"]


def float_weights(content: dict[str, Any]) -> None:
    content["parameters"]["conv"] = {"weight": {VARIANT: {"statistics": {}}}}


def float_input(content: dict[str, Any]) -> None:
    content["activations"]["calibration"]["pool"][VARIANT]["statistics"] = statistics(2.0)


def shared_scale(content: dict[str, Any]) -> None:
    row_of(content, "pool").update(scale=row_of(content, "relu")["scale"])


POOL_SHARES = (
    "AveragePool shares the scale of its input relu, of whose range its own values need 25%."
)
WIDE = "The range is 3.3 times as wide as 99.8% of the values need: few outliers widen it."
PLANTED: list[tuple[Callable[[Any], None], list[tuple[str, str, str]]]] = [
    (lambda _: None, []),
    (float_weights, [("float_operator", "conv", "Conv computes in float.")]),
    (float_input, [("float_operator", "dense", "Gemm computes in float.")]),
    (shared_scale, [("shared_scale", "pool", POOL_SHARES)]),
    (
        lambda content: row_of(content, "relu").update(clip_high=20.0),
        [("outlier_range", "relu", WIDE)],
    ),
    (
        lambda content: row_of(content, "relu").update(levels_used=127),
        [("few_levels", "relu", "Its output uses 127 of 256 levels.")],
    ),
]


@pytest.mark.parametrize(("plant", "expected"), PLANTED)
def test_lint_names_what_was_planted(plant: Callable[[Any], None], expected: Any) -> None:
    content = layers()
    plant(content)
    assert run(content) == expected


def test_lint_sorts_findings_by_rule() -> None:
    content = layers()
    for plant, _ in reversed(PLANTED):
        plant(content)
    rules = [rule for rule, *_ in run(content)]
    assert rules == ["float_operator", "float_operator", "outlier_range", "few_levels"]


@pytest.mark.parametrize(
    ("codes", "messages"),
    [
        (np.arange(2304).reshape(CODES.shape) % 100, ["Its weights use 100 of 256 levels."]),
        (CODES[:2, :2], []),  # fewer weights than levels
    ],
)
def test_lint_names_weights_with_few_codes(codes: Any, messages: list[str]) -> None:
    assert run(layers(), codes=codes) == [("few_levels", "conv", x) for x in messages]


def test_lint_counts_tied_outputs() -> None:
    rows = [[0.5, 0.5, 0.0], [0.4, 0.2, 0.4], [0.6, 0.2, 0.2]]
    message = "2 of 3 images have two classes with the same probability."
    assert run(layers(), probabilities=rows) == [("tied_outputs", None, message)]


@pytest.mark.parametrize("damages", [["pruned", "nearly dead"], ["decayed"], []], ids=str)
def test_lint_names_dead_channels(damages: list[str], fit_settings: Any) -> None:
    model = damaged(graphs.small_resnet(), "conv2", *damages)
    quantization, dead = fitted(model, fit_settings), [*range(1, len(damages) + 1)]
    assert find_dead_channels(model, quantization) == ({"conv2": dead} if damages else {})
    content = {"activations": {"calibration": {}}, "parameters": {}}
    predictions = {VARIANT: np.array([[0.7, 0.3]], np.float32)}
    findings = lint(model, quantization, content, predictions)
    message = (
        f"{len(dead)} of its channels are dead or nearly so, whatever the input: "
        f"{', '.join(map(str, dead))}."
    )
    expected = [Finding(VARIANT, "dead_channels", "conv2", message)] if damages else []
    assert [x for x in findings if x.rule == "dead_channels"] == expected


def test_calibration_images_that_are_test_images_are_counted_by_content() -> None:
    images = RNG.integers(0, 256, (6, 32, 32, 3), dtype=np.uint8)
    calibration = np.concatenate([images[:2], images[5:], images[:1] ^ 1])
    assert count_test_images(calibration, images[:4]) == 2
    assert count_test_images(images[4:], images[:4]) == 0
    assert lint_calibration(1000, 0) == []
    (finding,) = lint_calibration(1000, 7)
    assert finding[:3] == ("all", "calibrated_on_test", None)
    assert finding.message.startswith("7 of 1,000 calibration images are test images")
