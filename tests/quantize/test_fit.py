"""All numbers of a quantization: what each option does to them."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from resnet8.core.sections import Fit
from resnet8.models.onnx_graph import fake_quantized, with_parameters
from resnet8.quantize.equalization import equalized
from resnet8.quantize.fit import fit
from resnet8.quantize.layers import Layer, read_layers
from resnet8.quantize.quantization import Quantization
from tests.quantize import graphs
from tests.quantize.graphs import QUICK

RTOL_FLOAT32 = 1e-6
# Of a layer's largest output: means of float32 values that were summed in another order.
RTOL_MEANS = 1e-5
LAYERS = ["conv0", "conv1", "conv2", "conv3", "dense"]
MODEL = graphs.small_resnet()
IMAGES = graphs.drawn(MODEL, 60)
Fitted = Callable[..., Quantization]


@pytest.fixture(scope="module")
def fitted(fit_settings: Fit) -> Fitted:
    """A function that fits a quantization to the small model, with other settings."""
    cache: dict[str, Quantization] = {}

    def run(**changes: Any) -> Quantization:
        if repr(changes) not in cache:
            cache[repr(changes)] = graphs.fitted(MODEL, fit_settings, IMAGES, **changes)
        return cache[repr(changes)]

    return run


def test_fit_reports_each_tensor_that_layers_read_and_leaves_out_layers_in_float(
    fit_settings: Fit,
) -> None:
    reported: list[str] = []

    def progress(tensors: Any) -> Any:
        reported.extend(tensors)
        return iter(tensors)

    settings = fit_settings.model_copy(update=QUICK | {"float_layers": ["conv2"]})
    quantization = fit(MODEL, IMAGES, settings, progress=progress)
    assert reported == ["permute", "relu0", "relu2", "flatten"]
    assert sorted(quantization.layers) == ["conv0", "conv1", "conv3", "dense"]
    assert quantization.float_layers == ("conv2",)


def test_fit_by_minmax_covers_all_values(fitted: Fitted) -> None:
    tensors = graphs.computed(MODEL, IMAGES)
    for name, parameters in fitted(**QUICK).activations.items():
        if name in tensors and name != "flatten":  # whose scale is that of the pool
            low, high = min(float(tensors[name].min()), 0), float(tensors[name].max())
            room = 0.51 * float(parameters.scale)
            assert parameters.clip_range == pytest.approx((low, high), abs=room), name


def test_fit_of_symmetric_activations_has_zero_in_the_middle(fitted: Fitted) -> None:
    quantization = fitted(**QUICK, activation_symmetric=True)
    assert quantization.symmetric
    assert {int(x.zero_point) for x in quantization.activations.values()} == {128}


@pytest.mark.parametrize("equalization", [0.0, 1.0])
def test_fit_by_nearest_is_within_half_a_step_of_the_equalized_layers(
    fitted: Fitted, equalization: float
) -> None:
    quantization = fitted(**QUICK | {"equalization": equalization})
    assert sorted(quantization.layers) == LAYERS
    assert bool(quantization.equalization.groups) == bool(equalization)
    for layer in read_layers(equalized(MODEL, quantization.equalization)):
        codes, weights = quantization.codes[layer.name], quantization.weights[layer.name]
        assert (codes.dtype, codes.shape) == (np.int8, layer.weight.shape)
        assert (weights.scale.dtype, weights.scale.shape) == (np.float32, layer.bias.shape)
        scale = weights.scale.reshape(-1, *[1] * (layer.weight.ndim - 1))
        values, bias = quantization.layers[layer.name].values
        assert (np.abs(values - layer.weight) <= scale * (0.5 + 128 * RTOL_FLOAT32)).all()
        room = 0.5 * bias_step(quantization, layer) + RTOL_FLOAT32 * np.abs(layer.bias)
        assert (np.abs(bias - layer.bias) <= room).all()


def bias_step(quantization: Quantization, layer: Layer) -> Any:
    """(O,) or () input scale times weight scale."""
    weight_scale = quantization.weights[layer.name].scale.astype(np.float64)
    return weight_scale * float(quantization.activations[layer.input].scale)


@pytest.mark.parametrize("changes", [{}, QUICK], ids=["all options", "plain"])
def test_fit_rounds_biases_to_steps_of_input_and_weight_scale(fitted: Fitted, changes: Any) -> None:
    quantization = fitted(**changes)
    for layer in read_layers(MODEL):
        steps = quantization.layers[layer.name].bias / bias_step(quantization, layer)
        # As close to a whole number as float32 is.
        np.testing.assert_allclose(steps, np.rint(steps), rtol=RTOL_FLOAT32, atol=1e-9)


def errors_of(quantization: Quantization, model: Any, images: Any) -> dict[str, Any]:
    """By layer, (O, N, ...) how far quantized outputs are from the equalized float model's."""
    float_model = equalized(model, quantization.equalization)
    quantized = with_parameters(
        fake_quantized(float_model, quantization.activations), quantization.parameters
    )
    before, after = (graphs.computed(x, images) for x in (float_model, quantized))
    return {
        x.name: (after[x.output] - before[x.output]).astype(np.float64).swapaxes(0, 1)
        for x in read_layers(model)
    }


