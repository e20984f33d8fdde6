"""The numbers that quantize a model, in a form that belongs to no framework.

Shape letters: O outputs and I inputs of a layer, h x w pixels of a kernel, C channels.
"""

import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from resnet8.core.errors import ArtifactError
from resnet8.core.files import write_arrays, write_json
from resnet8.core.qparams import QuantizationParameters

# What a damaged file is known to raise.
_FAULTS = (
    *(AttributeError, EOFError, KeyError, OSError, TypeError, ValueError),
    *(zipfile.BadZipFile, zlib.error),
)
CODES = 256  # of an 8-bit type
INT8_OFFSET = 128  # an int8 code is the uint8 code less this


class ActivationNumbers(NamedTuple):
    """How a tensor's uint8 codes stand for numbers: (code - zero_point) * scale.

    An int8 code and its zero point are both 128 less.
    """

    scale: float
    zero_point: int  # of uint8 codes, 0 to 255

    @property
    def qparams(self) -> QuantizationParameters:
        scale, zero_point = np.array(self.scale, np.float32), np.array(self.zero_point)
        return QuantizationParameters(scale, zero_point, "uint8")

    @property
    def low(self) -> float:
        """The smallest number that has a code."""
        return -self.zero_point * self.scale

    @property
    def high(self) -> float:
        """The largest number that has a code."""
        return (CODES - 1 - self.zero_point) * self.scale


class LayerNumbers(NamedTuple):
    """The rounded parameters of a layer with weights.

    codes: (O, I, h, w) or (O, I) int8; a uint8 code is 128 more.
    scale: (O,) float32, all alike where weights have one scale for all.
    zero_point: of int8 codes; 0 where weights are symmetric.
    bias: (O,) float32, a whole number of steps of input scale x weight scale; None without.
    """

    codes: NDArray[np.int8]
    scale: NDArray[np.float32]
    zero_point: int
    bias: NDArray[np.float32] | None

    def bias_scale(self, input_scale: float) -> NDArray[np.float32]:
        """(O,) the step of each bias: input scale times weight scale, in float32 as in kernels."""
        return np.float32(input_scale) * self.scale

    @property
    def weight(self) -> NDArray[np.float32]:
        """The weights that the codes stand for, in the codes' shape."""
        shape = (-1, *[1] * (self.codes.ndim - 1))
        steps = self.codes.astype(np.float32) - np.float32(self.zero_point)
        return steps * self.scale.reshape(shape)


class Parameters(NamedTuple):
    """Parameters of a layer in float.

    weight: (O, I, h, w) or (O, I) float32.
    bias: (O,) float32, None without.
    """

    weight: NDArray[np.float32]
    bias: NDArray[np.float32] | None


class Numbers(NamedTuple):
    """All that quantization decides about a model.

    activations: by tensor of the ONNX model; tensors are called like the nodes.
    layers: by name of those with weights in 8 bits.
    factors: by tensor, (C,): the float model's channels over the quantized model's, where
        cross-layer equalization made them differ.
    symmetric: whether activations reach as far below zero as above it.
    float_layers: nodes that stay in float by the engineer's choice.
    notes: what an engineer should know, a sentence each.
    equalized: by name of the layers with weights in float that equalization changed.
    """

    activations: dict[str, ActivationNumbers]
    layers: dict[str, LayerNumbers]
    factors: dict[str, NDArray[np.float32]]
    symmetric: bool = False
    float_layers: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    equalized: Mapping[str, Parameters] = MappingProxyType({})

    @property
    def parameters(self) -> dict[str, Parameters]:
        """By layer, what takes the place of the float model's parameters."""
        rounded = {name: Parameters(x.weight, x.bias) for name, x in self.layers.items()}
        return rounded | dict(self.equalized)


_FLOAT32 = np.finfo(np.float32)
_Positive = Annotated[float, Field(ge=float(_FLOAT32.tiny), le=float(_FLOAT32.max))]


class _Activation(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True, allow_inf_nan=False)
    scale: _Positive
    zero_point: int = Field(ge=0, lt=CODES)


class _Layer(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True, allow_inf_nan=False)
    weight_scale: list[_Positive] = Field(min_length=1)
    weight_zero_point: int = Field(ge=-INT8_OFFSET, lt=INT8_OFFSET)


class _File(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True, allow_inf_nan=False)
    activations: dict[str, _Activation]
    layers: dict[str, _Layer]
    factors: dict[str, list[_Positive]]
    symmetric: bool
    float_layers: list[str]
    notes: list[str]
    equalized: list[str]


