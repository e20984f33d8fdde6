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
from resnet8.quantize.equalization import Equalization, FactorGroup
from resnet8.quantize.quantization import LayerParameters, Quantization

FLOATS = st.floats(0, width=32, exclude_min=True, allow_infinity=False, allow_subnormal=False)
per_tensor, per_channel = QuantizationParameters.per_tensor, QuantizationParameters.per_channel


def layer_of(codes: Any, quantization: QuantizationParameters, bias: Any) -> LayerParameters:
    return LayerParameters(Parameter(quantization.dequantize(codes), quantization), bias)


def made(scale: float = 0.1, numerator: int = 41) -> Quantization:
    codes = np.arange(-8, 8, dtype=np.int8)
    by_output = per_channel(np.array([scale, 1e-7], np.float32), "int8", 0)
    bias = np.array([0.25, -3], np.float32)
    groups = (
        FactorGroup(numerators=[4096, 2048], outputs=["conv", "relu"], inputs=["dense"]),
        FactorGroup(numerators=[numerator], outputs=[], inputs=["float"]),
    )
    return Quantization(
        {"input": per_tensor(1.0, 0), "conv": per_tensor(scale, 118)},
        {
            "conv": layer_of(np.clip(codes, -1, 1).reshape(2, 2, 2, 2), by_output, bias),
            "dense": layer_of(codes.reshape(4, 4), per_tensor(0.3, -5, "int8"), None),
            "float": LayerParameters(Parameter(np.full((2, 2), 0.7, np.float32)), None),
        },
        Equalization(groups),
        relu_aware=("conv",),
        symmetric=True,
        float_layers=("add",),
        notes=("fit.equalization: 0.5 had no effect on this model.",),
    )


@settings(max_examples=50)
@given(scale=FLOATS, numerator=st.integers(1, 4095))
def test_read_gives_what_was_written(
    tmp_path_factory: pytest.TempPathFactory, scale: float, numerator: int
) -> None:
    folder, expected = tmp_path_factory.getbasetemp() / "written", made(scale, numerator)
    storage.write(folder, expected, {})
    actual = storage.read(folder)
    assert actual.activations == expected.activations
    assert actual[2:] == expected[2:]
    assert actual.layers.keys() == expected.layers.keys()
    for name, ((values, quantization), bias) in expected.layers.items():
        (ours, parameters), ours_bias = actual.layers[name]
        np.testing.assert_array_equal(ours, values)
        np.testing.assert_array_equal(ours_bias, bias)
        for one, other in zip(parameters or (), quantization or (), strict=True):
            np.testing.assert_array_equal(one, other)
            assert np.shape(one) == np.shape(other)


def test_write_describes_a_quantization_in_the_same_bytes_twice(tmp_path: Path) -> None:
    folder, again = tmp_path / "a", tmp_path / "b"
    for path in (folder, again):
        storage.write(path, made(), {"images": 3})
    for name in ("quantization.json", "parameters.npz"):
        assert (folder / name).read_bytes() == (again / name).read_bytes()
    description = json.loads((folder / "quantization.json").read_text())
    assert description["settings"] == {"images": 3}
    assert description["activations"]["input"] == {
        "dtype": "uint8", "high": 255.0, "low": 0.0, "scale": 1.0, "zero_point": 0,
    }  # fmt: skip
    scales = [float(np.float32(x)) for x in (0.1, 1e-7, 0.3)]
    assert description["weights"] == {
        "conv": {"scale": scales[:2], "zero_point": 0, "dtype": "int8", "axis": 0},
        "dense": {"scale": scales[2:], "zero_point": -5, "dtype": "int8", "axis": None},
        "float": None,
    }
    assert description["equalization"][0] == {
        "numerators": [4096, 2048], "denominator": 4096,
        "outputs": ["conv", "relu"], "inputs": ["dense"],
    }  # fmt: skip
    with np.load(folder / "parameters.npz") as stored:
        types = {name: stored[name].dtype for name in stored.files}
    assert types == {
        "conv.weight": np.int8, "conv.bias": np.float32, "dense.weight": np.int8,
        "float.weight": np.float32,
    }  # fmt: skip


def test_read_gives_a_short_reason(tmp_path: Path) -> None:
    storage.write(tmp_path, made(), {})
    (tmp_path / "quantization.json").write_text(json.dumps({"activations": {"x" * 10_000: 5}}))
    with pytest.raises(ArtifactError, match=r"must hold a quantization, got: .{1,250}\. Run"):
        storage.read(tmp_path)
