"""Equalized models in the float model's units."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from resnet8.core.errors import ArtifactError
from resnet8.core.qparams import Parameter, QuantizationParameters
from resnet8.core.variants import Variant
from resnet8.inspection import onnx_capture, recording, torch_capture, watch
from resnet8.inspection.capture import Captured, Point, Watched
from resnet8.inspection.units import in_float_units, read_metadata
from resnet8.quantize.equalization import Equalization, FactorGroup
from resnet8.quantize.quantization import Quantization

# Without saturating products, whose error depends on the CPU.
VARIANTS = (Variant.ONNX_INT8, Variant.ONNX_UINT8, Variant.TORCH_INT8)
# Of a layer's mean absolute value: the error of 8 bits, and of wrong units.
QUANTIZATION_ERROR, UNIT_ERROR = 0.05, 0.2
OUTPUTS, INPUTS = np.array([1, 0.5], np.float32), np.array([0.25, 1, 0.125], np.float32)
IMAGES = np.zeros((1, 32, 32, 3), np.float32)


@pytest.mark.parametrize("variant", VARIANTS)
def test_variants_show_outputs_and_parameters_in_the_float_models_units(
    models_folder: Path,
    quantization: Quantization,
    calibration_images: NDArray[np.uint8],
    variant: Variant,
) -> None:
    names = [variant.original, variant]
    loaded = watch.load_variants(names, models_folder, raw=models_folder, n_classes=10)
    original, model = loaded.values()
    factors, _ = read_metadata(model, variant.path(models_folder))
    assert factors == quantization.equalization
    assert read_metadata(original, variant.original.path(models_folder)) == (Equalization(), [])

    library = onnx_capture if variant.runtime == "onnx" else torch_capture
    shown, watched = watch.watch_variants(loaded, models_folder).values()
    models = (shown, watched, library.watch(model))
    expected, outputs, other = (recording.capture(x, calibration_images[:20]) for x in models)
    names = outputs.keys() & factors.outputs.keys()
    assert len(names) >= 6

    def error(outputs: dict[str, Any], name: str) -> float:
        difference = np.abs(outputs[name] - expected[name]).mean()
        return float(difference / np.abs(expected[name]).mean())

    assert max(error(outputs, name) for name in names) < QUANTIZATION_ERROR
    assert min(error(other, name) for name in names) > UNIT_ERROR

    assert watched.parameters.keys() == quantization.layers.keys()
    for layer, (weight, bias) in quantization.parameters.items():
        by_output = factors.outputs.get(layer, np.ones(len(weight))).astype(np.float64)
        by_input = factors.inputs.get(layer, np.ones(weight.shape[1])).astype(np.float64)
        pixels = [1] * (weight.ndim - 2)
        right = weight * by_output.reshape(-1, 1, *pixels) / by_input.reshape(-1, *pixels)
        kinds = watched.parameters[layer]
        np.testing.assert_allclose(kinds["weight"].values, right, rtol=1e-5, err_msg=layer)
        np.testing.assert_allclose(kinds["bias"].values, bias * by_output, rtol=1e-5, err_msg=layer)


def divided(outputs: Any = None, inputs: Any = None) -> Equalization:
    """Factors of the output and the input of `conv`, multiples of 1/4096."""
    sides = {"outputs": outputs, "inputs": inputs}
    groups = [
        FactorGroup(
            numerators=(4096 * factors).astype(int).tolist(),
            **{name: ["conv"] if name == side else [] for name in sides},
        )
        for side, factors in sides.items()
        if factors is not None
    ]
    return Equalization(tuple(groups))


def with_output(output: Any, quantization: QuantizationParameters | None = None) -> Watched:
    points = {"conv": Point("here", quantization)}
    return Watched(points, {}, {}, lambda images: Captured({"conv": output}, images))


def with_parameter(
    values: NDArray[Any], quantization: QuantizationParameters | None = None
) -> Watched:
    parameters = {"conv": {"kind": Parameter(values.astype(np.float32), quantization)}}
    return Watched({}, parameters, {}, lambda images: Captured({}, images))


def test_in_float_units_multiplies_outputs_or_the_scales_of_codes() -> None:
    output = np.arange(8, dtype=np.float32).reshape(1, 2, 2, 2)
    scaled = in_float_units(with_output(output), divided(OUTPUTS))
    assert scaled.points["conv"].quantization is None
    assert scaled.run(IMAGES).outputs["conv"].ravel().tolist() == [0, 1, 2, 3, 2, 2.5, 3, 3.5]
    codes = np.array([[10, 12]], np.uint8)
    quantized = with_output(codes, QuantizationParameters.per_tensor(0.5, 10))
    scaled = in_float_units(quantized, divided(OUTPUTS))
    assert scaled.run(IMAGES).outputs["conv"].tolist() == [[10, 12]]
    assert scaled.points["conv"].dequantize(codes).tolist() == [[0.0, 0.5]]


@pytest.mark.parametrize(
    ("values", "outputs", "expected"),
    [
        (np.ones((2, 3)), OUTPUTS, [[4, 1, 8], [2, 0.5, 4]]),
        (np.array([3, 5]), OUTPUTS, [3, 2.5]),
        (np.ones((3, 1, 1, 1)), np.array([1, 0.5, 0.25], np.float32), [4, 0.5, 2]),
    ],
    ids=["weight", "bias", "depthwise weight"],
)
def test_in_float_units_scales_parameters(values: Any, outputs: Any, expected: Any) -> None:
    stored = with_parameter(values, QuantizationParameters.per_tensor(0.5, 0, "int8"))
    factors = divided(outputs, INPUTS)
    scaled = in_float_units(stored, factors).parameters["conv"]["kind"]
    assert scaled.values.ravel().tolist() == np.ravel(expected).tolist()
    # The scale is that of the input with the largest scale.
    largest = np.reshape(expected, (len(values), -1)).max(axis=1) / values.max()
    if values.ndim > 1:
        assert (scaled.quantization.scale / 0.5).tolist() == largest.tolist()


@pytest.mark.parametrize(
    ("model", "factors", "counts"),
    [
        (with_output(np.ones((1, 2))), divided(INPUTS[:1]), (2, 1)),
        (with_output(np.ones(1)), divided(INPUTS[:1]), (0, 1)),
        (with_parameter(np.ones(2)), divided(INPUTS), (2, 3)),
        (with_parameter(np.ones((2, 3))), divided(inputs=OUTPUTS), (3, 2)),
        (with_parameter(np.ones((6, 1, 3, 3))), divided(inputs=INPUTS), (6, 3)),
    ],
    ids=["output", "no channels", "bias", "inputs", "depthwise"],
)
def test_in_float_units_refuses_a_wrong_number_of_factors(
    model: Watched, factors: Equalization, counts: tuple[int, int]
) -> None:
    message = r"equalization of conv must have a factor for each of {} channels, got {}\."
    with pytest.raises(ArtifactError, match=message.format(*counts)):
        in_float_units(model, factors).run(IMAGES)
