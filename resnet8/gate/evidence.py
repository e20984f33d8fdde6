"""Reads the metrics that the gate judges, from the working tree or from a Git revision.

A missing or damaged file is an error, never a pass. `lock.check_lock` proves that the working
tree's metrics are those that the pipeline wrote.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from resnet8.compare.chance import chance_warning
from resnet8.compare.hits import Correctness, compare_hits, read_correctness
from resnet8.core.errors import GateError, shown
from resnet8.core.files import parse_json
from resnet8.core.variants import FLOAT_VARIANTS

CORRECT_FILE = "metrics/correct.json"
_REMEDY = "Run `dvc repro` to make it again."

# Returns the content of a path in the project; raises PipelineError if there is no such file.
Read = Callable[[str], bytes]


class Results(NamedTuple):
    """The results of a revision.

    correctness: which images each variant classifies correctly.
    saturating: variants that ran on a CPU on which their 8-bit products saturate.
    model_sha256: checksum of the Keras model; None in metrics of an earlier version.
    """

    correctness: Correctness
    saturating: set[str]
    model_sha256: str | None


class Proof(NamedTuple):
    """Errors of the float conversions, and the baseline's comparison with chance.

    conversion_errors: largest difference of a probability to the preceding model, by variant.
    warning: says that the baseline is not better than chance; empty if it is.
    """

    conversion_errors: dict[str, float]
    warning: str = ""


def metrics_file(name: str) -> str:
    return f"metrics/{name}.json"


def metrics_files(variants: Sequence[str]) -> list[str]:
    """Paths of the metrics that dvc.lock must record."""
    names = ("correct", "comparison", "verify_onnx", "verify_torch", *variants)
    return [metrics_file(x) for x in names]


def read_results(read: Read) -> Results:
    """Reads the results of a revision.

    Raises:
        GateError: a file is missing or damaged.
    """
    try:
        correctness = read_correctness(_parse(read, CORRECT_FILE))
    except ValueError as exc:
        raise _damaged(CORRECT_FILE, str(exc)) from exc
    scores = {name: _parse(read, metrics_file(name)) for name in correctness.by_class}
    saturating = {name for name, x in scores.items() if x.get("saturating_products") is True}
    model = _parse(read, metrics_file("verify_onnx")).get("model_sha256")
    return Results(correctness, saturating, str(model) if model else None)


def read_proof(
    read: Read, correctness: Correctness, variants: Sequence[str], *, baseline: str
) -> Proof:
    """Reads the errors of the float conversions, and compares the baseline with chance.

    Args:
        read: returns the content of a file of the project.
        correctness: which images each variant classifies correctly.
        variants: the variants that `correctness` must have.
        baseline: the variant that is compared with chance.

    Raises:
        GateError: a file is missing or damaged, or a variant is missing.
    """
    if set(correctness.by_class) != set(variants):
        raise GateError(
            f"{CORRECT_FILE} must hold the variants {', '.join(variants)}, got "
            f"{shown(list(correctness.by_class))}. {_REMEDY}"
        )
    errors: dict[str, float] = {}
    for name, original in zip(FLOAT_VARIANTS[1:], FLOAT_VARIANTS, strict=False):
        path = metrics_file(f"verify_{name.runtime}")
        errors[name] = _number(
            path, _parse(read, path), f"parity_with_{original.runtime}", "max_abs_probability_diff"
        )
    return Proof(errors, chance_warning(compare_hits(correctness.by_class, baseline)))


def _parse(read: Read, path: str) -> dict[str, Any]:
    content = parse_json(read(path), where=path)
    if not isinstance(content, dict):
        raise _damaged(path, shown(content))
    return content


def _number(path: str, content: Any, *keys: str) -> float:
    """Returns the number at nested keys, which must be finite and not negative."""
    for key in keys:
        content = content.get(key) if isinstance(content, Mapping) else None
    if type(content) not in (int, float) or not 0 <= content <= sys.float_info.max:
        raise _damaged(path, f"{'.'.join(keys)} = {shown(content)}")
    return float(content)


def _damaged(path: str, problem: str) -> GateError:
    return GateError(f"{path} must be whole, got: {problem}. {_REMEDY}")
