"""The parameters: what `params.yaml` may say, checked all at once.

Field descriptions complete the sentence `<key> must be …` in error messages.
"""

from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from resnet8.common.choice import FORMS, PATTERN, find_fault, parse
from resnet8.common.errors import ParamsError
from resnet8.common.faults import describe, read_yaml
from resnet8.common.names import (
    BUILT_IN_MODELS,
    FLOAT_VARIANTS,
    IMAGES_PER_BATCH,
    QUANTIZED_VARIANTS,
    TRAIN_BATCHES,
    Dataset,
    OnnxType,
    RangeMethod,
    Rounding,
    TorchType,
    is_url,
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


class Params(Section):
    """All of `params.yaml`: a section for each stage that takes parameters."""

    fetch: Fetch = Field(description="a section")
    calibrate: Calibrate = Field(description="a section")
    convert_onnx: ConvertOnnx = Field(description="a section")
    fit: Fit = Field(description="a section")
    quantize_onnx: QuantizeOnnx = Field(description="a section")
    quantize_torch: QuantizeTorch = Field(description="a section")
    evaluate: Evaluate = Field(description="a section")
    inspect: Inspect = Field(description="a section")
    compare: Compare = Field(description="a section")
    gate: Gate = Field(description="a section")
    candidate: str = Field(description="the name of a variant")

    @property
    def variants(self) -> tuple[str, ...]:
        """The variants that the pipeline makes, in the order of its steps."""
        return _variants(self.quantize_onnx, self.quantize_torch)


def _variants(onnx: QuantizeOnnx, torch: QuantizeTorch) -> tuple[str, ...]:
    return (
        *FLOAT_VARIANTS,
        *(f"onnx_{name}" for name in onnx.types),
        *(f"torch_{name}" for name in torch.types),
    )


def _valid_sections(raw: dict[str, Any]) -> dict[str, Any]:
    """The sections that are valid on their own, by name."""
    valid = {}
    for name, field in Params.model_fields.items():
        section = field.annotation
        try:
            if isinstance(section, type) and issubclass(section, Section):
                valid[name] = section.model_validate(raw.get(name))
            elif isinstance(raw.get(name), str):
                valid[name] = raw[name]
        except ValidationError:
            continue  # reported by the validation of the whole
    return valid


def _faults_between(valid: dict[str, Any]) -> list[str]:
    """Faults that only show when two parameters are seen together."""
    faults = []
    fetch: Fetch | None = valid.get("fetch")
    calibrate: Calibrate | None = valid.get("calibrate")
    if fetch and is_url(fetch.model) and fetch.model_sha256 is None:
        faults.append(
            f"fetch.model_sha256 must be the SHA-256 of the file behind {fetch.model}, got null."
        )
    if fetch and fetch.model in BUILT_IN_MODELS and fetch.model_sha256 is not None:
        faults.append(
            f"fetch.model_sha256 must be null for {fetch.model}, whose checksum is built in, "
            f"got {fetch.model_sha256}."
        )
    if fetch and calibrate:
        pool = len(calibrate.batches) * IMAGES_PER_BATCH[fetch.dataset]
        if calibrate.size > pool:
            faults.append(
                f"calibrate.size must be from 1 to {pool}, the training images in "
                f"calibrate.batches {calibrate.batches} of {fetch.dataset}, got {calibrate.size}."
            )
    fit: Fit | None = valid.get("fit")
    if fit and fit.per_channel and not fit.weight_symmetric:
        faults.append(
            "fit.weight_symmetric must be true with fit.per_channel: true, got false: kernels "
            "take one zero point for all channels."
        )
    if fit and fit.entropy_levels > fit.histogram_bins:
        faults.append(
            f"fit.entropy_levels must be at most fit.histogram_bins, {fit.histogram_bins}, "
            f"got {fit.entropy_levels}."
        )
    if fetch and calibrate and "inspect" in valid:
        choice = parse(valid["inspect"].input)
        n_test = IMAGES_PER_BATCH[fetch.dataset]
        if fault := find_fault(choice, n_test=n_test, n_calibration=calibrate.size):
            faults.append(f"inspect.input: {fault}")
    if "gate" in valid:
        for key in ("drop_max_pp", "class_drop_max_pp"):
            unknown = set(getattr(valid["gate"], key)) - {"default", *QUANTIZED_VARIANTS}
            faults += [
                f"gate.{key}.{name} must be default or one of {', '.join(QUANTIZED_VARIANTS)}."
                for name in sorted(unknown)
            ]
    if "quantize_onnx" in valid and "quantize_torch" in valid:
        known = _variants(valid["quantize_onnx"], valid["quantize_torch"])
        chosen = {"candidate": valid.get("candidate")}
        if "compare" in valid:
            chosen["compare.baseline"] = valid["compare"].baseline
        faults += [
            f"{key} must be one of {', '.join(known)}, got {name!r}."
            for key, name in chosen.items()
            if name is not None and name not in known
        ]
    return faults


def check_params(raw: object, *, where: str = "params.yaml") -> Params:
    """Checks parameters as they were read from YAML.

    Raises:
        ParamsError: with every fault, a line each.
    """
    try:
        params = Params.model_validate(raw)
        faults = []
    except ValidationError as exc:
        faults = [describe(error, Params) for error in exc.errors(include_url=False)]
    if isinstance(raw, dict):
        faults += _faults_between(_valid_sections(raw))
    if faults:
        count = "1 fault" if len(faults) == 1 else f"{len(faults)} faults"
        raise ParamsError("\n  - ".join([f"{where} has {count}:", *faults]))
    return params


def check_files(params: Params, *, where: str = "params.yaml") -> None:
    """Checks that a model named by its path is there.

    Raises:
        ParamsError: it is not.
    """
    model = params.fetch.model
    if model not in BUILT_IN_MODELS and not is_url(model) and not Path(model).is_file():
        raise ParamsError(
            f"fetch.model must be {Fetch.model_fields['model'].description}, got {model!r}, where "
            f"no file is ({where})."
        )


def load_params(path: Path) -> Params:
    """Reads and checks a parameter file.

    Raises:
        ParamsError: the file cannot be read, is not YAML, or has faults.
    """
    return check_params(read_yaml(path), where=str(path))