def write(folder: Path, numbers: Numbers, settings: Mapping[str, Any]) -> None:
    """Writes `numbers.json`, to read, and `parameters.npz`, the weights' codes and the biases.

    Layers in float that equalization changed have float weights there.
    """
    content = {
        "settings": dict(settings),
        "activations": {
            name: {
                "scale": x.scale,
                "zero_point": x.zero_point,
                "low": x.low,
                "high": x.high,
            }
            for name, x in numbers.activations.items()
        },
        "layers": {
            name: {"weight_scale": x.scale.tolist(), "weight_zero_point": x.zero_point}
            for name, x in numbers.layers.items()
        },
        "factors": {name: x.tolist() for name, x in numbers.factors.items()},
        "symmetric": numbers.symmetric,
        "float_layers": list(numbers.float_layers),
        "notes": list(numbers.notes),
        "equalized": sorted(numbers.equalized),
    }
    arrays: dict[str, NDArray[Any]] = {}
    for name, layer in numbers.layers.items():
        arrays[f"{name}.weight"] = layer.codes
    for name, parameters in numbers.equalized.items():
        arrays[f"{name}.weight"] = parameters.weight
    for name, parameters in numbers.parameters.items():
        if parameters.bias is not None:
            arrays[f"{name}.bias"] = parameters.bias
    write_arrays(folder / "parameters.npz", arrays)
    write_json(folder / "numbers.json", content)


def read(folder: Path) -> Numbers:
    """Reads what `write` wrote.

    Raises:
        ArtifactError: a file is missing, damaged, or the two do not belong together.
    """
    path = folder / "numbers.json"
    try:
        content = _File.model_validate_json(path.read_bytes())
        with np.load(folder / "parameters.npz", allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        layers = {name: _layer(name, x, arrays) for name, x in content.layers.items()}
        equalized = {name: _equalized(name, arrays) for name in content.equalized}
    except _FAULTS as exc:
        reason = " ".join(str(exc).split())[:200].rstrip(".") or type(exc).__name__
        raise ArtifactError(
            f"{folder} must hold the numbers of a quantization, got: {reason}. "
            "Run `dvc repro` to make it again."
        ) from exc
    return Numbers(
        {x: ActivationNumbers(y.scale, y.zero_point) for x, y in content.activations.items()},
        layers,
        {name: np.array(x, np.float32) for name, x in content.factors.items()},
        content.symmetric,
        tuple(content.float_layers),
        tuple(content.notes),
        equalized,
    )


def _layer(name: str, described: _Layer, arrays: Mapping[str, NDArray[Any]]) -> LayerNumbers:
    codes, bias = arrays[f"{name}.weight"], arrays.get(f"{name}.bias")
    outputs = len(described.weight_scale)
    shaped = codes.dtype == np.int8 and codes.ndim >= 2 and len(codes) == outputs
    if not shaped or _is_no_bias(bias, outputs):
        raise ValueError(f"codes {codes.dtype} {codes.shape} for {outputs} outputs of {name!r}")
    scale = np.array(described.weight_scale, np.float32)
    return LayerNumbers(codes, scale, described.weight_zero_point, bias)


def _equalized(name: str, arrays: Mapping[str, NDArray[Any]]) -> Parameters:
    weight, bias = arrays[f"{name}.weight"], arrays.get(f"{name}.bias")
    shaped = weight.dtype == np.float32 and weight.ndim >= 2 and np.isfinite(weight).all()
    if not shaped or _is_no_bias(bias, len(weight)):
        raise ValueError(f"weights {weight.dtype} {weight.shape} of {name!r}, which is in float")
    return Parameters(weight, bias)


def _is_no_bias(bias: NDArray[Any] | None, outputs: int) -> bool:
    if bias is None:
        return False
    shaped = bias.dtype == np.float32 and bias.shape == (outputs,)
    return not (shaped and np.isfinite(bias).all())


def check_layers(numbers: Numbers, shapes: Mapping[str, Sequence[tuple[int, ...]]]) -> None:
    """Checks that numbers are those of a model.

    Args:
        numbers: what was read.
        shapes: by layer of the model, that of its weight, outputs first, and of its bias, if any.

    Raises:
        ArtifactError: the model has no such layer, or one with other parameters.
    """
    for name, parameters in numbers.parameters.items():
        given = [x.shape for x in parameters if x is not None]
        own = [*shapes.get(name, [])]
        if own[: len(given)] != given:  # a bias that is left alone may be there
            raise ArtifactError(
                f"The numbers must be those of the model, got parameters of shape {given} for "
                f"layer {name}, which has {own}. Run `dvc repro` to fit them again."
            )
