"""Writes and reads a quantization: `quantization.json`, to read, and `parameters.npz`."""

import json
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from resnet8.core.errors import ArtifactError
from resnet8.core.files import write_arrays, write_json
from resnet8.core.qparams import N_CODES, Parameter, QuantizationParameters
from resnet8.quantize import equalization
from resnet8.quantize.quantization import LayerParameters, Quantization

# What a damaged file is known to raise.
_FAULTS = (
    *(AttributeError, EOFError, KeyError, OSError, TypeError, ValueError),
    *(zipfile.BadZipFile, zlib.error),
)
_FLOAT32 = np.finfo(np.float32)
_Positive = Annotated[float, Field(ge=float(_FLOAT32.tiny), le=float(_FLOAT32.max))]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True, allow_inf_nan=False)


class _Activation(_Strict):
    scale: _Positive
    zero_point: Annotated[int, Field(ge=0, lt=N_CODES)]
    dtype: Literal["uint8"]

    def decoded(self) -> QuantizationParameters:
        return QuantizationParameters.per_tensor(self.scale, self.zero_point, self.dtype)


class _Weight(_Strict):
    """One scale, or one for each output and no zero point."""

    scale: list[_Positive] = Field(min_length=1)
    zero_point: Annotated[int, Field(ge=-N_CODES // 2, lt=N_CODES // 2)]
    dtype: Literal["int8"]
    axis: Literal[0] | None

    def decoded(self) -> QuantizationParameters:
        if self.axis is None:
            (scale,) = self.scale
            return QuantizationParameters.per_tensor(scale, self.zero_point, self.dtype)
        if self.zero_point:
            raise ValueError(f"zero point {self.zero_point} beside a scale for each output")
        scales = np.array(self.scale, np.float32)
        return QuantizationParameters.per_channel(scales, self.dtype, self.axis)


class _File(_Strict):
    activations: dict[str, _Activation]
    weights: dict[str, _Weight | None]
    equalization: list[Any]
    relu_aware: list[str]
    symmetric: bool
    float_layers: list[str]
    notes: list[str]


def write(folder: Path, quantization: Quantization, settings: Mapping[str, Any]) -> None:
    """Writes `quantization.json` and `parameters.npz`, the weights' codes and the biases.

    Layers in float that equalization changed have float weights there.
    """
    weights = {name: layer.weight.quantization for name, layer in quantization.layers.items()}
    content = {
        "settings": dict(settings),
        "activations": {
            name: _describe_activation(x) for name, x in quantization.activations.items()
        },
        "weights": {name: x and _describe_weight(x) for name, x in weights.items()},
        "equalization": json.loads(equalization.encode(quantization.equalization) or "[]"),
        "relu_aware": list(quantization.relu_aware),
        "symmetric": quantization.symmetric,
        "float_layers": list(quantization.float_layers),
        "notes": list(quantization.notes),
    }
    arrays: dict[str, NDArray[Any]] = {}
    codes = quantization.codes
    for name, (weight, bias) in quantization.layers.items():
        arrays[f"{name}.weight"] = codes.get(name, weight.values)
        if bias is not None:
            arrays[f"{name}.bias"] = bias
    write_arrays(folder / "parameters.npz", arrays)
    write_json(folder / "quantization.json", content)


def _describe_activation(parameters: QuantizationParameters) -> dict[str, Any]:
    low, high = parameters.clip_range
    return {
        "scale": float(parameters.scale),
        "zero_point": int(parameters.zero_point),
        "dtype": parameters.dtype,
        "low": low,
        "high": high,
    }


def _describe_weight(parameters: QuantizationParameters) -> dict[str, Any]:
    return {
        "scale": np.atleast_1d(parameters.scale).tolist(),
        "zero_point": int(np.max(parameters.zero_point)),
        "dtype": parameters.dtype,
        "axis": parameters.axis,
    }


def read(folder: Path) -> Quantization:
    """Reads what `write` wrote.

    Raises:
        ArtifactError: a file is missing, damaged, or the two do not belong together.
    """
    try:
        content = _File.model_validate_json((folder / "quantization.json").read_bytes())
        with np.load(folder / "parameters.npz", allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        return Quantization(
            {name: x.decoded() for name, x in content.activations.items()},
            {
                name: _layer(name, x.decoded() if x else None, arrays)
                for name, x in content.weights.items()
            },
            equalization.decode(json.dumps(content.equalization)),
            tuple(content.relu_aware),
            content.symmetric,
            tuple(content.float_layers),
            tuple(content.notes),
        )
    except _FAULTS as exc:
        reason = " ".join(str(exc).split())[:200].rstrip(".") or type(exc).__name__
        raise ArtifactError(
            f"{folder} must hold a quantization, got: {reason}. Run `dvc repro` to make it again."
        ) from exc


def _layer(
    name: str, quantization: QuantizationParameters | None, arrays: Mapping[str, NDArray[Any]]
) -> LayerParameters:
    weight, bias = arrays[f"{name}.weight"], arrays.get(f"{name}.bias")
    dtype = np.dtype(np.float32 if quantization is None else quantization.dtype)
    sound = weight.dtype == dtype and weight.ndim >= 2 and bool(np.isfinite(weight).all())
    if sound and quantization is not None and quantization.axis is not None:
        sound = quantization.scale.shape == weight.shape[:1]
    if not sound:
        raise ValueError(f"weights {weight.dtype} {weight.shape} of {name!r}")
    if bias is not None and not (
        bias.dtype == np.float32 and bias.shape == weight.shape[:1] and np.isfinite(bias).all()
    ):
        raise ValueError(f"biases {bias.dtype} {bias.shape} of {name!r}")
    with np.errstate(over="ignore"):
        values = weight if quantization is None else quantization.dequantize(weight)
    if not np.isfinite(values).all():
        raise ValueError(f"weights of {name!r} beyond float32")
    return LayerParameters(Parameter(values, quantization), bias)