def test_fit_by_gptq_errs_less_than_by_nearest(fitted: Fitted) -> None:
    before, after = (
        errors_of(fitted(**QUICK | {"weight_rounding": name}), MODEL, IMAGES)
        for name in ("nearest", "gptq")
    )
    # The first layer's inputs are the same in both, and its biases as good as exact.
    assert np.mean(after["conv0"] ** 2) < np.mean(before["conv0"] ** 2)


def assert_means_are_corrected(quantization: Quantization, model: Any, images: Any) -> None:
    """Checks that mean outputs are within half a step of the bias of the float model's."""
    errors = errors_of(quantization, model, images)
    outputs = graphs.computed(equalized(model, quantization.equalization), images)
    for layer in read_layers(model):
        largest = np.abs(outputs[layer.output]).max()
        mean = errors[layer.name].reshape(len(layer.weight), -1).mean(axis=1)
        room = 0.5 * bias_step(quantization, layer) + RTOL_MEANS * largest
        assert (np.abs(mean) <= room).all(), layer.name


@pytest.mark.parametrize(("rounding", "equalization"), [("nearest", 0.0), ("gptq", 1.0)])
def test_fit_corrects_the_mean_error_of_each_output_to_half_a_step_of_its_bias(
    fitted: Fitted, rounding: str, equalization: float
) -> None:
    changes = {"weight_rounding": rounding, "equalization": equalization}
    quantization = fitted(**QUICK | changes | {"bias_correction": True})
    assert_means_are_corrected(quantization, MODEL, IMAGES)


def test_fit_takes_depthwise_convolutions_and_other_activations(fit_settings: Fit) -> None:
    model = graphs.depthwise()
    images = graphs.drawn(model, 20)
    quantization = graphs.fitted(model, fit_settings, images)
    assert sorted(quantization.layers) == ["conv0", "deep", "dense", "point"]
    assert not {"conv0", "clip"} & quantization.equalization.outputs.keys()
    assert_means_are_corrected(quantization, model, images)


IDLE: dict[str, dict[str, Any]] = {
    "equalization: 1": {"equalization": 1.0},
    "activation_range: percentile": {"activation_range": "percentile", "percentile": 100.0},
    "weight_rounding: gptq": {"weight_rounding": "gptq"},
    "bias_correction: true": {"bias_correction": True},
}


@pytest.mark.parametrize("option", IDLE)
def test_fit_notes_an_option_without_an_effect(option: str, fit_settings: Fit) -> None:
    # One layer without neighbors: nothing to equalize. With one weight for each output, nothing
    # compensates for its error. Without a bias, nothing is corrected.
    steps = [
        graphs.node("Abs", "pixels", "input"),
        graphs.node("Conv", "conv", "pixels", "conv.weight"),
        graphs.node("Softmax", "last", "conv"),
    ]
    arrays = {"conv.weight": graphs.weights(conv=(4, 1, 1, 1))["conv.weight"]}
    model = graphs.build(steps, arrays, shape=(1, 8, 8))
    quantization = graphs.fitted(model, fit_settings, **QUICK | IDLE[option])
    assert quantization.notes == (f"fit.{option} had no effect on this model.",)


@pytest.mark.parametrize("damping", [1e-12, 1e-6, 1.0])
@pytest.mark.parametrize("kind", ["one", "few", "equal", "black"])
def test_fit_takes_images_whose_products_are_singular(
    fit_settings: Fit, kind: str, damping: float
) -> None:
    chosen = {
        "one": IMAGES[:1],
        "few": IMAGES[:3],
        "equal": np.repeat(IMAGES[:1], 5, axis=0),
        "black": np.zeros_like(IMAGES[:5]),
    }[kind]
    quantization = graphs.fitted(MODEL, fit_settings, chosen, gptq_damping=damping)
    assert sorted(quantization.layers) == LAYERS
    assert quantization.activations["input"].scale > 0


def test_fit_clips_an_addend_that_only_the_addition_reads(fitted: Fitted) -> None:
    plain, aware = fitted(activation_range="minmax"), fitted(activation_range="mse")
    assert (plain.relu_aware, aware.relu_aware) == ((), ("add", "conv2"))
    (low, _), (lowest, _) = (x.activations["conv2"].clip_range for x in (aware, plain))
    assert lowest < low < 0
    assert any(note.startswith("conv2: clipped below on purpose") for note in aware.notes)
