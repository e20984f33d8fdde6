"""Reads the metrics of a revision, and holds them against each other.

Fails closed: whatever is missing, damaged, not finite or in contradiction to the rest is an
error, never a pass.
"""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from resnet8.compare.chance import chance_warning
from resnet8.compare.comparison import join_classes
from resnet8.compare.hits import Correctness, compare_hits, read_correctness
from resnet8.core.errors import GateError, shown
from resnet8.core.files import parse_json
from resnet8.core.variants import FLOAT_VARIANTS

CORRECT_FILE, COMPARISON_FILE = "metrics/correct.json", "metrics/comparison.json"
_REMEDY = "Run `dvc repro` to make it again."

# Path in the project -> content; raises PipelineError where there is no such file.
Read = Callable[[str], bytes]


class Results(NamedTuple):
    """The results of a revision.

    correctness: which images each variant got right.
    saturating: variants that ran on a CPU on which their 8-bit products saturate.
    model_sha256: of the Keras model; None in those of an earlier version.
    """

    correctness: Correctness
    saturating: set[str]
    model_sha256: str | None


class Proof(NamedTuple):
    """The comparison of the variants and the proofs of conversion.

    conversion_errors: largest difference of a probability to the model before, by variant.
    warning: of a baseline that is not better than chance; empty where it is.
    """

    conversion_errors: dict[str, float]
    warning: str = ""


def metrics_file(name: str) -> str:
    return f"metrics/{name}.json"


def metrics_files(variants: Sequence[str]) -> list[str]:
    """The files that `read_results` and `read_proof` read."""
    names = ("correct", "comparison", "verify_onnx", "verify_torch", *variants)
    return [metrics_file(x) for x in names]


def read_results(read: Read) -> Results:
    """Reads the results of a revision, and holds each accuracy against the images behind it.

    Raises:
        GateError: a file is missing or damaged, or files contradict each other.
    """
    try:
        correctness = read_correctness(_parse(read, CORRECT_FILE))
    except ValueError as exc:
        raise _damaged(CORRECT_FILE, str(exc)) from exc
    saturating = set()
    for variant, by_class in correctness.by_class.items():
        scores, correct = _parse(read, metrics_file(variant)), join_classes(by_class)
        expected = {
            "variant": variant,
            "n_images": len(correct),
            "top1_accuracy": float(correct.mean()),
            "per_class_accuracy": {name: float(x.mean()) for name, x in by_class.items()},
        }
        _refuse_contradictions(metrics_file(variant), scores, expected)
        if scores.get("saturating_products") is True:
            saturating.add(variant)
    model = _parse(read, metrics_file("verify_onnx")).get("model_sha256")
    return Results(correctness, saturating, str(model) if model else None)


def read_proof(
    read: Read, correctness: Correctness, variants: Sequence[str], *, baseline: str
) -> Proof:
    """Reads the comparison and the proofs of conversion.

    Args:
        read: gives the content of a file of the project.
        correctness: what the comparison must fit.
        variants: those that must be there.
        baseline: what they must have been compared with.

    Raises:
        GateError: a file is missing or damaged, or files contradict each other.
    """
    comparison = _parse(read, COMPARISON_FILE)
    for path, rows in ((CORRECT_FILE, correctness.by_class), (COMPARISON_FILE, comparison)):
        names = rows.get("variants", rows)
        if set(names) != set(variants):
            raise GateError(
                f"{path} must hold the variants {', '.join(variants)}, got {shown(list(names))}. "
                f"{_REMEDY}"
            )
    if comparison.get("baseline") != baseline:
        found = shown(comparison.get("baseline"))
        raise GateError(f"{COMPARISON_FILE} must compare with {baseline}, got {found}. {_REMEDY}")
    expected = compare_hits(correctness.by_class, baseline)
    _refuse_contradictions(COMPARISON_FILE, comparison, expected)
    n_right = int(join_classes(correctness.by_class[baseline]).sum())
    for name, row in expected["variants"].items():
        _number(COMPARISON_FILE, comparison, "variants", name, "kl_divergence")
        agreement = _number(COMPARISON_FILE, comparison, "variants", name, "agreement")
        # Right answers of both agree, those of one alone do not; wrong ones may.
        both, n = n_right - row["images_lost"], expected["n_images"]
        least = 1.0 if name == baseline else both / n
        most = 1 - (row["images_lost"] + row["images_won"]) / n
        if not least - 1e-9 <= agreement <= most + 1e-9:
            raise _contradiction(COMPARISON_FILE, [f"variants.{name}.agreement"])
    errors: dict[str, float] = {}
    for name, original in zip(FLOAT_VARIANTS[1:], FLOAT_VARIANTS, strict=False):
        path = metrics_file(f"verify_{name.runtime}")
        errors[name] = _number(
            path, _parse(read, path), f"parity_with_{original.runtime}", "max_abs_probability_diff"
        )
    return Proof(errors, chance_warning(expected))


def _parse(read: Read, path: str) -> dict[str, Any]:
    content = parse_json(read(path), where=path)
    if not isinstance(content, dict):
        raise _damaged(path, shown(content))
    return content


def _number(path: str, content: Any, *keys: str) -> float:
    """The number at some keys, finite and not negative."""
    for key in keys:
        content = content.get(key) if isinstance(content, Mapping) else None
    if type(content) not in (int, float) or not 0 <= content <= sys.float_info.max:
        raise _damaged(path, f"{'.'.join(keys)} = {shown(content)}")
    return float(content)


def _damaged(path: str, found: str) -> GateError:
    return GateError(f"{path} must be whole, got: {found}. {_REMEDY}")


def _refuse_contradictions(path: str, told: Any, found: Mapping[str, Any]) -> None:
    if differing := [".".join(x) for x in _differing(told, found)]:
        raise _contradiction(path, differing)


def _differing(told: Any, found: Any) -> Iterator[tuple[str, ...]]:
    """The keys of `found` whose value is told otherwise."""
    if isinstance(found, Mapping):
        for key, value in found.items():
            inner = told.get(key) if isinstance(told, Mapping) else None
            yield from ((key, *x) for x in _differing(inner, value))
        if isinstance(told, Mapping) and all(isinstance(x, float) for x in found.values()):
            yield from ((key,) for key, x in told.items() if key not in found and x is not None)
    elif type(told) is not type(found) or told != found:
        yield ()


def _contradiction(path: str, keys: Sequence[str]) -> GateError:
    return GateError(
        f"{path} must fit the images that {CORRECT_FILE} says were right, got another value of "
        f"{', '.join(keys[:5])}{' and others' if len(keys) > 5 else ''}. {_REMEDY}"
    )
