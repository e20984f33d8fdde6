"""Equalized models, looked at in the float model's units by their files alone."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from resnet8.core.errors import ArtifactError
from resnet8.core.qparams import Parameter, QuantizationParameters
from resnet8.core.variants import Variant
from resnet8.inspection import isolation, onnx_capture, recording, torch_capture, watch
from resnet8.inspection.capture import Captured, Point, Watched
from resnet8.inspection.units import in_float_units, read_equalization
from resnet8.models import onnx_model, torch_model
from resnet8.quantize import onnx_writer
from resnet8.quantize.equalization import Equalization, as_metadata
from resnet8.quantize.quantization import Quantization

RTOL_FLOAT32 = 1e-6
# Of a layer's mean absolute value: what 8 bits change, and what other units do.
ROOM, OTHER_UNITS = 0.05, 0.2
VARIANTS = ("onnx_int8", "onnx_uint8", "torch_int8")


@pytest.fixture(scope="module")
def folder(
    tmp_path_factory: pytest.TempPathFactory,
    onnx_fp32: Any,
    torch_fp32: Any,
    torch_int8: Any,
    quantization: Quantization,
) -> Path:
    folder = tmp_path_factory.mktemp("models")
    (folder / "onnx_fp32.onnx").write_bytes(onnx_fp32.SerializeToString())
    (folder / "torch_fp32.pt2").write_bytes(torch_model.encode(torch_fp32))
    for name in ("int8", "uint8"):
        model = onnx_writer.quantize(onnx_fp32, quantization, quant_type=name)
        (folder / f"onnx_{name}.onnx").write_bytes(model.SerializeToString())
    content = torch_model.encode(torch_int8, as_metadata(quantization.equalization))
    (folder / "torch_int8.pt2").write_bytes(content)
    return folder


def path_of(folder: Path, variant: str) -> Path:
    return folder / f"{variant}.{'onnx' if variant.startswith('onnx') else 'pt2'}"


def float_path(folder: Path, variant: str) -> Path:
    return path_of(folder, f"{variant.partition('_')[0]}_fp32")


# What files carry.


@pytest.mark.parametrize("variant", VARIANTS)
def test_read_equalization_gives_what_was_written(
    folder: Path, quantization: Quantization, variant: str
) -> None:
    found = read_equalization(path_of(folder, variant))
    assert min(x.min() for x in found.outputs.values()) < 0.5  # or nothing is shown
    for ours, theirs in zip(found, quantization.equalization, strict=True):
        assert ours.keys() == theirs.keys()
        for name, factors in theirs.items():
            np.testing.assert_array_equal(ours[name], factors)


@pytest.mark.parametrize("name", ["onnx_fp32.onnx", "torch_fp32.pt2"])
def test_read_equalization_of_a_float_model_is_without_factors(folder: Path, name: str) -> None:
    assert read_equalization(folder / name) == Equalization({}, {})


@pytest.mark.parametrize("name", ["none.onnx", "none.pt2"])
def test_read_equalization_names_a_file_that_is_missing(folder: Path, name: str) -> None:
    with pytest.raises(ArtifactError, match=rf"{name} must be an .+ Run `dvc repro`"):
        read_equalization(folder / name)


def test_stock_pytorch_loads_a_file_with_factors(
    folder: Path, torch_int8: Any, quantization: Quantization, calibration_images: Any
) -> None:
    texts = {"equalization": ""}
    program = torch.export.load(folder / "torch_int8.pt2", extra_files=texts)
    images = calibration_images[:5].astype(np.float32)
    found, expected = (torch_model.make_predictor(x)(images) for x in (program, torch_int8))
    np.testing.assert_array_equal(found, expected)
    written = texts["equalization"]
    text = written.decode() if isinstance(written, bytes) else written
    assert {"equalization": text} == as_metadata(quantization.equalization)


def test_encode_gives_the_same_bytes_twice_with_factors(
    folder: Path, torch_int8: Any, quantization: Quantization
) -> None:
    content = torch_model.encode(torch_int8, as_metadata(quantization.equalization))
    assert content == (folder / "torch_int8.pt2").read_bytes()


def test_encode_writes_nothing_of_a_model_without_factors(torch_fp32: Any) -> None:
    assert torch_model.encode(torch_fp32, as_metadata(Equalization())) == torch_model.encode(
        torch_fp32
    )


# Models that are watched by their file.


def error_of(found: NDArray[np.float32], original: NDArray[np.float32]) -> float:
    return float(np.abs(found - original).mean() / np.abs(original).mean())


@pytest.mark.parametrize("variant", VARIANTS)
def test_watch_file_shows_the_float_models_units(
    folder: Path, calibration_images: NDArray[np.uint8], variant: str
) -> None:
    path = path_of(folder, variant)
    found, original = (
        recording.capture(watch.watch_file(x), calibration_images[:50])
        for x in (path, float_path(folder, variant))
    )
    names = found.keys() & read_equalization(path).outputs.keys()
    assert len(names) >= 6
    for name in names:
        assert error_of(found[name], original[name]) < ROOM, name


@pytest.mark.parametrize("variant", VARIANTS)
def test_watch_without_factors_shows_other_units(
    folder: Path, calibration_images: NDArray[np.uint8], variant: str
) -> None:
    path = path_of(folder, variant)
    watched = (
        onnx_capture.watch(onnx_model.load_model(path))
        if path.suffix == ".onnx"
        else torch_capture.watch(torch_model.load(path))
    )
    found, original = (
        recording.capture(x, calibration_images[:50])
        for x in (watched, watch.watch_file(float_path(folder, variant)))
    )
    names = found.keys() & read_equalization(path).outputs.keys()
    assert min(error_of(found[name], original[name]) for name in names) > OTHER_UNITS


@pytest.mark.parametrize("variant", VARIANTS)
def test_watch_file_multiplies_what_the_model_computes(
    folder: Path, calibration_images: NDArray[np.uint8], variant: str
) -> None:
    path = path_of(folder, variant)
    watched, factors = watch.watch_file(path), read_equalization(path).outputs
    images = calibration_images[:5].astype(np.float32)
    outputs = watched.run(images).outputs
    checked = 0
    for name, point in watched.points.items():
        if name in factors and point.quantization:
            scale, zero_point, _, axis = point.quantization
            assert (axis, scale.shape) == (1, factors[name].shape), name
            # One scale for the tensor is left where the factors are taken out.
            own = scale.astype(np.float64) / factors[name]
            np.testing.assert_allclose(own, own.max(), rtol=RTOL_FLOAT32, err_msg=name)
            steps = outputs[name].astype(np.float64) - zero_point[0]
            along = factors[name].astype(np.float64).reshape(-1, *[1] * (steps.ndim - 2))
            expected = steps * own.max() * along
            found = recording.capture(watched, calibration_images[:5])[name]
            np.testing.assert_allclose(found, expected, rtol=1e-5, err_msg=name)
            checked += 1
    assert checked >= 5


@pytest.mark.parametrize("variant", VARIANTS)
def test_watch_file_shows_weights_in_the_float_models_units(folder: Path, variant: str) -> None:
    found, expected = (
        watch.watch_file(path).parameters
        for path in (path_of(folder, variant), float_path(folder, variant))
    )
    assert found.keys() == expected.keys()
    for layer, kinds in found.items():
        original = expected[layer]["weight"].values
        error = np.linalg.norm(kinds["weight"].values - original)
        assert error < ROOM * np.linalg.norm(original), layer


@pytest.mark.parametrize("variant", VARIANTS)
def test_watch_file_takes_the_factors_out_of_weights_and_biases(
    folder: Path, quantization: Quantization, variant: str
) -> None:
    found = watch.watch_file(path_of(folder, variant)).parameters
    outputs, inputs = quantization.equalization
    assert found.keys() == quantization.layers.keys()
    for layer, (weight, bias) in quantization.parameters.items():
        over, under = (
            by_name[layer].astype(np.float64) if layer in by_name else np.ones(count)
            for by_name, count in ((outputs, len(weight)), (inputs, weight.shape[1]))
        )
        pixels = [1] * (weight.ndim - 2)
        expected = weight * over.reshape(-1, 1, *pixels) / under.reshape(-1, *pixels)
        kinds = found[layer]
        np.testing.assert_allclose(kinds["weight"].values, expected, rtol=1e-5, err_msg=layer)
        np.testing.assert_allclose(kinds["bias"].values, bias * over, rtol=1e-5, err_msg=layer)


# By hand.


def watched_with(
    output: Any = None,
    quantization: QuantizationParameters | None = None,
    **parameters: Parameter,
) -> Watched:
    return Watched(
        {} if output is None else {"conv": Point("here", quantization)},
        {"conv": parameters},
        {},
        lambda images: Captured({} if output is None else {"conv": output}, images),
    )


OUTPUTS, INPUTS = np.array([1, 0.5], np.float32), np.array([0.25, 1, 0.125], np.float32)
IMAGES = np.zeros((1, 32, 32, 3), np.float32)


def test_in_float_units_multiplies_numbers_of_a_layer_in_float() -> None:
    output = np.arange(8, dtype=np.float32).reshape(1, 2, 2, 2)
    found = in_float_units(watched_with(output), Equalization({"conv": OUTPUTS}))
    assert found.points["conv"].quantization is None
    assert found.run(IMAGES).outputs["conv"].ravel().tolist() == [0, 1, 2, 3, 2, 2.5, 3, 3.5]


def test_in_float_units_leaves_codes_and_scales_them() -> None:
    codes = np.array([[10, 12]], np.uint8)
    given = watched_with(codes, QuantizationParameters.per_tensor(0.5, 10))
    found = in_float_units(given, Equalization({"conv": OUTPUTS}))
    assert found.run(IMAGES).outputs["conv"].tolist() == [[10, 12]]
    assert found.points["conv"].quantization.dequantize(codes).tolist() == [[0.0, 0.5]]


def test_in_float_units_changes_nothing_without_factors() -> None:
    weight = Parameter(np.ones((2, 3), np.float32))
    output = np.array([[1, 2]], np.float32)
    given = watched_with(output, weight=weight)
    found = in_float_units(given, Equalization())
    assert (found.points, found.run(IMAGES).outputs) == (given.points, {"conv": output})
    np.testing.assert_array_equal(found.parameters["conv"]["weight"].values, weight.values)


def test_in_float_units_multiplies_weights_by_outputs_and_divides_them_by_inputs() -> None:
    weight = Parameter(np.ones((2, 3), np.float32))
    factors = Equalization({"conv": OUTPUTS}, {"conv": INPUTS})
    found = in_float_units(watched_with(weight=weight), factors).parameters["conv"]["weight"]
    assert found.values.tolist() == [[4, 1, 8], [2, 0.5, 4]]
    assert found.quantization is None


def test_in_float_units_multiplies_biases_by_outputs_alone() -> None:
    bias = Parameter(np.array([3, 5], np.float32))
    factors = Equalization({"conv": OUTPUTS}, {"conv": INPUTS})
    found = in_float_units(watched_with(bias=bias), factors).parameters["conv"]["bias"]
    assert found.values.tolist() == [3, 2.5]


@pytest.mark.parametrize(
    "quantization",
    [
        QuantizationParameters.per_tensor(0.5, 0, "int8"),
        QuantizationParameters.per_channel(np.array([0.5, 0.5], np.float32), "int8", axis=0),
    ],
    ids=["per tensor", "per channel"],
)
def test_in_float_units_gives_the_scale_of_the_input_with_the_largest(
    quantization: QuantizationParameters,
) -> None:
    weight = Parameter(np.ones((2, 3), np.float32), quantization)
    factors = Equalization({"conv": OUTPUTS}, {"conv": INPUTS})
    found = in_float_units(watched_with(weight=weight), factors).parameters["conv"]["weight"]
    assert (found.quantization.scale.tolist(), found.quantization.axis) == ([4.0, 2.0], 0)


def test_in_float_units_divides_weights_of_a_depthwise_layer_by_the_input_of_each() -> None:
    weight = Parameter(np.ones((3, 1, 1, 2), np.float32))
    factors = Equalization({"conv": np.array([1, 0.5, 0.25], np.float32)}, {"conv": INPUTS})
    found = in_float_units(watched_with(weight=weight), factors).parameters["conv"]["weight"]
    assert found.values.reshape(3, 2).tolist() == [[4, 4], [0.5, 0.5], [2, 2]]


@pytest.mark.parametrize("count", [1, 3])
def test_in_float_units_names_a_layer_with_other_channels(count: int) -> None:
    factors = Equalization({"conv": np.full(count, 0.5, np.float32)})
    message = rf"equalization of conv must have a factor for each of 2 channels, got {count}\."
    with pytest.raises(ArtifactError, match=message):
        in_float_units(watched_with(np.ones((1, 2), np.float32)), factors).run(IMAGES)
    with pytest.raises(ArtifactError, match=message):
        in_float_units(watched_with(bias=Parameter(np.ones(2, np.float32))), factors)


@pytest.mark.parametrize("count", [1, 2, 4, 6, 9])
def test_in_float_units_names_a_layer_with_other_inputs(count: int) -> None:
    factors = Equalization({}, {"conv": np.full(count, 0.5, np.float32)})
    weight = Parameter(np.ones((2, 3), np.float32))
    message = rf"equalization of conv must have a factor for each of 3 channels, got {count}\."
    with pytest.raises(ArtifactError, match=message):
        in_float_units(watched_with(weight=weight), factors)


def test_in_float_units_names_a_depthwise_layer_with_other_inputs() -> None:
    factors = Equalization({}, {"conv": INPUTS})
    weight = Parameter(np.ones((6, 1, 3, 3), np.float32))
    with pytest.raises(ArtifactError, match=r"for each of 6 channels, got 3\."):
        in_float_units(watched_with(weight=weight), factors)


def test_in_float_units_names_a_layer_without_channels() -> None:
    factors = Equalization({"conv": OUTPUTS[:1]})
    with pytest.raises(ArtifactError, match=r"for each of 0 channels, got 1\."):
        in_float_units(watched_with(np.ones(1, np.float32)), factors).run(IMAGES)


# Layers that are quantized alone.


@pytest.mark.parametrize("variant", ["onnx_int8", "torch_int8"])
def test_load_isolates_layers_of_an_equalized_variant(
    folder: Path, onnx_fp32: Any, calibration_images: NDArray[np.uint8], variant: str
) -> None:
    images = calibration_images[:20].astype(np.float32)
    expected = onnx_model.make_predictor(onnx_fp32)(images)
    layers, isolate = isolation.load(Variant(variant), folder)
    np.testing.assert_allclose(isolate([])(images), expected, atol=1e-4)
    for layer in ("conv2d_1", "conv2d_4", "dense"):
        assert layer in layers
        assert np.abs(isolate([layer])(images) - expected).mean() < 0.01, layer


@pytest.mark.parametrize("variant", ["onnx_int8", "torch_int8"])
def test_load_isolates_all_layers_as_the_variant_has_them(
    folder: Path, calibration_images: NDArray[np.uint8], variant: str
) -> None:
    images = calibration_images[:20].astype(np.float32)
    layers, isolate = isolation.load(Variant(variant), folder)
    path = path_of(folder, variant)
    expected = (
        onnx_model.make_predictor(onnx_model.load_model(path), as_written=True)
        if path.suffix == ".onnx"
        else torch_model.make_predictor(torch_model.load(path))
    )(images)
    np.testing.assert_array_equal(isolate(layers)(images), expected)
