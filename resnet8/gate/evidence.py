"""Reads the metrics of a revision and checks them against the recorded right answers.

Metrics that are missing, damaged, not finite or contradictory raise an error and never pass.
`lock.py` cannot replace this: whoever edits a metric can edit its checksum in dvc.lock, too.
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

# Path in the project -> content; raises PipelineError for a missing file.
Read = Callable[[str], bytes]


class Results(NamedTuple):
    """The results of a revision.

    correctness: right answers of each variant.
    saturating: variants that ran on a CPU on which their 8-bit products saturate.
    model_sha256: of the Keras model; None in the results of an earlier version.
    """

    correctness: Correctness
    saturating: set[str]
    model_sha256: str | None


def metrics_file(name: str) -> str:
    return f"metrics/{name}.json"


def metrics_files(variants: Sequence[str]) -> list[str]:
    """Returns the paths of all files that this module reads."""
    names = ("correct", "comparison", "verify_onnx", "verify_torch", *variants)
    return [metrics_file(x) for x in names]


def read_results(read: Read) -> Results:
    """Reads the results of a revision, and checks each accuracy against the right answers.

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


def read_conversion_errors(read: Read) -> dict[str, float]:
    """Returns the largest difference of a probability from the original, by converted variant.

    Raises:
        GateError: a file is missing or damaged.
    """
    errors: dict[str, float] = {}
    for name, original in zip(FLOAT_VARIANTS[1:], FLOAT_VARIANTS, strict=False):
        path, parity = metrics_file(f"verify_{name.runtime}"), f"parity_with_{original.runtime}"
        errors[name] = _number(path, _parse(read, path), parity, "max_abs_probability_diff")
    return errors


def check_comparison(
    read: Read, correctness: Correctness, variants: Sequence[str], *, baseline: str
) -> str:
    """Checks that the right answers agree with a comparison of these variants with the baseline.

    Returns:
        A warning about a baseline that is not better than chance, else an empty text.

    Raises:
        GateError: the file is missing or damaged, or contradicts the right answers.
    """
    comparison = _parse(read, COMPARISON_FILE)
    rows = comparison.get("variants", {})
    for path, names in ((CORRECT_FILE, correctness.by_class), (COMPARISON_FILE, rows)):
        if set(names) != set(variants):
            raise GateError(
                f"{path} must hold the variants {', '.join(variants)}, got {shown(list(names))}. "
                f"{_REMEDY}"
            )
    if comparison.get("baseline") != baseline:
        got = shown(comparison.get("baseline"))
        raise GateError(f"{COMPARISON_FILE} must compare with {baseline}, got {got}. {_REMEDY}")
    expected = compare_hits(correctness.by_class, baseline)
    _refuse_contradictions(COMPARISON_FILE, comparison, expected)
    n_right = int(join_classes(correctness.by_class[baseline]).sum())
    for name, row in expected["variants"].items():
        _number(COMPARISON_FILE, comparison, "variants", name, "kl_divergence")
        agreement = _number(COMPARISON_FILE, comparison, "variants", name, "agreement")
        # Images that both get right agree, those that one alone gets right do not.
        both, n = n_right - row["images_lost"], expected["n_images"]
        least = 1.0 if name == baseline else both / n
        most = 1 - (row["images_lost"] + row["images_won"]) / n
        if not least - 1e-9 <= agreement <= most + 1e-9:
            raise _contradiction(COMPARISON_FILE, [f"variants.{name}.agreement"])
    return chance_warning(expected)


def _parse(read: Read, path: str) -> dict[str, Any]:
    content = parse_json(read(path), where=path)
    if not isinstance(content, dict):
        raise _damaged(path, shown(content))
    return content


def _number(path: str, content: Any, *keys: str) -> float:
    """Returns the number under nested keys, finite and not negative."""
    for key in keys:
        content = content.get(key) if isinstance(content, Mapping) else None
    if type(content) not in (int, float) or not 0 <= content <= sys.float_info.max:
        raise _damaged(path, f"{'.'.join(keys)} = {shown(content)}")
    return float(content)


def _refuse_contradictions(path: str, content: Any, expected: Mapping[str, Any]) -> None:
    """Compares the expected entries with those of a file, which may have others, but no class."""
    entries, required = dict(_flatten(content)), dict(_flatten(expected))
    for key, value in entries.items():
        if value is not None and any(part.startswith("per_class_") for part in key[:-1]):
            required.setdefault(key, None)
    wrong = [
        key
        for key, value in required.items()
        if type(entries.get(key)) is not type(value) or entries[key] != value
    ]
    if wrong:
        raise _contradiction(path, [".".join(key) for key in wrong])


def _flatten(content: Any, key: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yields the keys and the value of each entry of a nested mapping."""
    if isinstance(content, Mapping):
        for name, value in content.items():
            yield from _flatten(value, (*key, name))
    else:
        yield key, content


def _damaged(path: str, got: str) -> GateError:
    return GateError(f"{path} must be whole, got: {got}. {_REMEDY}")


def _contradiction(path: str, keys: Sequence[str]) -> GateError:
    return GateError(
        f"{path} must fit the images that {CORRECT_FILE} says were right, got another value of "
        f"{', '.join(keys[:5])}{' and others' if len(keys) > 5 else ''}. {_REMEDY}"
    )
