"""Steps of a network, and their exact values, by hand."""

from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from resnet8.core.qparams import Parameter, QuantizationParameters
from resnet8.core.sections import Fit
from resnet8.quantize import onnx_writer
from resnet8.quantize.quantization import LayerParameters, Quantization
from resnet8.reference.check import check, open_runtime
from resnet8.reference.network import IMAGES, Network
from resnet8.reference.results import refuse_unexplained
from tests.quantize import graphs
from tests.quantize.graphs import build, layer, node, small_resnet

per_tensor = QuantizationParameters.per_tensor


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"activation_symmetric": True},
        {"per_channel": False},
        {"per_channel": False, "weight_symmetric": False},
        {"float_layers": ["conv1"]},
        {"float_layers": ["add", "dense"]},
        {"activation_range": "minmax", "weight_rounding": "nearest", "bias_correction": False},
    ],
    ids=str,
)
def test_codes_are_exact_with(changes: Any, fit_settings: Fit) -> None:
    model = small_resnet()
    images = graphs.drawn(model, 20)
    quantization = graphs.fitted(model, fit_settings, images, **changes)
    network = Network(model, quantization)
    written = onnx_writer.quantize(model, quantization, quant_type="int8")
    checked = check(network, {"it": open_runtime(written)}, images)["it"]
    refuse_unexplained("it", checked)
    assert checked.end_to_end.codes > 10_000
    if not changes:  # steps are cut at the codes, and named after layers with weights
        assert {step.tensor: step.layer for step in network.steps} == {
            "input": "input", "permute": "permute", "relu0": "conv0", "relu1": "conv1",
            "conv2": "conv2", "relu2": "add", "relu3": "conv3", "pool": "pool",
            "flatten": "flatten", "probabilities": "dense",
        }  # fmt: skip


# By hand: one 1x1 convolution of pixels in steps of 1.


def convolution(*, weight: int, bias: int, scale: float, zero_point: int) -> Network:
    """A convolution of one channel with one weight, in steps of 1/8."""
    arrays = {"conv.weight": np.ones((1, 1, 1, 1), np.float32), "conv.bias": np.ones(1, np.float32)}
    model = build([layer("Conv", "conv", "input"), node("Relu", "probabilities", "conv")], arrays,
                  shape=(1, 2, 2))  # fmt: skip
    steps = per_tensor(1 / 8, 0, "int8")
    values = np.full((1, 1, 1, 1), weight / 8, np.float32)
    parameters = LayerParameters(Parameter(values, steps), np.array([bias / 8], np.float32))
    activations = {"input": per_tensor(1.0, 0), "conv": per_tensor(scale, zero_point)}
    return Network(model, Quantization(activations, {"conv": parameters}))


PIXELS = np.array([[[[0, 1], [2, 250]]]], np.uint8)


@pytest.mark.parametrize(
    ("scale", "zero_point", "expected"),
    [
        # 3 x - 2 in steps of 1/8: -0.25, 0.125, 0.5, 93.5.
        (0.25, 10, [9, 10, 12, 255]),  # -1, 0.5, 2, 374: a tie to the even number
        (1.0, 10, [10, 10, 10, 104]),  # -0.25, 0.125, 0.5, 93.5: ties to 0 and to 94
        (1.0, 11, [11, 11, 11, 105]),  # rounded before the zero point is added
        (0.5, 0, [0, 0, 1, 187]),  # -0.5, 0.25, 1, 187
    ],
)
def test_quantize_rounds_half_to_even_and_clips(
    scale: float, zero_point: int, expected: list[int]
) -> None:
    network = convolution(weight=3, bias=-2, scale=scale, zero_point=zero_point)
    assert network.run(PIXELS)["conv"].ravel().tolist() == expected


def test_compute_is_exact_where_float32_is_not() -> None:
    network = convolution(weight=127, bias=2**21 + 1, scale=1.0, zero_point=0)
    step = network.steps[1]
    values = network.compute(step, {IMAGES: PIXELS, "input": PIXELS.astype(np.int64)})
    assert [Fraction(x) for x in values["conv"].ravel()] == [
        Fraction(127 * int(x) + 2**21 + 1, 8) for x in PIXELS.ravel()
    ]
