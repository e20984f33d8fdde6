"""Writes and reads a quantization: `quantization.json`, for people, and `parameters.npz`."""

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
from resnet8.quantize.equalization import Equalization, FactorGroup
from resnet8.quantize.quantization import LayerParameters, Quantization

# Errors that damaged files are known to raise.
_FAULTS = (EOFError, KeyError, OSError, TypeError, ValueError, zipfile.BadZipFile, zlib.error)
_FLOAT32 = np.finfo(np.float32)
_Scale = Annotated[float, Field(ge=float(_FLOAT32.tiny), le=float(_FLOAT32.max))]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True, allow_inf_nan=False)


class _Activation(_Strict):
    scale: _Scale
    zero_point: Annotated[int, Field(ge=0, lt=N_CODES)]
    dtype: Literal["uint8"]


class _Weight(_Strict):
    """Quantization of a weight: one scale, or one for each output with zero point 0."""

    scale: list[_Scale] = Field(min_length=1)
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
    equalization: tuple[FactorGroup, ...]
    relu_aware: tuple[str, ...]
    symmetric: bool
    float_layers: tuple[str, ...]
    notes: tuple[str, ...]


def write(folder: Path, quantization: Quantization, settings: Mapping[str, Any]) -> None:
    """Writes a quantization into a folder.

    `parameters.npz` holds the weights' codes (values, for layers in float) and the biases;
    `settings` of `fit` are for people.
    """
    codes = quantization.codes
    arrays: dict[str, NDArray[Any]] = {}
    weights: dict[str, Any] = {}
    for name, (weight, bias) in quantization.layers.items():
        arrays[f"{name}.weight"] = codes.get(name, weight.values)
        if bias is not None:
            arrays[f"{name}.bias"] = bias
        weights[name] = None
        if x := weight.quantization:
            weights[name] = _describe(x, np.atleast_1d(x.scale).tolist()) | {"axis": x.axis}
    content = quantization._asdict() | {
        "settings": dict(settings),
        "activations": {
            name: _describe(x, float(x.scale)) | {"low": x.clip_range[0], "high": x.clip_range[1]}
            for name, x in quantization.activations.items()
        },
        "weights": weights,
        "equalization": quantization.equalization.encode(),
    }
    del content["layers"]
    write_arrays(folder / "parameters.npz", arrays)
    write_json(folder / "quantization.json", content)


def _describe(parameters: QuantizationParameters, scale: float | list[float]) -> dict[str, Any]:
    zero_point = int(np.max(parameters.zero_point))
    return {"scale": scale, "zero_point": zero_point, "dtype": parameters.dtype}


def read(folder: Path) -> Quantization:
    """Reads the quantization in a folder.

    Raises:
        ArtifactError: a file is missing or damaged, or the files do not belong together.
    """
    try:
        content = _File.model_validate_json((folder / "quantization.json").read_bytes())
        with (folder / "parameters.npz").open("rb") as file:
            arrays = dict(np.load(file, allow_pickle=False))
        per_tensor = QuantizationParameters.per_tensor
        return Quantization(
            {name: per_tensor(**dict(x)) for name, x in content.activations.items()},
            {name: _layer(name, x, arrays) for name, x in content.weights.items()},
            Equalization(content.equalization),
            **content.model_dump(include={"relu_aware", "symmetric", "float_layers", "notes"}),
        )
    except _FAULTS as exc:
        reason = " ".join(str(exc).split())[:200].rstrip(".") or type(exc).__name__
        raise ArtifactError(
            f"{folder} must hold a quantization, got: {reason}. Run `dvc repro` to make it again."
        ) from exc


def _layer(
    name: str, description: _Weight | None, arrays: Mapping[str, NDArray[Any]]
) -> LayerParameters:
    """Returns the parameters of a layer; raises ValueError if its arrays do not fit."""
    quantization = description.decoded() if description else None
    weight, bias = arrays[f"{name}.weight"], arrays.get(f"{name}.bias")
    dtype, scale_shape = "float32", weight.shape[:1]
    if quantization:
        dtype, scale_shape = quantization.dtype, quantization.scale.shape or scale_shape
    if weight.dtype != dtype or weight.ndim < 2 or weight.shape[:1] != scale_shape:
        raise ValueError(f"weights {weight.dtype} {weight.shape} of {name!r}")
    if bias is not None and (bias.dtype != np.float32 or bias.shape != weight.shape[:1]):
        raise ValueError(f"biases {bias.dtype} {bias.shape} of {name!r}")
    with np.errstate(over="ignore"):
        values = weight if quantization is None else quantization.dequantize(weight)
    if not all(np.isfinite(x).all() for x in (values, bias) if x is not None):
        raise ValueError(f"parameters of {name!r} beyond float32")
    return LayerParameters(Parameter(values, quantization), bias)
