"""All numbers of a quantization: what each option does to them."""

from typing import Any

import numpy as np
import pytest

from resnet8.core.sections import Fit
from resnet8.models.onnx_graph import fake_quantized, with_parameters
from resnet8.quantize import observers
from resnet8.quantize.equalization import Equalization, equalized
from resnet8.quantize.fit import fit
from resnet8.quantize.layers import Layer, read_layers
from resnet8.quantize.onnx_writer import find_points
from resnet8.quantize.quantization import Quantization
from tests.quantize import graphs

RTOL_FLOAT32 = 1e-6
# Of a layer's largest output: means of float32 values that were summed in another order.
RTOL_MEANS = 1e-5
PLAIN = {
    "activation_range": "minmax",
    "equalization": 0.0,
    "weight_rounding": "nearest",
    "bias_correction": False,
}
LAYERS = ["conv0", "conv1", "conv2", "conv3", "dense"]


@pytest.fixture(scope="module")
def model() -> Any:
    return graphs.small_resnet()


@pytest.fixture(scope="module")
def images(model: Any) -> Any:
    return graphs.drawn(model, 60)


@pytest.fixture(scope="module")
def fitted(model: Any, images: Any, fit_settings: Fit) -> Any:
    """A function that fits a quantization to the small model, with other settings."""
    found: dict[str, Quantization] = {}

    def run(**changes: Any) -> Quantization:
        if repr(changes) not in found:
            found[repr(changes)] = fitted_to(model, images, fit_settings, **changes)
        return found[repr(changes)]

    return run


def fitted_to(model: Any, images: Any, settings: Fit, **changes: Any) -> Quantization:
    chosen = settings.model_copy(update=changes)
    points = find_points(
        model, symmetric=chosen.activation_symmetric, float_layers=chosen.float_layers
    )
    return fit(model, images, chosen, points=points)


def assert_same_quantization(first: Quantization, second: Quantization) -> None:
    assert list(first.activations) == list(second.activations)
    assert first.activations == second.activations
    without = {"activations": {}, "layers": {}, "equalization": Equalization()}
    assert first._replace(**without) == second._replace(**without)
    assert list(first.layers) == list(second.layers)
    for name, layer in first.layers.items():
        other = second.layers[name]
        np.testing.assert_array_equal(layer.weight.values, other.weight.values)
        for ours, theirs in zip(layer.weight.quantization, other.weight.quantization, strict=True):
            np.testing.assert_array_equal(ours, theirs)
        np.testing.assert_array_equal(layer.bias, other.bias)
    for ours, theirs in zip(first.equalization, second.equalization, strict=True):
        assert list(ours) == list(theirs)
        for name, factors in ours.items():
            np.testing.assert_array_equal(factors, theirs[name])


# What is decided.


def test_fit_gives_every_layer_codes_of_its_shape(fitted: Any, model: Any) -> None:
    quantization = fitted()
    assert sorted(quantization.layers) == LAYERS
    for layer in read_layers(model):
        codes, weights = quantization.codes[layer.name], quantization.weights[layer.name]
        assert (codes.dtype, codes.shape) == (np.int8, layer.weight.shape)
        assert (weights.scale.dtype, weights.scale.shape) == (np.float32, layer.bias.shape)
        assert (weights.dtype, weights.axis) == ("int8", 0)


def test_fit_gives_every_point_the_parameters_of_the_tensor_that_it_shares_them_with(
    fitted: Any, model: Any
) -> None:
    activations = fitted().activations
    points = find_points(model, symmetric=False)
    assert activations.keys() == points.keys()
    assert points["flatten"] == "pool"
    for tensor, owner in points.items():
        assert activations[tensor] == activations[owner]


def test_fit_gives_the_same_quantization_twice(model: Any, images: Any, fit_settings: Fit) -> None:
    first, second = (fitted_to(model, images, fit_settings) for _ in range(2))
    assert_same_quantization(first, second)


