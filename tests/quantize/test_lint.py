"""The lint of quantized models: each rule finds what was planted, and nothing else."""

from typing import Any

import numpy as np
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
UNCHANGED: dict[str, Any] = {}
INT8 = {"dtype": "int8"}
MODEL = graphs.build(
    [
        node("Conv", "conv", "input", "w"),
        node("Relu", "relu", "conv"),
        node("AveragePool", "pool", "relu", kernel_shape=[2, 2]),
        node("Gemm", "dense", "pool", "v"),
        node("Softmax", "probabilities", "dense"),
    ],
    {name: np.ones((2, 2), np.float32) for name in "wv"},
)


def activation(high: float, changes: dict[str, Any] | None) -> dict[str, Any]:
    """Statistics of values up to `high`, 99.9% of them below three quarters; None for float."""
    row = {"dynamic_range": high, "percentiles": {"0.1": 0.0, "99.9": 0.75 * high}}
    quantized = {"scale": high / 255, "zero_point": 0, "clip_low": 0.0, "clip_high": high}
    in_8_bits = {} if changes is None else quantized | {"levels_used": 250} | changes
    return {"onnx_fp32": {"statistics": row}, VARIANT: {"statistics": row | in_8_bits}}


def run(
    *,
    relu: Any = UNCHANGED,
    pool: Any = UNCHANGED,
    weight: Any = INT8,
    probabilities: Any = ((0.7, 0.3), (0.1, 0.9)),
    codes: Any = CODES,
) -> list[tuple[str, str | None, str]]:
    """Rule, layer and message of the findings."""
    content = {
        "activations": {
            "calibration": {"relu": activation(8.0, relu), "pool": activation(2, pool)}
        },
        "parameters": {
            "conv": {"weight": {VARIANT: {"statistics": weight}}},
            "dense": {"weight": {VARIANT: {"statistics": INT8}}},
        },
    }
    rows = np.array(probabilities)
    parameters = QuantizationParameters.per_tensor(1.0, 0, "int8")
    layer = LayerParameters(Parameter(codes.astype(np.float32), parameters), None)
    predictions = {"onnx_fp32": rows, VARIANT: rows.astype(np.float32)}
    findings = lint(MODEL, Quantization({}, {"conv": layer}), content, predictions)
    assert {finding.variant for finding in findings} <= {VARIANT}
    return [finding[1:] for finding in findings]


FLOAT_CONV = ("float_operator", "conv", "Conv computes in float.")
POOL_SHARES = (
    "AveragePool shares the scale of its input relu, of whose range its own values need 25%."
)
WIDE = "The range is 3.3 times as wide as 99.8% of the values need: few outliers widen it."
FEW = ("few_levels", "relu", "Its output uses 127 of 256 levels.")
TIED = [[0.5, 0.5, 0.0], [0.4, 0.2, 0.4], [0.6, 0.2, 0.2]]
PLANTED: dict[str, tuple[dict[str, Any], list[tuple[str, str | None, str]]]] = {
    "nothing": ({}, []),
    "float weights": ({"weight": {}}, [FLOAT_CONV]),
    "a float input": ({"pool": None}, [("float_operator", "dense", "Gemm computes in float.")]),
    "a shared scale": ({"pool": {"scale": 8 / 255}}, [("shared_scale", "pool", POOL_SHARES)]),
    "outliers": ({"relu": {"clip_high": 20.0}}, [("outlier_range", "relu", WIDE)]),
    "few levels": ({"relu": {"levels_used": 127}}, [FEW]),
    "several, in order of rules": (
        {"relu": {"levels_used": 127, "clip_high": 20.0}, "weight": {}},
        [FLOAT_CONV, ("outlier_range", "relu", WIDE), FEW],
    ),
    "few codes": (
        {"codes": np.arange(2304).reshape(CODES.shape) % 100},
        [("few_levels", "conv", "Its weights use 100 of 256 levels.")],
    ),
    "fewer weights than levels": ({"codes": CODES[:2, :2]}, []),
    "ties": (
        {"probabilities": TIED},
        [("tied_outputs", None, "2 of 3 images have two classes with the same probability.")],
    ),
}


@pytest.mark.parametrize("name", PLANTED)
def test_lint_names_what_was_planted(name: str) -> None:
    planted, expected = PLANTED[name]
    assert run(**planted) == expected


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
