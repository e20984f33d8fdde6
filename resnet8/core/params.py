"""All parameters of `params.yaml`, with every fault reported at once."""

from collections.abc import Sequence
from pathlib import Path

from pydantic import Field, ValidationError, ValidationInfo, field_validator

from resnet8.core import sections
from resnet8.core.errors import ParamsError
from resnet8.core.grid import Run, Settings, Sweep, expand
from resnet8.core.input_spec import InputSpec
from resnet8.core.names import BUILT_IN_MODELS, IMAGES_PER_BATCH, is_url
from resnet8.core.param_errors import ParameterError, describe, parse_yaml
from resnet8.core.variants import FLOAT_VARIANTS, Variant


class Params(sections.Section):
    """All of `params.yaml`: a section for each stage that takes parameters.

    Validators see the fields above theirs in `info.data`, without those that are invalid.
    """

    fetch: sections.Fetch
    calibrate: sections.Calibrate
    convert_onnx: sections.ConvertOnnx
    fit: sections.Fit
    quantize_onnx: sections.QuantizeOnnx
    quantize_torch: sections.QuantizeTorch
    evaluate: sections.Evaluate
    inspect: sections.Inspect
    compare: sections.Compare
    sweep: Sweep
    gate: sections.Gate
    candidate: str = Field(description="the name of a variant")

    @property
    def variants(self) -> tuple[Variant, ...]:
        """The variants that the pipeline makes, in the order of its stages."""
        return *FLOAT_VARIANTS, *self.quantized

    @property
    def quantized(self) -> tuple[Variant, ...]:
        """The quantized variants, in the order of the pipeline's stages."""
        return _quantized(self.quantize_onnx.types, self.quantize_torch.types)

    @property
    def settings(self) -> Settings:
        """The settings that determine the numbers of the quantized variants."""
        return Settings(calibrate=self.calibrate, fit=self.fit)

    @property
    def runs(self) -> list[Run]:
        """The runs of the sweep's grid; blocks that name no variants have all quantized ones."""
        return expand(self.sweep.grid, self.settings, variants=[str(x) for x in self.quantized])

    @field_validator("calibrate")
    @classmethod
    def _check_pool(cls, calibrate: sections.Calibrate, info: ValidationInfo) -> sections.Calibrate:
        if fetch := info.data.get("fetch"):
            calibrate.check(fetch.dataset)
        return calibrate

    @field_validator("inspect")
    @classmethod
    def _check_input(cls, inspect: sections.Inspect, info: ValidationInfo) -> sections.Inspect:
        if {"fetch", "calibrate"} <= info.data.keys():
            n_test = IMAGES_PER_BATCH[info.data["fetch"].dataset]
            n_calibration = info.data["calibrate"].size
            spec = InputSpec.parse(inspect.input)
            if fault := spec.find_fault(n_test=n_test, n_calibration=n_calibration):
                raise ParameterError(f"inspect.input: {fault}")
        return inspect

    @field_validator("sweep")
    @classmethod
    def _check_grid(cls, sweep: Sweep, info: ValidationInfo) -> Sweep:
        if {"fetch", "calibrate", "fit"} <= info.data.keys():
            settings = Settings(calibrate=info.data["calibrate"], fit=info.data["fit"])
            sweep.check(settings, info.data["fetch"].dataset)
        return sweep

    @field_validator("compare", "candidate")
    @classmethod
    def _check_variant(
        cls, chosen: sections.Compare | str, info: ValidationInfo
    ) -> sections.Compare | str:
        key, name = "candidate", chosen
        if isinstance(chosen, sections.Compare):
            key, name = "compare.baseline", chosen.baseline
        if {"quantize_onnx", "quantize_torch"} <= info.data.keys():
            onnx, torch = info.data["quantize_onnx"], info.data["quantize_torch"]
            known = (*FLOAT_VARIANTS, *_quantized(onnx.types, torch.types))
            if name not in known:
                raise ParameterError(f"{key} must be one of {', '.join(known)}, got {name!r}.")
        return chosen


def _quantized(onnx: Sequence[str], torch: Sequence[str]) -> tuple[Variant, ...]:
    names = [f"onnx_{x}" for x in onnx] + [f"torch_{x}" for x in torch]
    return tuple(Variant(name) for name in names)


def check_params(raw: object, *, where: str = "params.yaml") -> Params:
    """Checks parameters as they were read from YAML.

    Raises:
        ParamsError: with every fault, a line each.
    """
    try:
        return Params.model_validate(raw)
    except ValidationError as exc:
        faults = describe(exc, Params)
    count = "1 fault" if len(faults) == 1 else f"{len(faults)} faults"
    # Not chained: the text of a ValidationError would write out all that YAML references multiply.
    raise ParamsError("\n  - ".join([f"{where} has {count}:", *faults]))


def check_files(params: Params, *, where: str = "params.yaml") -> None:
    """Checks that a model named by its path exists.

    Raises:
        ParamsError: it does not.
    """
    model, expected = params.fetch.model, sections.Fetch.model_fields["model"].description
    if model not in BUILT_IN_MODELS and not is_url(model) and not Path(model).is_file():
        raise ParamsError(
            f"fetch.model must be {expected}, got {model!r}, which is not a file ({where})."
        )


def load_params(path: Path) -> Params:
    """Reads and checks a parameter file.

    Raises:
        ParamsError: the file is missing, is not YAML, or has faults.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError as exc:
        raise ParamsError(f"{path} must exist. Run the command in the project's folder.") from exc
    return check_params(parse_yaml(content, where=str(path)), where=str(path))
