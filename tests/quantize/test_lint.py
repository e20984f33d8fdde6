"""The lint of quantized models: each rule finds what was planted, and nothing else."""

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

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
from tests.quantize.test_scales import damaged, fitted

VARIANT = "onnx_int8"
RNG = np.random.default_rng(0)
CODES = {"conv": RNG.integers(-127, 128, (16, 16, 3, 3)).astype(np.int8)}


def model() -> onnx.ModelProto:
    """input -> conv -> relu -> pool -> dense -> probabilities"""
    nodes = [
        helper.make_node("Conv", ["input", "w"], ["conv"], name="conv"),
        helper.make_node("Relu", ["conv"], ["relu"], name="relu"),
        helper.make_node("AveragePool", ["relu"], ["pool"], name="pool", kernel_shape=[2, 2]),
        helper.make_node("Gemm", ["pool", "v"], ["dense"], name="dense"),
        helper.make_node("Softmax", ["dense"], ["probabilities"], name="softmax"),
    ]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "small",
        [value("input", onnx.TensorProto.FLOAT, None)],
        [value("probabilities", onnx.TensorProto.FLOAT, None)],
        [onnx.numpy_helper.from_array(np.ones((2, 2), np.float32), name) for name in "wv"],
    )
    return helper.make_model(graph)


def statistics(high: float, *, scale: float | None = None, levels: int = 250) -> dict[str, Any]:
    """Of a layer after a ReLU: values up to `high`, 99.9% of them below three quarters of it."""
    found = {"dynamic_range": high, "percentiles": {"0.1": 0.0, "99.9": 0.75 * high}}
    if scale is None:
        return found
    quantized = {"scale": scale, "zero_point": 0, "clip_low": 0.0, "clip_high": 255 * scale}
    return found | quantized | {"levels_used": levels}


def layers() -> dict[str, Any]:
    """Output of inspect_layers for a model without faults."""
    highs = {"relu": 8.0, "pool": 2.0}
    return {
        "activations": {
            "calibration": {
                name: {
                    "onnx_fp32": {"statistics": statistics(high)},
                    VARIANT: {"statistics": statistics(high, scale=high / 255)},
                }
                for name, high in highs.items()
            }
        },
        "parameters": {
            name: {"weight": {VARIANT: {"statistics": {"dtype": "int8"}}}}
            for name in ("conv", "dense")
        },
    }


def run(
    content: dict[str, Any], probabilities: Any = None, codes: dict[str, Any] = CODES
) -> list[Finding]:
    rows = np.array([[0.7, 0.3], [0.1, 0.9]]) if probabilities is None else probabilities
    predictions = {"onnx_fp32": rows, VARIANT: rows.astype(np.float32)}
    parameters = QuantizationParameters.per_tensor(1.0, 0, "int8")
    weights = {
        name: LayerParameters(Parameter(x.astype(np.float32), parameters), None)
        for name, x in codes.items()
    }
    return lint(model(), Quantization({}, weights), content, predictions)


def at(shown: dict[str, Any], layer: str) -> dict[str, Any]:
    return shown["activations"]["calibration"][layer][VARIANT]["statistics"]


def float_weights(shown: dict[str, Any]) -> None:
    del shown["parameters"]["conv"]["weight"][VARIANT]["statistics"]["dtype"]


def float_input(shown: dict[str, Any]) -> None:
    shown["activations"]["calibration"]["pool"][VARIANT]["statistics"] = statistics(2.0)


def shared_scale(shown: dict[str, Any]) -> None:
    at(shown, "pool").update(scale=at(shown, "relu")["scale"])


def wide_range(shown: dict[str, Any]) -> None:
    at(shown, "relu").update(clip_high=20.0)


def few_levels(shown: dict[str, Any]) -> None:
    at(shown, "relu").update(levels_used=127)


def test_lint_finds_nothing_in_a_model_without_faults() -> None:
    assert run(layers()) == []


@pytest.mark.parametrize(
    ("plant", "rule", "layer", "message"),
    [
        (float_weights, "float_operator", "conv", "Conv computes in float."),
        (float_input, "float_operator", "dense", "Gemm computes in float."),
        (
            shared_scale,
            "shared_scale",
            "pool",
            "AveragePool shares the scale of its input relu, of whose range its own values need "
            "25%.",
        ),
        (
            wide_range,
            "outlier_range",
            "relu",
            "The range is 3.3 times as wide as 99.8% of the values need: few outliers widen it.",
        ),
        (few_levels, "few_levels", "relu", "Its output uses 127 of 256 levels."),
    ],
)
def test_lint_names_what_was_planted(
    plant: Callable[[dict[str, Any]], None], rule: str, layer: str, message: str
) -> None:
    shown = layers()
    plant(shown)
    assert run(shown) == [Finding(VARIANT, rule, layer, message)]


def test_lint_names_weights_with_few_codes() -> None:
    few = {"conv": np.arange(2304, dtype=np.int64).reshape(16, 16, 3, 3) % 100}
    (found,) = run(layers(), codes={name: x.astype(np.int8) for name, x in few.items()})
    assert found == Finding(VARIANT, "few_levels", "conv", "Its weights use 100 of 256 levels.")


def test_lint_asks_no_more_levels_of_weights_than_there_are_weights() -> None:
    assert run(layers(), codes={"conv": CODES["conv"][:2, :2]}) == []


@pytest.mark.parametrize("damages", [["pruned", "nearly dead", "decayed"], []], ids=str)
def test_find_dead_channels_finds_those_with_hardly_any_weights(
    damages: list[str], fit_settings: Any
) -> None:
    model = damaged(graphs.small_resnet(), "conv2", *damages)
    expected = {"conv2": [1, 2, 3]} if damages else {}
    assert find_dead_channels(model, fitted(model, fit_settings)) == expected


def test_lint_names_dead_channels(fit_settings: Any) -> None:
    model = damaged(graphs.small_resnet(), "conv2", "pruned", "nearly dead")
    content = {"activations": {"calibration": {}}, "parameters": {}}
    predictions = {VARIANT: np.array([[0.7, 0.3]], np.float32)}
    findings = lint(model, fitted(model, fit_settings), content, predictions)
    message = "2 of its channels are dead or nearly so, whatever the input: 1, 2."
    assert Finding(VARIANT, "dead_channels", "conv2", message) in findings


def test_lint_counts_tied_outputs() -> None:
    rows = np.array([[0.5, 0.5, 0.0], [0.4, 0.2, 0.4], [0.6, 0.2, 0.2]])
    (found,) = run(layers(), rows)
    assert found == Finding(
        VARIANT,
        "tied_outputs",
        None,
        "2 of 3 images have two classes with the same probability.",
    )


def test_calibration_images_that_are_test_images_are_counted_by_content() -> None:
    images = RNG.integers(0, 256, (6, 32, 32, 3), dtype=np.uint8)
    calibration = np.concatenate([images[:2], images[5:], images[:1] ^ 1])
    assert count_test_images(calibration, images[:4]) == 2
    assert count_test_images(images[4:], images[:4]) == 0


def test_a_calibration_on_test_images_is_a_finding() -> None:
    assert lint_calibration(1000, 0) == []
    (found,) = lint_calibration(1000, 7)
    assert (found.variant, found.rule, found.layer) == ("all", "calibrated_on_test", None)
    assert found.message.startswith("7 of 1,000 calibration images are test images")
