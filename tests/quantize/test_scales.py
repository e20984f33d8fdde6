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
from resnet8.quantize.fit import fit
from resnet8.quantize.layers import read_layers
from resnet8.quantize.quantization import Quantization
from resnet8.quantize.scales import find_outputs
from tests.quantize import graphs

ATOL_8_BITS = 0.02  # mean difference of a probability; a lost bias changes whole classes
SHARE = 1 / 16 + 1e-5  # of an output step, and float32's rounding
DAMAGES = {
    "pruned": (0.0, 0.45),
    "pruned without bias": (0.0, 0.0),
    "nearly dead": (1e-9, 4.0),
    "decayed": (1e-6, 1.0),
    "denormal": (1e-36, 1.0),
}
SETTINGS: dict[str, dict[str, Any]] = {
    "defaults": {},
    "no equalization": {"equalization": 0.0},
    "full equalization": {"equalization": 1.0},
    "nearest": {"weight_rounding": "nearest"},
    "minmax": {"activation_range": "minmax"},
    "per tensor": {"per_channel": False},
    "asymmetric": {"per_channel": False, "weight_symmetric": False},
    "symmetric activations": {"activation_symmetric": True},
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


def fitted(model: onnx.ModelProto, settings: Fit, **changes: Any) -> Quantization:
    chosen = settings.model_copy(update=changes)
    points = onnx_writer.find_points(model, symmetric=chosen.activation_symmetric)
    return fit(model, graphs.drawn(model, 40), chosen, points=points)


def errors_in_steps(model: onnx.ModelProto, quantization: Quantization) -> dict[str, np.ndarray]:
    """By layer, how far each bias is from the float model's, in steps of the rounded output."""
    outputs = find_outputs(model, quantization.activations)
    return {
        layer.name: np.abs(quantization.layers[layer.name].bias - layer.bias.astype(np.float64))
        / float(quantization.activations[outputs[layer.name]].scale)
        for layer in read_layers(equalized(model, quantization.equalization))
        if outputs[layer.name] in quantization.activations
    }


@pytest.mark.parametrize("changes", SETTINGS.values(), ids=SETTINGS)
@pytest.mark.parametrize("name", ["conv0", "conv2"])
def test_fit_represents_every_bias(name: str, changes: dict[str, Any], fit_settings: Fit) -> None:
    model = damaged(graphs.small_resnet(), name, *DAMAGES)
    quantization = fitted(model, fit_settings, **changes, bias_correction=False)
    for layer, errors in errors_in_steps(model, quantization).items():
        assert errors.max() <= SHARE, layer


@pytest.mark.parametrize(
    "damages", [["pruned", "nearly dead"], ["decayed", "denormal"]], ids=" ".join
)
@pytest.mark.parametrize("name", ["conv0", "dense"])
def test_quantize_writes_the_biases_of_hardly_any_weights(
    name: str, damages: list[str], fit_settings: Fit
) -> None:
    model = damaged(graphs.small_resnet(), name, *damages)
    quantization = fitted(model, fit_settings)
    images = graphs.drawn(model, 40, seed=2).astype(np.float32)
    expected = make_predictor(model)(images)
    # Raises if the library warns, or writes other codes.
    quantized = onnx_writer.quantize(model, quantization, quant_type="uint8")
    probabilities = make_predictor(quantized, as_written=True)(images)
    assert np.mean(np.abs(probabilities - expected)) <= ATOL_8_BITS


def depthwise() -> onnx.ModelProto:
    arrays = graphs.weights(conv0=(4, 3, 3, 3), conv1=(4, 1, 3, 3), conv2=(4, 4, 1, 1))
    arrays["conv0.weight"] /= 200
    nodes = [
        graphs.node("Transpose", "permute", "input", perm=[0, 3, 1, 2]),
        graphs.layer("Conv", "conv0", "permute", strides=[4, 4]),
        graphs.node("Relu", "relu0", "conv0"),
        graphs.layer("Conv", "conv1", "relu0", group=4),
        graphs.node("Relu", "relu1", "conv1"),
        graphs.layer("Conv", "conv2", "relu1"),
        graphs.node("Relu", "relu2", "conv2"),
        graphs.node("GlobalAveragePool", "pool", "relu2"),
        graphs.node("Reshape", "flatten", "pool", "flatten.constant1"),
        graphs.node("Softmax", "probabilities", "flatten"),
    ]
    return graphs.build(nodes, arrays | {"flatten.constant1": np.array([-1, 4])}, shape=(32, 32, 3))


@pytest.mark.parametrize("equalization", [0.0, 0.75])
@pytest.mark.parametrize("damages", [list(DAMAGES)[:3], list(DAMAGES)[3:]], ids=", ".join)
def test_fit_represents_every_bias_of_a_depthwise_layer(
    damages: list[str], equalization: float, fit_settings: Fit
) -> None:
    model = damaged(depthwise(), "conv1", *damages)
    quantization = fitted(model, fit_settings, equalization=equalization, bias_correction=False)
    for layer, errors in errors_in_steps(model, quantization).items():
        assert errors.max() <= SHARE, layer


def with_narrow_output(model: onnx.ModelProto) -> onnx.ModelProto:
    """Large weights on two inputs that are the same: what is left is a small bias."""
    layers = {x.name: x for x in read_layers(model)}
    twins = layers["conv0"].weight.copy(), layers["conv0"].bias.copy()
    for values in twins:
        values[1] = values[0]
    weight = np.zeros_like(layers["conv1"].weight)
    weight[:, 0], weight[:, 1] = 20.0, -20.0
    small = np.full_like(layers["conv1"].bias, 0.01)
    return with_parameters(model, {"conv0": twins, "conv1": (weight, small)})


def test_fit_widens_an_output_whose_steps_are_finer_than_the_products(fit_settings: Fit) -> None:
    model = with_narrow_output(graphs.small_resnet())
    quantization = fitted(model, fit_settings, bias_correction=False, equalization=0.0)
    assert errors_in_steps(model, quantization)["conv1"].max() <= SHARE
    assert any("conv1 adds up products in larger steps" in note for note in quantization.notes)


def test_fit_spends_no_steps_on_weights_that_no_image_uses(fit_settings: Fit) -> None:
    model = graphs.small_resnet()
    layers = {x.name: x for x in read_layers(model)}
    silent = (layers["conv0"].weight * 0, layers["conv0"].bias * 0 - 1)  # a ReLU gives zeros
    model = with_parameters(model, {"conv0": silent})
    quantization = fitted(model, fit_settings, bias_correction=False)
    assert errors_in_steps(model, quantization)["conv1"].max() <= SHARE
    assert quantization.activations["relu1"].scale == pytest.approx(
        max(layers["conv1"].bias.max(), 0) / 255, rel=0.7
    )
