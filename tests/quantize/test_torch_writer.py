"""PyTorch's quantized model: the ONNX model's quantization, in stock operators."""

from typing import Any

import numpy as np
import pytest

from resnet8.core.evaluation import predict
from resnet8.inspection import onnx_capture, torch_capture
from resnet8.models import fx_graph, onnx_model, torch_model
from resnet8.quantize import onnx_writer, torch_writer
from resnet8.quantize.fit import fit
from resnet8.quantize.quantization import Quantization

# Float32 sums in another order: where a sum is as good as half a step, the code is the next one.
# Layers hand that on: 1 of 100,000 codes of the first one, 1 of 60 behind the pool.
SHARE_OF_OTHER_CODES, SHARE_IN_THE_FIRST_LAYER = 0.03, 0.0005
# An addition makes several steps of one of its inputs' step.
SHARE_OF_DISTANT_CODES = 0.01
# Settings that need no second look at the images.
QUICK = {
    "activation_range": "minmax",
    "equalization": 0.0,
    "weight_rounding": "nearest",
    "bias_correction": False,
}


@pytest.fixture(scope="module")
def onnx_int8(onnx_fp32: Any, quantization: Quantization) -> Any:
    return onnx_writer.quantize(onnx_fp32, quantization, quant_type="int8")


@pytest.fixture(scope="module")
def quantized(onnx_fp32: Any, torch_fp32: Any, calibration_images: Any, fit_settings: Any) -> Any:
    """A function that quantizes with other settings; gives the quantization and the program."""

    def run(**changes: Any) -> tuple[Quantization, Any]:
        settings = fit_settings.model_copy(update=QUICK | changes)
        points = onnx_writer.find_points(
            onnx_fp32, symmetric=settings.activation_symmetric, float_layers=settings.float_layers
        )
        given = fit(onnx_fp32, calibration_images[:20], settings, points=points)
        return given, torch_model.export(torch_writer.quantize(torch_fp32, given))

    return run


def assert_given_weights(program: Any, given: Quantization) -> None:
    """Checks the stored codes, and the numbers that the model computes with."""
    parameters = fx_graph.read_parameters(program)
    for name, layer in given.layers.items():
        found, expected = parameters[name]["weight"], layer.weight
        np.testing.assert_allclose(found.values, expected.values, rtol=1e-6, err_msg=name)
        for ours, theirs in zip(found.quantization, expected.quantization, strict=True):
            np.testing.assert_array_equal(ours, theirs, err_msg=name)
        np.testing.assert_array_equal(parameters[name]["bias"].values, layer.bias, err_msg=name)
    stored = [
        x.detach().numpy()
        for x in [*program.state_dict.values(), *program.constants.values()]
        if x.dim() >= 2
    ]
    codes = sorted(x.tobytes() for x in given.codes.values())
    assert sorted(x.tobytes() for x in stored if x.dtype == np.int8) == codes


def test_quantize_stores_the_codes_and_biases_that_are_given(
    torch_int8: Any, quantization: Quantization
) -> None:
    assert_given_weights(torch_int8, quantization)


@pytest.mark.parametrize(
    "changes",
    [
        {"per_channel": False, "weight_symmetric": False},
        {"activation_symmetric": True},
        {"float_layers": ["conv2d_3", "add_1"]},
    ],
    ids=["asymmetric weights", "symmetric activations", "float layers"],
)
def test_quantize_computes_what_onnx_computes_with_parameters_of_every_form(
    quantized: Any, onnx_fp32: Any, torch_fp32: Any, test_set: Any, changes: Any
) -> None:
    given, program = quantized(**changes)
    torch_writer.check(torch_model.load_any(torch_model.encode(program)), torch_fp32, given)
    if "per_channel" in changes:  # scales per tensor are numbers in the graph
        stored = [*program.state_dict.values(), *program.constants.values()]
        assert sorted(str(x.dtype) for x in stored) == ["torch.float32"] * 10 + ["torch.int8"] * 10
    model = onnx_writer.quantize(onnx_fp32, given, quant_type="int8")
    expected = predict(
        onnx_model.make_predictor(model, as_written=True), test_set[0][:200], batch_size=100
    )
    found = predict(torch_model.make_predictor(program), test_set[0][:200], batch_size=100)
    assert np.mean(found.argmax(axis=1) == expected.argmax(axis=1)) >= 0.99


def test_codes_of_every_layer_are_those_of_the_onnx_model(
    torch_int8: Any, onnx_int8: Any, test_set: Any
) -> None:
    images = test_set[0][:50].astype(np.float32)
    ours, theirs = torch_capture.watch(torch_int8), onnx_capture.watch(onnx_int8)
    found, expected = ours.run(images).outputs, theirs.run(images).outputs
    both = [
        layer
        for layer, point in theirs.points.items()
        if point.quantization and layer in ours.points and ours.points[layer].quantization
    ]
    assert len(both) == 13  # all tensors but the input and what only moves values
    for layer in both:
        codes = found[layer].astype(int), expected[layer].astype(int) + 128
        difference = np.abs(codes[0] - codes[1])
        assert np.mean(difference != 0) <= SHARE_OF_OTHER_CODES, layer
        assert np.mean(difference > 1) <= SHARE_OF_DISTANT_CODES, layer
        if layer == "activation":
            assert np.mean(difference != 0) <= SHARE_IN_THE_FIRST_LAYER


def test_quantize_gives_the_same_bytes_twice_and_leaves_the_float_program_alone(
    torch_fp32: Any, quantization: Quantization
) -> None:
    before = torch_model.encode(torch_fp32)
    first, second = (
        torch_model.encode(torch_model.export(torch_writer.quantize(torch_fp32, quantization)))
        for _ in range(2)
    )
    assert first == second
    assert torch_model.encode(torch_fp32) == before
