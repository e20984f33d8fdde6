"""The sections of `params.yaml`, each with what it may say.

Field descriptions complete the sentence `<key> must be …` in error messages.
"""

from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from resnet8.core.choice import FORMS, PATTERN
from resnet8.core.names import (
    IMAGES_PER_BATCH,
    TRAIN_BATCHES,
    Dataset,
    OnnxType,
    RangeMethod,
    Rounding,
    TorchType,
    known_model,
)

Item = TypeVar("Item")


def _distinct(items: list[Item]) -> list[Item]:
    if len(set(items)) != len(items):
        raise ValueError("repeated entry")
    return items


class Section(BaseModel):
    """A part of params.yaml: exact types, and no key that is not listed."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class Fetch(Section):
    """Which data and which model."""

    dataset: Dataset = Field(description="cifar10 or sample")
    model: Annotated[str, AfterValidator(known_model)] = Field(
        description="mlperf_tiny, sample, or the path or http(s) URL of a .h5 or .keras file"
    )
    model_sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None = Field(
        description="null or a SHA-256 of 64 lower-case hexadecimal digits"
    )


class Calibrate(Section):
    """Which training images the quantizers see."""

    size: int = Field(
        ge=1, le=TRAIN_BATCHES * IMAGES_PER_BATCH["cifar10"], description="a number from 1 to 50000"
    )
    seed: int = Field(ge=0, lt=2**32, description="a whole number from 0 to 4294967295")
    batches: Annotated[
        list[Annotated[int, Field(ge=1, le=TRAIN_BATCHES)]],
        Field(min_length=1),
        AfterValidator(_distinct),
    ] = Field(description="a list of different batch numbers from 1 to 5, at least one")


class ConvertOnnx(Section):
    """How the ONNX model is written."""

    opset: int = Field(ge=13, le=18, description="an ONNX operator set from 13 to 18")


class Fit(Section):
    """What quantization learns from the calibration images, for all quantized variants."""

    activation_range: RangeMethod = Field(description="minmax, percentile, entropy or mse")
    activation_symmetric: bool = Field(description="true or false")
    percentile: float = Field(gt=50, le=100, description="a percentage above 50, up to 100")
    histogram_bins: int = Field(ge=128, le=65_536, description="a number from 128 to 65536")
    entropy_levels: int = Field(ge=2, le=256, description="a number from 2 to 256")
    equalization: float = Field(ge=0, le=1, description="a strength from 0 to 1")
    weight_rounding: Rounding = Field(description="nearest or gptq")
    weight_symmetric: bool = Field(description="true or false")
    per_channel: bool = Field(description="true or false")
    gptq_damping: float = Field(gt=0, le=1, description="a share above 0, up to 1")
    bias_correction: bool = Field(description="true or false")
    float_layers: Annotated[list[str], AfterValidator(_distinct)] = Field(
        description="a list of different names of layers"
    )


class QuantizeOnnx(Section):
    """What ONNX Runtime makes of it; types are activations/weights."""

    types: Annotated[list[OnnxType], AfterValidator(_distinct)] = Field(
        description="a list of different types out of int8, uint8, uint8_int8"
    )


class QuantizeTorch(Section):
    """What torchao makes of it."""

    types: Annotated[list[TorchType], AfterValidator(_distinct)] = Field(
        description="a list of different types out of int8"
    )


class Evaluate(Section):
    """How models are run over the test set."""

    batch_size: int = Field(ge=1, le=10_000, description="a number of images from 1 to 10000")


class Inspect(Section):
    """What is looked at inside the models."""

    input: Annotated[str, Field(pattern=PATTERN)] = Field(description=FORMS)
    images: int = Field(ge=1, le=50_000, description="a number of images from 1 to 50000")
    sensitivity_images: int = Field(
        ge=1, le=50_000, description="a number of images from 1 to 50000"
    )


class Sweep(Section):
    """Which runs `make sweep` makes; resnet8/core/grid.py says how."""

    grid: list[dict[str, list[Any]]] = Field(
        description="a list of mappings from calibrate.size, calibrate.seed, fit.<name> and "
        "variant to lists of values"
    )


class Compare(Section):
    """What variants are measured against."""

    baseline: str = Field(description="the name of a variant")


Limits = dict[str, Annotated[float, Field(ge=0, le=100)]]


def _with_default(limits: Limits) -> Limits:
    if "default" not in limits:
        raise ValueError("no default")
    return limits


class Gate(Section):
    """What `make gate` lets pass; limits in percentage points (pp) are by variant."""

    float_accuracy_min: float = Field(ge=0, le=1, description="a fraction from 0 to 1")
    float_parity_max: float = Field(gt=0, le=1, description="a probability above 0, up to 1")
    drop_max_pp: Annotated[Limits, AfterValidator(_with_default)] = Field(
        description="a mapping from default and names of variants to points from 0 to 100"
    )
    class_drop_max_pp: Annotated[Limits, AfterValidator(_with_default)] = Field(
        description="a mapping from default and names of variants to points from 0 to 100"
    )
    calibration_images_min: int = Field(ge=1, description="a number of images, at least 1")
    significance: float = Field(gt=0, lt=1, description="a probability between 0 and 1")
