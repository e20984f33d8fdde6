"""Every bias fits its 32 bits and is represented to within 1/16 of an output step."""

from typing import Any

import numpy as np
import onnx
import pytest

from resnet8.core.sections import Fit
from resnet8.models.onnx_graph import with_parameters
from resnet8.models.onnx_model import make_predictor
from resnet8.quantize import onnx_writer
from resnet8.quantize.equalization import equalized
from resnet8.quantize.layers import read_layers
from resnet8.quantize.quantization import Quantization
from resnet8.quantize.scales import find_outputs
from tests.quantize import graphs
from tests.quantize.graphs import fitted

ATOL_8_BITS = 0.02  # mean difference of a probability; a lost bias changes whole classes
SHARE = 1 / 16 + 1e-5  # of an output step, and float32's rounding
DAMAGES = {
    "pruned": (0.0, 0.45),
    "pruned without bias": (0.0, 0.0),
    "nearly dead": (1e-9, 4.0),
    "decayed": (1e-6, 1.0),
    "denormal": (1e-36, 1.0),
}


def damaged(model: onnx.ModelProto, name: str, *damages: str) -> onnx.ModelProto:
    """A copy in which channels 1, 2, … of a layer have hardly any weights left."""
    (layer,) = [x for x in read_layers(model) if x.name == name]
    weight, bias = layer.weight.copy(), layer.bias.copy()
    for channel, damage in enumerate(damages, start=1):
        factor, value = DAMAGES[damage]
        weight[channel] *= np.float32(factor)
        bias[channel] = value
    return with_parameters(model, {name: (weight, bias)})


def assert_biases_fit(model: onnx.ModelProto, quantization: Quantization) -> None:
    """Checks that each bias is close to the float model's, in steps of the rounded output."""
    outputs = find_outputs(model, quantization.activations)
    layers = read_layers(equalized(model, quantization.equalization))
    rounded = [x for x in layers if outputs[x.name] in quantization.activations]
    assert rounded
    for layer in rounded:
        error = quantization.layers[layer.name].bias - layer.bias.astype(np.float64)
        step = float(quantization.activations[outputs[layer.name]].scale)
        assert np.abs(error).max() <= SHARE * step, layer.name


RESNET, DEPTHWISE = graphs.small_resnet(), graphs.depthwise()
MODELS = {
    "first": damaged(RESNET, "conv0", *DAMAGES),
    "inner": damaged(RESNET, "conv2", *DAMAGES),
    "depthwise": damaged(DEPTHWISE, "deep", *DAMAGES),
}
CHANGES: list[dict[str, Any]] = [
    {},
    {"equalization": 0.0, "weight_rounding": "nearest"},
    {"equalization": 1.0, "activation_range": "minmax"},
    {"per_channel": False},
    {"per_channel": False, "weight_symmetric": False},
    {"activation_symmetric": True},
]


@pytest.mark.parametrize("changes", CHANGES, ids=str)
@pytest.mark.parametrize("name", MODELS)
def test_fit_represents_every_bias(name: str, changes: dict[str, Any], fit_settings: Fit) -> None:
    quantization = fitted(MODELS[name], fit_settings, **changes, bias_correction=False)
    assert_biases_fit(MODELS[name], quantization)


@pytest.mark.parametrize("name", ["conv0", "dense"])
def test_quantize_writes_the_biases_of_hardly_any_weights(name: str, fit_settings: Fit) -> None:
    model = damaged(RESNET, name, "pruned", "nearly dead", "denormal")
    images = graphs.drawn(model, 40, seed=2).astype(np.float32)
    # Raises if the library warns, or writes other codes.
    quantized = onnx_writer.quantize(model, fitted(model, fit_settings), quant_type="uint8")
    probabilities = make_predictor(quantized, as_written=True)(images)
    assert np.mean(np.abs(probabilities - make_predictor(model)(images))) <= ATOL_8_BITS


def test_fit_widens_an_output_whose_steps_are_finer_than_the_products(fit_settings: Fit) -> None:
    # Large weights on two inputs that are the same: what is left is a small bias.
    layers = {x.name: x for x in read_layers(RESNET)}
    twins = layers["conv0"].weight.copy(), layers["conv0"].bias.copy()
    for values in twins:
        values[1] = values[0]
    weight = np.zeros_like(layers["conv1"].weight)
    weight[:, 0], weight[:, 1] = 20.0, -20.0
    small = np.full_like(layers["conv1"].bias, 0.01)
    model = with_parameters(RESNET, {"conv0": twins, "conv1": (weight, small)})
    quantization = fitted(model, fit_settings, bias_correction=False, equalization=0.0)
    assert_biases_fit(model, quantization)
    assert any("conv1 adds up products in larger steps" in note for note in quantization.notes)


def test_fit_spends_no_steps_on_weights_that_no_image_uses(fit_settings: Fit) -> None:
    layers = {x.name: x for x in read_layers(RESNET)}
    silent = (layers["conv0"].weight * 0, layers["conv0"].bias * 0 - 1)  # a ReLU gives zeros
    model = with_parameters(RESNET, {"conv0": silent})
    quantization = fitted(model, fit_settings, bias_correction=False)
    assert_biases_fit(model, quantization)
    assert quantization.activations["relu1"].scale == pytest.approx(
        max(layers["conv1"].bias.max(), 0) / 255, rel=0.7
    )
