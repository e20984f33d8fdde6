"""What the metrics of a revision say, checked before anything is concluded from them.

Fails closed: whatever is missing, damaged, not finite or in contradiction to the rest is an
error, never a pass.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Annotated, Any, NamedTuple, TypeVar

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from resnet8.compare.chance import chance_warning, is_chance
from resnet8.compare.comparison import Correct
from resnet8.compare.hits import Correctness, Record, read_correctness
from resnet8.core.errors import GateError, shown
from resnet8.core.variants import FLOAT_VARIANTS

CORRECT_FILE, COMPARISON_FILE = "metrics/correct.json", "metrics/comparison.json"
REMEDY = "Run `dvc repro` to make it again."
_ROUNDED_PP = 1e-4  # `comparison` rounds percentage points to four decimals

# Path in the project -> content; raises GateError where there is no such file.
Read = Callable[[str], bytes]
Fraction = Annotated[float, Field(ge=0, le=1)]


class _Metrics(BaseModel):
    model_config = ConfigDict(strict=True, allow_inf_nan=False)


class Scores(_Metrics):
    """The part of metrics/<variant>.json that is needed."""

    n_images: int
    top1_accuracy: Fraction
    per_class_accuracy: dict[str, Fraction | None]
    saturating_products: bool = False


class Row(_Metrics):
    """The part of a row of metrics/comparison.json that is needed."""

    top1_accuracy: Fraction
    accuracy_delta_pp: float
    agreement: Fraction
    kl_divergence: float
    per_class_delta_pp: dict[str, float]


class Comparison(_Metrics):
    """The part of metrics/comparison.json that is needed.

    baseline_is_chance: None where an earlier version wrote the file.
    """

    baseline: str
    baseline_is_chance: bool | None = None
    n_images: int
    variants: dict[str, Row]


class Parity(_Metrics):
    """How far a conversion is from its original."""

    max_abs_probability_diff: Annotated[float, Field(ge=0)]


class OnnxProof(_Metrics):
    """The part of metrics/verify_onnx.json that is needed."""

    parity_with_keras: Parity


class TorchProof(_Metrics):
    """The part of metrics/verify_torch.json that is needed."""

    parity_with_onnx: Parity


class Evidence(NamedTuple):
    """What the working tree's metrics say.

    correctness: which images each variant got right.
    conversion_errors: largest difference of a probability to the model before, by variant.
    warning: of a baseline that is not better than chance; empty where it is.
    """

    correctness: Correctness
    conversion_errors: dict[str, float]
    warning: str = ""


Model = TypeVar("Model", bound=BaseModel)


def metrics_file(variant: str) -> str:
    return f"metrics/{variant}.json"


def metrics_files(variants: Sequence[str]) -> list[str]:
    """All files that `read_evidence` reads."""
    verified = [metrics_file("verify_onnx"), metrics_file("verify_torch")]
    return [CORRECT_FILE, COMPARISON_FILE, *verified, *map(metrics_file, variants)]


def read_correct_images(read: Read) -> Correctness:
    """Reads which images were right, and holds the accuracy of each variant against it.

    Raises:
        GateError: a file is missing or damaged, or both contradict each other.
    """
    record = _parse(Record, read, CORRECT_FILE)
    try:
        correctness = read_correctness(record)
    except ValueError as exc:
        raise GateError(f"{CORRECT_FILE} must be whole, got: {exc}. {REMEDY}") from exc
    for variant, by_class in correctness.by_class.items():
        scores = _parse(Scores, read, metrics_file(variant))
        told = {name: x for name, x in scores.per_class_accuracy.items() if x is not None}
        told["all images"] = scores.top1_accuracy
        found = {name: float(correct.mean()) for name, correct in by_class.items()}
        found["all images"] = float(all_images(by_class).mean())
        if scores.n_images != len(all_images(by_class)) or not _same(told, found, 1e-9):
            raise _contradiction(metrics_file(variant), found, told)
    return correctness


def read_saturating(read: Read, variants: Iterable[str]) -> set[str]:
    """The variants that ran on a CPU on which their 8-bit products saturate.

    Raises:
        GateError: a file is missing or damaged.
    """
    return {x for x in variants if _parse(Scores, read, metrics_file(x)).saturating_products}


def read_evidence(read: Read, variants: Sequence[str], *, baseline: str) -> Evidence:
    """Reads all metrics that are judged.

    Args:
        read: gives the content of a file of the project.
        variants: those that must be there.
        baseline: what they must have been compared with.

    Raises:
        GateError: a file is missing or damaged, or files contradict each other.
    """
    comparison = _parse(Comparison, read, COMPARISON_FILE)
    onnx = _parse(OnnxProof, read, metrics_file("verify_onnx"))
    torch = _parse(TorchProof, read, metrics_file("verify_torch"))
    for name in variants:  # also those that are not in the two files below
        _parse(Scores, read, metrics_file(name))
    correctness = read_correct_images(read)
    for path, found in (
        (CORRECT_FILE, set(correctness.by_class)),
        (COMPARISON_FILE, set(comparison.variants)),
    ):
        if found != set(variants):
            raise GateError(
                f"{path} must hold the variants {', '.join(variants)}, got "
                f"{', '.join(sorted(found))}. {REMEDY}"
            )
    if comparison.baseline != baseline:
        raise GateError(
            f"{COMPARISON_FILE} must compare with {baseline}, got {comparison.baseline}. {REMEDY}"
        )
    for name, row in comparison.variants.items():
        found_pp = deltas_pp(correctness.by_class[baseline], correctness.by_class[name])
        told_pp = {**row.per_class_delta_pp, "all images": row.accuracy_delta_pp}
        if not _same(told_pp, found_pp, _ROUNDED_PP):
            raise _contradiction(f"{COMPARISON_FILE}, {name}", found_pp, told_pp)
    errors = (onnx.parity_with_keras, torch.parity_with_onnx)
    return Evidence(
        correctness=correctness,
        conversion_errors={
            name: error.max_abs_probability_diff
            for name, error in zip(FLOAT_VARIANTS[1:], errors, strict=True)
        },
        warning=_warn_of_chance(comparison, correctness.by_class[baseline]),
    )


def _warn_of_chance(comparison: Comparison, by_class: dict[str, Correct]) -> str:
    """Says where the baseline is not better than chance, by the images that it got right."""
    correct = all_images(by_class)
    chance = max(map(len, by_class.values())) / len(correct)
    found = is_chance(int(correct.sum()), len(correct), chance=chance)
    if comparison.baseline_is_chance not in (None, found):
        raise GateError(
            f"{COMPARISON_FILE}, baseline_is_chance must fit the images that {CORRECT_FILE} says "
            f"were right, got {comparison.baseline_is_chance}. {REMEDY}"
        )
    told = {"baseline_is_chance": found, "chance_accuracy": chance}
    return chance_warning(comparison.model_dump() | told)


def all_images(by_class: dict[str, Correct]) -> Correct:
    """Which images were right, of all classes, class after class."""
    return np.concatenate(list(by_class.values()))


def deltas_pp(old: dict[str, Correct], new: dict[str, Correct]) -> dict[str, float]:
    """Accuracy differences, new minus old, by class and for all images, in points."""
    pairs = {name: (correct, new[name]) for name, correct in old.items()}
    pairs["all images"] = (all_images(old), all_images({name: new[name] for name in old}))
    return {name: 100 * float(y.mean() - x.mean()) for name, (x, y) in pairs.items()}


def _parse(model: type[Model], read: Read, path: str) -> Model:
    try:
        return model.model_validate_json(read(path))
    except ValidationError as exc:
        raise GateError(f"{path} must be whole, got: {_fault(exc.errors()[0])}. {REMEDY}") from exc


def _fault(error: Any) -> str:
    """What Pydantic found, in few words."""
    key = ".".join(map(str, error["loc"]))
    if error["type"] == "missing":
        return f"no {key}"
    if error["type"] == "json_invalid":
        return f"no JSON ({error['ctx']['error']})"
    return f"{key or 'all of it'} = {shown(error['input'])} ({error['msg']})"


def _same(told: dict[str, float], found: dict[str, float], tolerance: float) -> bool:
    return told.keys() == found.keys() and all(
        abs(told[name] - found[name]) <= tolerance for name in told
    )


def _contradiction(where: str, found: dict[str, float], told: dict[str, float]) -> GateError:
    differing = [name for name in {**found, **told} if found.get(name) != told.get(name)]
    return GateError(
        f"{where} must fit the images that {CORRECT_FILE} says were right, got another value of "
        f"{', '.join(differing)}. {REMEDY}"
    )