def test_fit_does_not_depend_on_the_batch_size(
    fitted: Any, model: Any, images: Any, fit_settings: Fit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(observers, "BATCH_SIZE", 7)
    found, expected = fitted_to(model, images, fit_settings, **PLAIN), fitted(**PLAIN)
    for name, parameters in expected.activations.items():
        assert found.activations[name].zero_point == parameters.zero_point
        assert found.activations[name].scale == pytest.approx(parameters.scale, rel=RTOL_MEANS)


def test_fit_leaves_model_and_images_as_they_were(
    model: Any, images: Any, fit_settings: Fit
) -> None:
    before, pixels = model.SerializeToString(), images.copy()
    fitted_to(model, images, fit_settings)
    assert model.SerializeToString() == before
    np.testing.assert_array_equal(images, pixels)


def test_fit_says_nothing_where_all_options_had_an_effect(fitted: Any) -> None:
    assert not any("no effect" in note for note in fitted().notes)


def test_fit_reports_each_tensor_that_layers_read(
    model: Any, images: Any, fit_settings: Fit
) -> None:
    reported = []

    def progress(tensors: Any) -> Any:
        for tensor in tensors:
            reported.append(tensor)
            yield tensor

    settings = fit_settings.model_copy(update=PLAIN)
    points = find_points(model, symmetric=False)
    fit(model, images, settings, points=points, progress=progress)
    assert reported == ["permute", "relu0", "relu1", "relu2", "flatten"]


# Activations.


def test_fit_by_minmax_covers_what_was_seen(fitted: Any, model: Any, images: Any) -> None:
    tensors = graphs.computed(model, images)
    for name, parameters in fitted(**PLAIN).activations.items():
        if name != "input":
            low, high = min(float(tensors[name].min()), 0), float(tensors[name].max())
            room = 0.51 * float(parameters.scale)
            assert parameters.clip_range == pytest.approx((low, high), abs=room), name


def test_fit_of_symmetric_activations_has_zero_in_the_middle(fitted: Any) -> None:
    quantization = fitted(**PLAIN, activation_symmetric=True)
    assert quantization.symmetric
    assert {int(x.zero_point) for x in quantization.activations.values()} == {128}


@pytest.mark.parametrize("method", ["percentile", "entropy", "mse"])
def test_fit_by_other_methods_covers_no_more_than_minmax(fitted: Any, method: str) -> None:
    few = {"histogram_bins": 256, "percentile": 99.0}
    found = fitted(**PLAIN | {"activation_range": method} | few).activations
    whole = fitted(**PLAIN).activations
    spans = [np.ptp(x.clip_range) / np.ptp(whole[name].clip_range) for name, x in found.items()]
    assert max(spans) <= 1 + 1 / 255
    assert min(spans) <= 0.95 * (1 + RTOL_FLOAT32)


# Weights.


def assert_within_half_a_step(quantization: Quantization, model: Any) -> None:
    for layer in read_layers(model):
        scale = quantization.weights[layer.name].scale
        room = scale.reshape(-1, *[1] * (layer.weight.ndim - 1)) * (0.5 + 128 * RTOL_FLOAT32)
        found = quantization.layers[layer.name].weight.values
        assert (np.abs(found - layer.weight) <= room).all()


def test_fit_by_nearest_is_within_half_a_step_of_the_weights(fitted: Any, model: Any) -> None:
    assert_within_half_a_step(fitted(**PLAIN), model)


def test_fit_by_nearest_is_within_half_a_step_of_the_equalized_weights(
    fitted: Any, model: Any
) -> None:
    quantization = fitted(**PLAIN | {"equalization": 1.0})
    assert quantization.equalization.outputs
    assert_within_half_a_step(quantization, equalized(model, quantization.equalization))


def test_fit_per_tensor_gives_a_layer_one_scale(fitted: Any) -> None:
    for weights in fitted(**PLAIN, per_channel=False).weights.values():
        assert (weights.scale.shape, weights.axis) == ((), None)


def test_fit_of_asymmetric_weights_uses_the_codes_from_end_to_end(fitted: Any) -> None:
    quantization = fitted(**PLAIN, per_channel=False, weight_symmetric=False)
    assert {int(x.zero_point) for x in quantization.weights.values()} != {0}
    for codes in quantization.codes.values():
        assert (codes.min(), codes.max()) == (-128, 127)


def test_fit_looks_behind_quantized_layers_only_where_it_has_to(
    model: Any, images: Any, fit_settings: Fit, monkeypatch: pytest.MonkeyPatch
) -> None:
    kinds = []
    streaming = observers.stream

    def watched(streamed: Any, *arguments: Any, **options: Any) -> Any:
        kinds.append("QuantizeLinear" in {step.op_type for step in streamed.graph.node})
        return streaming(streamed, *arguments, **options)

    monkeypatch.setattr(observers, "stream", watched)
    seen = {}
    for name, changes in {
        "none": {},
        "gptq": {"weight_rounding": "gptq"},
        "bias": {"bias_correction": True},
    }.items():
        kinds.clear()
        fitted_to(model, images[:5], fit_settings, **PLAIN | changes)
        seen[name] = sum(kinds)
    assert seen == {"none": 0, "gptq": 5, "bias": 5}  # once for each tensor that layers read


def errors_of(quantization: Quantization, model: Any, images: Any) -> dict[str, Any]:
    """By layer, (N, O, ...) how far quantized outputs are from the equalized float model's."""
    float_model = equalized(model, quantization.equalization)
    quantized = with_parameters(
        fake_quantized(float_model, quantization.activations), quantization.parameters
    )
    before, after = (graphs.computed(x, images) for x in (float_model, quantized))
    return {
        layer.name: (after[layer.output] - before[layer.output]).astype(np.float64)
        for layer in read_layers(model)
    }


def mean_errors(found: dict[str, Any]) -> dict[str, Any]:
    """By layer, (O,)."""
    return {
        name: np.abs(x.mean(tuple(axis for axis in range(x.ndim) if axis != 1)))
        for name, x in found.items()
    }


def test_fit_by_gptq_errs_less_than_by_nearest(fitted: Any, model: Any, images: Any) -> None:
    before, after = (
        errors_of(fitted(**PLAIN | {"weight_rounding": name}), model, images)
        for name in ("nearest", "gptq")
    )
    # The first layer's inputs are the same in both, and its biases as good as exact.
    assert np.mean(after["conv0"] ** 2) < np.mean(before["conv0"] ** 2)


# Biases.


def bias_step(quantization: Quantization, layer: Layer) -> Any:
    """(O,) or () input scale times weight scale."""
    weight_scale = quantization.weights[layer.name].scale.astype(np.float64)
    return weight_scale * float(quantization.activations[layer.input].scale)


@pytest.mark.parametrize("changes", [{}, PLAIN], ids=["all options", "plain"])
def test_fit_rounds_biases_to_steps_of_input_and_weight_scale(
    fitted: Any, model: Any, changes: Any
) -> None:
    quantization = fitted(**changes)
    for layer in read_layers(model):
        step = bias_step(quantization, layer)
        steps = quantization.layers[layer.name].bias / step
        # As close to a whole number as float32 is.
        np.testing.assert_allclose(steps, np.rint(steps), rtol=RTOL_FLOAT32, atol=1e-9)


def test_fit_without_correction_keeps_biases_within_half_a_step(fitted: Any, model: Any) -> None:
    quantization = fitted(**PLAIN)
    for layer in read_layers(model):
        room = 0.5 * bias_step(quantization, layer) + RTOL_FLOAT32 * np.abs(layer.bias)
        assert (np.abs(quantization.layers[layer.name].bias - layer.bias) <= room).all()


@pytest.mark.parametrize("rounding", ["nearest", "gptq"])
@pytest.mark.parametrize("equalization", [0.0, 1.0])
def test_fit_corrects_the_mean_error_of_each_output_to_half_a_step_of_its_bias(
    fitted: Any, model: Any, images: Any, rounding: str, equalization: float
) -> None:
    changes = {"weight_rounding": rounding, "equalization": equalization}
    quantization = fitted(**PLAIN | changes | {"bias_correction": True})
    means = mean_errors(errors_of(quantization, model, images))
    outputs = graphs.computed(equalized(model, quantization.equalization), images)
    for layer in read_layers(model):
        room = (
            0.5 * bias_step(quantization, layer) + RTOL_MEANS * np.abs(outputs[layer.output]).max()
        )
        assert (means[layer.name] <= room).all(), layer.name


def test_fit_has_larger_mean_errors_without_correction(
    fitted: Any, model: Any, images: Any
) -> None:
    without, corrected = (
        mean_errors(errors_of(fitted(**PLAIN | {"bias_correction": flag}), model, images))
        for flag in (False, True)
    )
    for name in LAYERS:
        assert corrected[name].sum() < without[name].sum() / 5, name


# Layers in float.


def test_fit_leaves_out_the_layers_that_stay_in_float(fitted: Any) -> None:
    quantization = fitted(**PLAIN, float_layers=["conv2"])
    assert sorted(quantization.layers) == ["conv0", "conv1", "conv3", "dense"]
    assert quantization.float_layers == ("conv2",)


def test_fit_gives_a_float_layers_output_no_parameters_where_nothing_rounds_it(fitted: Any) -> None:
    activations = fitted(**PLAIN, float_layers=["conv2", "conv3"]).activations
    assert "conv3" not in activations


# Options without an effect.


def test_fit_notes_an_equalization_that_found_nothing_to_equalize(fit_settings: Fit) -> None:
    steps = [
        graphs.node("Abs", "pixels", "input"),
        graphs.layer("Conv", "conv", "pixels"),
        graphs.node("Sigmoid", "last", "conv"),
    ]
    model = graphs.build(steps, graphs.weights(conv=(4, 3, 3, 3)))
    settings = fit_settings.model_copy(update={"activation_range": "minmax"})
    quantization = fit(model, graphs.drawn(model, 9), settings, points={"pixels": "pixels"})
    assert quantization.notes == ("fit.equalization: 0.75 had no effect on this model.",)


def test_fit_notes_a_percentile_that_keeps_everything(fitted: Any) -> None:
    quantization = fitted(**PLAIN | {"activation_range": "percentile", "percentile": 100.0})
    assert quantization.notes == ("fit.activation_range: percentile had no effect on this model.",)


def test_fit_notes_gptq_where_it_rounds_to_the_nearest(fit_settings: Fit) -> None:
    # One weight an output: nothing can make up for its error.
    steps = [
        graphs.node("Abs", "pixels", "input"),
        graphs.layer("Conv", "conv", "pixels"),
        graphs.node("Sigmoid", "last", "conv"),
    ]
    model = graphs.build(steps, graphs.weights(conv=(4, 1, 1, 1)), shape=(1, 8, 8))
    settings = fit_settings.model_copy(update=PLAIN | {"weight_rounding": "gptq"})
    quantization = fit(model, graphs.drawn(model, 9), settings, points={"pixels": "pixels"})
    assert quantization.notes == ("fit.weight_rounding: gptq had no effect on this model.",)


def test_fit_notes_bias_correction_without_biases(fit_settings: Fit) -> None:
    steps = [
        graphs.node("Abs", "pixels", "input"),
        graphs.node("Conv", "conv", "pixels", "conv.weight"),
        graphs.node("Sigmoid", "last", "conv"),
    ]
    model = graphs.build(steps, {"conv.weight": graphs.weights(c=(4, 3, 3, 3))["c.weight"]})
    settings = fit_settings.model_copy(update=PLAIN | {"bias_correction": True})
    quantization = fit(model, graphs.drawn(model, 9), settings, points={"pixels": "pixels"})
    assert quantization.notes == ("fit.bias_correction: true had no effect on this model.",)
    assert quantization.layers["conv"].bias is None


# Other models, and as few images as there can be.


@pytest.mark.parametrize("count", [1, 2])
def test_fit_takes_as_few_images_as_there_can_be(
    model: Any, images: Any, fit_settings: Fit, count: int
) -> None:
    assert sorted(fitted_to(model, images[:count], fit_settings).layers) == LAYERS


@pytest.mark.parametrize("damping", [1e-12, 1e-6, 1.0])
def test_fit_takes_all_damping_that_params_allow(
    model: Any, images: Any, fit_settings: Fit, damping: float
) -> None:
    # Few images, so that some of the inputs' products are the same but for the last digits.
    found = fitted_to(model, images[:3], fit_settings, gptq_damping=damping)
    assert sorted(found.layers) == LAYERS


def test_fit_takes_images_that_are_all_the_same(model: Any, images: Any, fit_settings: Fit) -> None:
    alike = np.repeat(images[:1], 5, axis=0)
    assert sorted(fitted_to(model, alike, fit_settings).layers) == LAYERS


def test_fit_takes_black_images(model: Any, images: Any, fit_settings: Fit) -> None:
    quantization = fitted_to(model, np.zeros_like(images[:5]), fit_settings)
    assert quantization.activations["input"].scale > 0


def depthwise() -> Any:
    """As MobileNet's blocks, with an activation that is clipped and one that is scaled."""
    arrays = graphs.weights(
        conv0=(6, 3, 3, 3), deep=(6, 1, 3, 3), point=(8, 6, 1, 1), dense=(4, 8)
    ) | {
        "low": np.array(0, np.float32),
        "high": np.array(6, np.float32),
        "shape": np.array([-1, 8]),
    }
    arrays["conv0.weight"] /= 50
    steps = [
        graphs.node("Transpose", "permute", "input", perm=[0, 3, 1, 2]),
        graphs.layer("Conv", "conv0", "permute", strides=[4, 4], auto_pad="SAME_UPPER"),
        graphs.node("Clip", "clip", "conv0", "low", "high"),
        graphs.layer("Conv", "deep", "clip", group=6, pads=[1, 1, 1, 1]),
        graphs.node("LeakyRelu", "leaky", "deep", alpha=0.1),
        graphs.layer("Conv", "point", "leaky"),
        graphs.node("Relu", "relu", "point"),
        graphs.node("GlobalAveragePool", "pool", "relu"),
        graphs.node("Reshape", "flatten", "pool", "shape"),
        graphs.layer("Gemm", "dense", "flatten", transB=1),
        graphs.node("Softmax", "probabilities", "dense"),
    ]
    return graphs.build(steps, arrays, shape=(32, 32, 3))


def test_fit_takes_depthwise_convolutions_and_other_activations(fit_settings: Fit) -> None:
    model = depthwise()
    images = graphs.drawn(model, 20)
    quantization = fitted_to(model, images, fit_settings)
    assert sorted(quantization.layers) == ["conv0", "deep", "dense", "point"]
    assert not {"conv0", "clip"} & quantization.equalization.outputs.keys()
    means = mean_errors(errors_of(quantization, model, images))
    outputs = graphs.computed(equalized(model, quantization.equalization), images)
    for layer in read_layers(model):
        room = (
            0.5 * bias_step(quantization, layer) + RTOL_MEANS * np.abs(outputs[layer.output]).max()
        )
        assert (means[layer.name] <= room).all(), layer.name


# Addends in front of a ReLU.


def test_fit_clips_an_addend_that_only_the_addition_reads(fitted: Any, model: Any) -> None:
    plain, aware = fitted(activation_range="minmax"), fitted(activation_range="mse")
    assert (plain.relu_aware, aware.relu_aware) == ((), ("add", "conv2"))
    (low, _), (lowest, _) = (x.activations["conv2"].clip_range for x in (aware, plain))
    assert lowest < low < 0
    assert any(note.startswith("conv2: clipped below on purpose") for note in aware.notes)


def test_fit_says_nothing_of_clipping_where_every_value_has_a_code(fitted: Any) -> None:
    assert not any("on purpose" in note for note in fitted(activation_range="minmax").notes)
