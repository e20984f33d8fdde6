"""The sections of `params.yaml` and the values that they allow.

Field descriptions complete the sentence `<key> must be …` in error messages.
"""

from typing import Annotated, Any, TypeVar, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from resnet8.core.input_spec import FORMS, PATTERN
from resnet8.core.names import (
    BUILT_IN_MODELS,
    IMAGES_PER_BATCH,
    MODEL_SUFFIXES,
    TRAIN_BATCHES,
    Dataset,
    OnnxType,
    RangeMethod,
    Rounding,
    TorchType,
    is_url,
    source_path,
)
from resnet8.core.param_errors import ParameterError
from resnet8.core.variants import QUANTIZED_VARIANTS

Item = TypeVar("Item")
_POOL = TRAIN_BATCHES * IMAGES_PER_BATCH["cifar10"]  # training images
_TEST = IMAGES_PER_BATCH["cifar10"]  # test images


def _check_distinct(items: list[Item]) -> list[Item]:
    if len(set(items)) != len(items):
        raise ValueError("repeated entry")
    return items


def _check_model(model: str) -> str:
    known = model in BUILT_IN_MODELS or source_path(model).suffix in MODEL_SUFFIXES
    if not known or not model.isprintable():
        raise ValueError("neither a built-in model nor a Keras file")
    return model


def _check_limits(limits: dict[str, float]) -> dict[str, float]:
    if "default" not in limits or limits.keys() - {"default", *QUANTIZED_VARIANTS}:
        raise ValueError("no default, or an unknown variant")
    return limits


Flag = Annotated[bool, Field(description="true or false")]
Distinct = Annotated[list[Item], AfterValidator(_check_distinct)]
Limits = Annotated[
    dict[str, Annotated[float, Field(ge=0, le=100)]],
    AfterValidator(_check_limits),
    Field(
        description="a mapping from default and names of quantized variants "
        f"({', '.join(QUANTIZED_VARIANTS)}) to points from 0 to 100"
    ),
]


def _number(sentence: str, **bounds: Any) -> Any:
    """A number within bounds (`ge`, `gt`, `le`, `lt`), which the sentence names in braces."""
    return Field(description=sentence.format(**bounds), **bounds)


def _one_of(literal: Any) -> Any:
    *others, last = get_args(literal)
    return Field(description=f"{', '.join(others)} or {last}")


def _some_of(literal: Any) -> Any:
    return Field(description=f"a list of different types out of {', '.join(get_args(literal))}")


