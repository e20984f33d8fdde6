"""The parameters: what `params.yaml` may say, checked all at once.

Field descriptions complete the sentence `<key> must be …` in error messages.
"""

from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from resnet8.core import grid
from resnet8.core.errors import ParamsError
from resnet8.core.grid import Settings
from resnet8.core.input_spec import InputSpec
from resnet8.core.names import BUILT_IN_MODELS, IMAGES_PER_BATCH, is_url
from resnet8.core.param_errors import describe_fault, read_yaml
from resnet8.core.sections import (
    Calibrate,
    Compare,
    ConvertOnnx,
    Evaluate,
    Fetch,
    Fit,
    Gate,
    Inspect,
    QuantizeOnnx,
    QuantizeTorch,
    Section,
    Sweep,
)
from resnet8.core.variants import FLOAT_VARIANTS, QUANTIZED_VARIANTS, Variant


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
    sweep: Sweep = Field(description="a section")
    gate: Gate = Field(description="a section")
    candidate: str = Field(description="the name of a variant")

    @property
    def variants(self) -> tuple[Variant, ...]:
        """The variants that the pipeline makes, in the order of its steps."""
        return _variants(self.quantize_onnx, self.quantize_torch)

    @property
    def quantized(self) -> tuple[Variant, ...]:
        """The quantized variants, in the same order."""
        return tuple(variant for variant in self.variants if not variant.is_float)

    @property
    def settings(self) -> Settings:
        """What decides the numbers of the quantized variants."""
        return Settings(calibrate=self.calibrate, fit=self.fit)


def _variants(onnx: QuantizeOnnx, torch: QuantizeTorch) -> tuple[Variant, ...]:
    quantized = [f"onnx_{name}" for name in onnx.types]
    quantized += [f"torch_{name}" for name in torch.types]
    return (*FLOAT_VARIANTS, *map(Variant, quantized))


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


def _faults_of_settings(valid: dict[str, Any]) -> list[str]:
    """Faults between the parameters that quantization depends on."""
    faults = []
    fetch: Fetch | None = valid.get("fetch")
    calibrate: Calibrate | None = valid.get("calibrate")
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
    return faults


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
    faults += _faults_of_settings(valid)
    if "sweep" in valid:
        whole = {"calibrate", "fit"} <= set(valid)
        base = Settings(calibrate=valid["calibrate"], fit=valid["fit"]) if whole else None
        faults += grid.find_faults(
            valid["sweep"].grid, base, lambda x: _faults_of_settings({**valid, **dict(x)})
        )
    if fetch and calibrate and "inspect" in valid:
        spec = InputSpec.parse(valid["inspect"].input)
        n_test = IMAGES_PER_BATCH[fetch.dataset]
        if fault := spec.find_fault(n_test=n_test, n_calibration=calibrate.size):
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
        faults = [describe_fault(error, Params) for error in exc.errors(include_url=False)]
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
