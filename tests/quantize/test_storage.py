"""A quantization in files: what is read is what was written, and nothing else is read."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resnet8.core.errors import ArtifactError
from resnet8.core.qparams import Parameter, QuantizationParameters
from resnet8.quantize import storage
from resnet8.quantize.equalization import Equalization
from resnet8.quantize.quantization import LayerParameters, Quantization

FLOATS = st.floats(0, width=32, exclude_min=True, allow_infinity=False, allow_subnormal=False)


def layer_of(codes: Any, quantization: QuantizationParameters, bias: Any) -> LayerParameters:
    return LayerParameters(Parameter(quantization.dequantize(codes), quantization), bias)


def made() -> Quantization:
    per_tensor = QuantizationParameters.per_tensor
    codes = np.arange(-8, 8, dtype=np.int8)
    by_output = QuantizationParameters.per_channel(np.array([0.1, 1e-7], np.float32), "int8", 0)
    halves, hundredths = np.array([1, 0.5], np.float32), np.array([41 / 4096], np.float32)
    return Quantization(
        {"input": per_tensor(1.0, 0), "conv": per_tensor(0.019708065316081047, 118)},
        {
            "conv": layer_of(
                codes.reshape(2, 2, 2, 2), by_output, np.array([0.25, -3], np.float32)
            ),
            "dense": layer_of(codes.reshape(4, 4), per_tensor(0.3, -5, "int8"), None),
            "float": LayerParameters(Parameter(np.full((2, 2), 0.7, np.float32)), None),
        },
        Equalization({"conv": halves, "relu": halves}, {"dense": halves, "float": hundredths}),
        relu_aware=("conv",),
        symmetric=True,
        float_layers=("add",),
        notes=("fit.equalization: 0.5 had no effect on this model.",),
    )


def written(folder: Path) -> Path:
    storage.write(folder / "quantization", made(), {"images": 3})
    return folder / "quantization"


def content(folder: Path) -> Any:
    return json.loads((folder / "quantization.json").read_text())


def rewrite(folder: Path, **changes: Any) -> None:
    (folder / "quantization.json").write_text(json.dumps(content(folder) | changes))


def test_read_gives_what_was_written(tmp_path: Path) -> None:
    found, expected = storage.read(written(tmp_path)), made()
    assert found.activations == expected.activations
    assert found[3:] == expected[3:]
    assert found.layers.keys() == expected.layers.keys()
    for name, layer in expected.layers.items():
        np.testing.assert_array_equal(found.layers[name].weight.values, layer.weight.values)
        np.testing.assert_array_equal(found.layers[name].bias, layer.bias)
    assert found.weights.keys() == expected.weights.keys()
    for name, parameters in expected.weights.items():
        for ours, theirs in zip(found.weights[name], parameters, strict=True):
            np.testing.assert_array_equal(ours, theirs)
            assert np.shape(ours) == np.shape(theirs)
        np.testing.assert_array_equal(found.codes[name], expected.codes[name])
    for ours, theirs in zip(found.equalization, expected.equalization, strict=True):
        assert ours.keys() == theirs.keys()
        for name, factors in theirs.items():
            np.testing.assert_array_equal(ours[name], factors)


@settings(max_examples=50, deadline=None, database=None, derandomize=True)
@given(scale=FLOATS, numerator=st.integers(1, 4096))
def test_read_gives_every_float32_as_it_was(
    tmp_path_factory: pytest.TempPathFactory, scale: float, numerator: int
) -> None:
    folder = tmp_path_factory.getbasetemp() / "floats"
    by_output = QuantizationParameters.per_channel(np.array([scale], np.float32), "int8", 0)
    factor = np.array([numerator / 4096], np.float32)
    quantization = Quantization(
        {"x": QuantizationParameters.per_tensor(scale, 0)},
        {"x": layer_of(np.ones((1, 1), np.int8), by_output, None)},
        Equalization({"x": factor}),
    )
    storage.write(folder, quantization, {})
    found = storage.read(folder)
    assert float(found.activations["x"].scale) == scale
    assert (
        float(found.weights["x"].scale[0]) == float(found.layers["x"].weight.values[0, 0]) == scale
    )
    assert float(found.equalization.outputs["x"][0]) == float(factor[0])


def test_write_gives_the_same_bytes_twice(tmp_path: Path) -> None:
    first, second = written(tmp_path / "a"), written(tmp_path / "b")
    for name in ("quantization.json", "parameters.npz"):
        assert (first / name).read_bytes() == (second / name).read_bytes()


def test_write_describes_scales_and_factors(tmp_path: Path) -> None:
    found = content(written(tmp_path))
    assert found["settings"] == {"images": 3}
    assert found["activations"]["input"] == {
        "dtype": "uint8", "high": 255.0, "low": 0.0, "scale": 1.0, "zero_point": 0,
    }  # fmt: skip
    assert found["weights"] == {
        "conv": {
            "scale": [float(np.float32(x)) for x in (0.1, 1e-7)],
            "zero_point": 0, "dtype": "int8", "axis": 0,
        },
        "dense": {
            "scale": [float(np.float32(0.3))], "zero_point": -5, "dtype": "int8", "axis": None,
        },
        "float": None,
    }  # fmt: skip
    assert found["equalization"] == [
        {
            "numerators": [4096, 2048], "denominator": 4096,
            "outputs": ["conv", "relu"], "inputs": ["dense"],
        },
        {"numerators": [41], "denominator": 4096, "outputs": [], "inputs": ["float"]},
    ]  # fmt: skip


def test_write_stores_codes_of_8_bits(tmp_path: Path) -> None:
    with np.load(written(tmp_path) / "parameters.npz") as stored:
        found = {name: stored[name].dtype for name in stored.files}
    assert found == {
        "conv.weight": np.int8, "conv.bias": np.float32, "dense.weight": np.int8,
        "float.weight": np.float32,
    }  # fmt: skip


def test_write_refuses_a_scale_that_is_no_number(tmp_path: Path) -> None:
    nothing = QuantizationParameters.per_tensor(float("nan"), 0)
    quantization = made()._replace(activations={"x": nothing})
    with pytest.raises(ValueError, match="not JSON compliant"):
        storage.write(tmp_path, quantization, {})


def test_read_tells_a_short_reason(tmp_path: Path) -> None:
    folder = written(tmp_path)
    rewrite(folder, activations={"x" * 10_000: 5})
    with pytest.raises(ArtifactError, match="quantization must hold") as told:
        storage.read(folder)
    assert len(str(told.value)) < 600