class Section(BaseModel):
    """A part of params.yaml: types are exact and unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class Fetch(Section):
    """The data and the model."""

    dataset: Dataset = _one_of(Dataset)
    model: Annotated[str, AfterValidator(_check_model)] = Field(
        description=f"{', '.join(BUILT_IN_MODELS)}, or the path or http(s) URL of a "
        f"{' or '.join(MODEL_SUFFIXES)} file"
    )
    model_sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None = Field(
        description="null or a SHA-256 of 64 lower-case hexadecimal digits"
    )

    @field_validator("model_sha256")
    @classmethod
    def _check_sha256(cls, sha256: str | None, info: ValidationInfo) -> str | None:
        model = info.data.get("model", "")
        if is_url(model) and sha256 is None:
            raise ParameterError(
                f"fetch.model_sha256 must be the SHA-256 of the file behind {model}, got null."
            )
        if model in BUILT_IN_MODELS and sha256 is not None:
            raise ParameterError(
                f"fetch.model_sha256 must be null for {model}, whose checksum is built in, "
                f"got {sha256}."
            )
        return sha256


class Calibrate(Section):
    """The draw of calibration images from the training data."""

    size: int = _number("a number from {ge} to {le}", ge=1, le=_POOL)
    seed: int = _number("a whole number from {ge} to {le}", ge=0, le=2**32 - 1)
    batches: Distinct[Annotated[int, Field(ge=1, le=TRAIN_BATCHES)]] = Field(
        description=f"a list of different batch numbers from 1 to {TRAIN_BATCHES}, at least one",
        min_length=1,
    )

    def check(self, dataset: Dataset) -> None:
        """Raises a ParameterError if the size exceeds the chosen training batches."""
        pool = len(self.batches) * IMAGES_PER_BATCH[dataset]
        if self.size > pool:
            raise ParameterError(
                f"calibrate.size must be from 1 to {pool}, the training images in "
                f"calibrate.batches {self.batches} of {dataset}, got {self.size}."
            )


class ConvertOnnx(Section):
    """The form of the ONNX model."""

    opset: int = _number("an ONNX operator set from {ge} to {le}", ge=13, le=18)


class Fit(Section):
    """Methods that find the quantization parameters of all quantized variants."""

    activation_range: RangeMethod = _one_of(RangeMethod)
    activation_symmetric: Flag
    percentile: float = _number("a percentage above {gt}, up to {le}", gt=50, le=100)
    histogram_bins: int = _number("a number from {ge} to {le}", ge=128, le=65_536)
    entropy_levels: int = _number("a number from {ge} to {le}", ge=2, le=256)
    equalization: float = _number("a strength from {ge} to {le}", ge=0, le=1)
    weight_rounding: Rounding = _one_of(Rounding)
    weight_symmetric: Flag
    per_channel: Flag
    gptq_damping: float = _number("a share above {gt}, up to {le}", gt=0, le=1)
    bias_correction: Flag
    float_layers: Distinct[str] = Field(description="a list of different names of layers")

    @field_validator("entropy_levels")
    @classmethod
    def _check_levels(cls, levels: int, info: ValidationInfo) -> int:
        bins = info.data.get("histogram_bins", levels)
        if levels > bins:
            raise ParameterError(
                f"fit.entropy_levels must be at most fit.histogram_bins, {bins}, got {levels}."
            )
        return levels

    @field_validator("per_channel")
    @classmethod
    def _check_symmetric(cls, per_channel: bool, info: ValidationInfo) -> bool:
        if per_channel and not info.data.get("weight_symmetric", True):
            raise ParameterError(
                "fit.weight_symmetric must be true with fit.per_channel: true, got false: kernels "
                "take one zero point for all channels."
            )
        return per_channel


class QuantizeOnnx(Section):
    """Types of the quantized ONNX models, as activations/weights."""

    types: Distinct[OnnxType] = _some_of(OnnxType)


class QuantizeTorch(Section):
    """Types of the quantized PyTorch programs."""

    types: Distinct[TorchType] = _some_of(TorchType)


class Evaluate(Section):
    """Evaluation of the models on the test set."""

    batch_size: int = _number("a number of images from {ge} to {le}", ge=1, le=10_000)


class Inspect(Section):
    """Images for the inspection of layers."""

    input: Annotated[str, Field(pattern=PATTERN)] = Field(description=FORMS)
    images: int = _number("a number of images from {ge} to {le}", ge=1, le=_POOL)
    sensitivity_images: int = _number("a number of images from {ge} to {le}", ge=1, le=_POOL)
    verified_images: int = _number("a number of images from {ge} to {le}", ge=1, le=_TEST)


class Compare(Section):
    """The baseline of the comparison."""

    baseline: str = Field(description="the name of a variant")


class Gate(Section):
    """Limits of `make gate`; those in percentage points (pp) are by variant."""

    float_accuracy_min: float = _number("a fraction from {ge} to {le}", ge=0, le=1)
    float_parity_max: float = _number("a probability above {gt}, up to {le}", gt=0, le=1)
    drop_max_pp: Limits
    class_drop_max_pp: Limits
    calibration_images_min: int = _number("a number of images, at least {ge}", ge=1)
    significance: float = _number("a probability between {gt} and {lt}", gt=0, lt=1)
