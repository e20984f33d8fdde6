"""Reads the metrics of a revision and checks them against the recorded right answers.

Metrics that are missing, damaged, not finite or contradictory raise an error and never pass.
`lock.py` cannot replace this: whoever edits a metric can edit its checksum in dvc.lock, too.
"""

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from resnet8.compare.chance import chance_warning
from resnet8.compare.comparison import join_classes
from resnet8.compare.hits import Correctness, compare_hits, read_correctness
from resnet8.core.errors import GateError, shown
from resnet8.core.files import REMEDY, parse_json
from resnet8.core.variants import FLOAT_VARIANTS

# Path in the project -> content; raises PipelineError for a missing file.
Read = Callable[[Path], bytes]


class Results(NamedTuple):
    """The results of a revision."""

    correctness: Correctness  # right answers of each variant
    saturating: set[str]  # variants that ran on a CPU on which their 8-bit products saturate
    model_sha256: str | None  # of the Keras model; None in the results of an earlier version


def metrics_files(variants: Sequence[str]) -> list[str]:
    """Returns the paths of all files that this module reads."""
    return [_path(x) for x in ("correct", "comparison", "verify_onnx", "verify_torch", *variants)]


def read_results(read: Read) -> Results:
    """Reads the results of a revision, and checks each accuracy against the right answers.

    Raises:
        GateError: a file is missing or damaged, or files contradict each other.
    """
    try:
        correctness = read_correctness(_parse(read, "correct"))
    except ValueError as exc:
        raise _damaged("correct", str(exc)) from exc
    saturating = set()
    for variant, by_class in correctness.by_class.items():
        scores, correct = _parse(read, variant), join_classes(by_class)
        expected = {
            "variant": variant,
            "n_images": len(correct),
            "top1_accuracy": float(correct.mean()),
            "per_class_accuracy": {name: float(x.mean()) for name, x in by_class.items()},
        }
        _refuse(variant, _contradictions(scores, expected))
        if scores.get("saturating_products") is True:
            saturating.add(variant)
    model = _parse(read, "verify_onnx").get("model_sha256")
    return Results(correctness, saturating, str(model) if model else None)


def read_conversion_errors(read: Read) -> dict[str, float]:
    """Returns the largest difference of a probability from the original, by converted variant.

    Raises:
        GateError: a file is missing or damaged.
    """
    errors: dict[str, float] = {}
    for original, variant in pairwise(FLOAT_VARIANTS):
        name, parity = f"verify_{variant.runtime}", f"parity_with_{original.runtime}"
        errors[variant] = _number(name, _parse(read, name), parity, "max_abs_probability_diff")
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
    comparison = _parse(read, "comparison")
    if set(correctness.by_class) != set(variants):
        raise GateError(
            f"{_path('correct')} must hold the variants {', '.join(variants)}, got "
            f"{shown(list(correctness.by_class))}. {REMEDY}"
        )
    expected = compare_hits(correctness.by_class, baseline)
    _refuse("comparison", _contradictions(comparison, expected))
    n_right = int(join_classes(correctness.by_class[baseline]).sum())
    for name, row in expected["variants"].items():
        _number("comparison", comparison, "variants", name, "kl_divergence")
        agreement = _number("comparison", comparison, "variants", name, "agreement")
        # Images that both get right agree, those that one alone gets right do not.
        both, n = n_right - row["images_lost"], expected["n_images"]
        least = 1.0 if name == baseline else both / n
        most = 1 - (row["images_lost"] + row["images_won"]) / n
        if not least - 1e-9 <= agreement <= most + 1e-9:
            _refuse("comparison", [f"variants.{name}.agreement"])
    return chance_warning(expected)


def _path(name: str) -> str:
    return f"metrics/{name}.json"


def _parse(read: Read, name: str) -> dict[str, Any]:
    content = parse_json(read(Path(_path(name))), where=_path(name))
    if not isinstance(content, dict):
        raise _damaged(name, shown(content))
    return content


def _number(name: str, content: Any, *keys: str) -> float:
    """Returns the number under nested keys, finite and not negative."""
    for key in keys:
        content = content.get(key) if isinstance(content, Mapping) else None
    if type(content) not in (int, float) or not 0 <= content <= sys.float_info.max:
        raise _damaged(name, f"{'.'.join(keys)} = {shown(content)}")
    return float(content)


def _contradictions(entries: Mapping[str, Any], expected: Mapping[str, Any]) -> Iterator[str]:
    """Yields the keys, joined by dots, whose value in a file is not the expected one.

    The file may have other keys, but no other variant, and no other class with images.
    """
    for key, value in expected.items():
        got = entries.get(key)
        if not isinstance(value, Mapping):
            if type(got) is not type(value) or got != value:
                yield key
            continue
        given = got if isinstance(got, Mapping) else {}
        others = [x for x in given if x not in value]
        if key.startswith("per_class_"):
            others = [x for x in others if given[x] is not None]
        elif key != "variants":
            others = []
        yield from (f"{key}.{x}" for x in [*_contradictions(given, value), *others])


def _refuse(name: str, contradictions: Iterable[str]) -> None:
    """Raises a GateError if a file contradicts the right answers; names the first five keys."""
    if keys := [x if x.isprintable() and len(x) <= 100 else shown(x) for x in contradictions]:
        others = " and others" if len(keys) > 5 else ""
        raise GateError(
            f"{_path(name)} must match the right answers in {_path('correct')}, got "
            f"another value of {', '.join(keys[:5])}{others}. {REMEDY}"
        )


def _damaged(name: str, got: str) -> GateError:
    return GateError(f"{_path(name)} must be undamaged, got: {got}. {REMEDY}")
