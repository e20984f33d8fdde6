"""The sections of `params.yaml`, each with what it may say.

Field descriptions complete the sentence `<key> must be …` in error messages.
"""

from typing import Annotated, Any, TypeVar, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

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
    known_model,
)

Item = TypeVar("Item")
# Bounds of entries; `_number` has those of fields.
_BATCHES: dict[str, Any] = {"ge": 1, "le": TRAIN_BATCHES}
_POINTS: dict[str, Any] = {"ge": 0, "le": 100}
_POOL = TRAIN_BATCHES * IMAGES_PER_BATCH["cifar10"]  # training images, at most
_SHA256_DIGITS = 64


def _number(sentence: str, **bounds: Any) -> Any:
    """A number within bounds (`ge`, `gt`, `le`, `lt`), which the sentence names in braces."""
    return Field(description=sentence.format(**bounds), **bounds)


def _name(names: Any) -> Any:
    """One of the names in a Literal."""
    *others, last = get_args(names)
    return Field(description=f"{', '.join(others)} or {last}")


def _types(names: Any) -> Any:
    """Some of the names in a Literal."""
    return Field(description=f"a list of different types out of {', '.join(get_args(names))}")


def _distinct(items: list[Item]) -> list[Item]:
    if len(set(items)) != len(items):
        raise ValueError("repeated entry")
    return items


class Section(BaseModel):
    """A part of params.yaml: exact types, and no key that is not listed."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class Fetch(Section):
    """The data and the model."""

    dataset: Dataset = _name(Dataset)
    model: Annotated[str, AfterValidator(known_model)] = Field(
        description=f"{', '.join(BUILT_IN_MODELS)}, or the path or http(s) URL of a "
        f"{' or '.join(MODEL_SUFFIXES)} file"
    )
    model_sha256: Annotated[str, Field(pattern=f"^[0-9a-f]{{{_SHA256_DIGITS}}}$")] | None = Field(
        description=f"null or a SHA-256 of {_SHA256_DIGITS} lower-case hexadecimal digits"
    )


class Calibrate(Section):
    """The draw of calibration images from the training data."""

    size: int = _number("a number from {ge} to {le}", ge=1, le=_POOL)
    seed: int = _number("a whole number from {ge} to {le}", ge=0, le=2**32 - 1)
    batches: Annotated[
        list[Annotated[int, Field(**_BATCHES)]],
        Field(min_length=1),
        AfterValidator(_distinct),
    ] = Field(
        description="a list of different batch numbers from {ge} to {le}, at least one".format(
            **_BATCHES
        )
    )


class ConvertOnnx(Section):
    """The form of the ONNX model."""

    opset: int = _number("an ONNX operator set from {ge} to {le}", ge=13, le=18)


class Fit(Section):
    """Methods that find the quantization parameters of all quantized variants."""

    activation_range: RangeMethod = _name(RangeMethod)
    activation_symmetric: bool = Field(description="true or false")
    percentile: float = _number("a percentage above {gt}, up to {le}", gt=50, le=100)
    histogram_bins: int = _number("a number from {ge} to {le}", ge=128, le=65_536)
    entropy_levels: int = _number("a number from {ge} to {le}", ge=2, le=256)
    equalization: float = _number("a strength from {ge} to {le}", ge=0, le=1)
    weight_rounding: Rounding = _name(Rounding)
    weight_symmetric: bool = Field(description="true or false")
    per_channel: bool = Field(description="true or false")
    gptq_damping: float = _number("a share above {gt}, up to {le}", gt=0, le=1)
    bias_correction: bool = Field(description="true or false")
    float_layers: Annotated[list[str], AfterValidator(_distinct)] = Field(
        description="a list of different names of layers"
    )


class QuantizeOnnx(Section):
    """Types of the quantized ONNX models, as activations/weights."""

    types: Annotated[list[OnnxType], AfterValidator(_distinct)] = _types(OnnxType)


class QuantizeTorch(Section):
    """Types of the quantized PyTorch programs."""

    types: Annotated[list[TorchType], AfterValidator(_distinct)] = _types(TorchType)


class Evaluate(Section):
    """Evaluation of the models on the test set."""

    batch_size: int = _number("a number of images from {ge} to {le}", ge=1, le=10_000)


class Inspect(Section):
    """Images for the inspection of layers."""

    input: Annotated[str, Field(pattern=PATTERN)] = Field(description=FORMS)
    images: int = _number("a number of images from {ge} to {le}", ge=1, le=_POOL)
    sensitivity_images: int = _number("a number of images from {ge} to {le}", ge=1, le=_POOL)


class Sweep(Section):
    """The grid of `make sweep`; see resnet8/core/grid.py."""

    grid: list[dict[str, list[Any]]] = Field(
        description="a list of mappings from calibrate.size, calibrate.seed, fit.<name> and "
        "variant to lists of values"
    )


class Compare(Section):
    """The baseline of the comparison."""

    baseline: str = Field(description="the name of a variant")


def _with_default(limits: dict[str, float]) -> dict[str, float]:
    if "default" not in limits:
        raise ValueError("no default")
    return limits


Limits = Annotated[
    dict[str, Annotated[float, Field(**_POINTS)]],
    AfterValidator(_with_default),
    Field(
        description="a mapping from default and names of variants to points "
        "from {ge} to {le}".format(**_POINTS)
    ),
]


class Gate(Section):
    """Limits of `make gate`; those in percentage points (pp) are by variant."""

    float_accuracy_min: float = _number("a fraction from {ge} to {le}", ge=0, le=1)
    float_parity_max: float = _number("a probability above {gt}, up to {le}", gt=0, le=1)
    drop_max_pp: Limits
    class_drop_max_pp: Limits
    calibration_images_min: int = _number("a number of images, at least {ge}", ge=1)
    significance: float = _number("a probability between {gt} and {lt}", gt=0, lt=1)
