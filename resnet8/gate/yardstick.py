"""Finds edits of the yardstick: limits, baseline, model, test set and the judging code."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from resnet8.core.errors import GateError, shown
from resnet8.core.params import Params
from resnet8.gate.evidence import Results

PARAMS = "params.yaml"
_SECTIONS = ("fetch", "compare", "gate")
CODE = (  # decides, or sets what the decision is based on
    "resnet8/gate", "resnet8/compare", "resnet8/core/evaluation.py", "resnet8/core/variants.py",
    "stages/compare.py", "stages/evaluate.py", "dvc.yaml", ".dvcignore", ".github", "Makefile",
)  # fmt: skip


def find_moved(
    old_params: object, params: Params, *, old: Results, new: Results, edited: Sequence[str]
) -> Iterator[str]:
    """Yields a sentence for each edit of the yardstick since the base, `old`.

    `edited` are the files under `CODE` that differ.

    Raises:
        GateError: the base's parameters lack a section.
    """
    inputs = (
        ("model", old.model_sha256, new.model_sha256),
        ("test set", old.correctness.test_set, new.correctness.test_set),
    )
    for what, before, now in inputs:
        if before and before != now:
            yield f"The {what} differs: SHA-256 {before[:16]}, now {str(now)[:16]}."
    was_right = old.correctness.by_class.get("keras_fp32", {})
    is_right = new.correctness.by_class.get("keras_fp32", {})
    is_other = any(not np.array_equal(x, was_right.get(label, [])) for label, x in is_right.items())
    if is_other and all(before == now for _, before, now in inputs):
        yield "keras_fp32 classifies other images correctly, although model and test set are equal."
    for name in old.correctness.by_class:
        if name not in params.variants:
            yield f"{name} was judged in the base and no longer is."
    for section in _SECTIONS:
        was = old_params.get(section) if isinstance(old_params, Mapping) else None
        if not isinstance(was, Mapping):
            where = f"{PARAMS} of the base must have a section {section}"
            raise GateError(f"{where}, got {shown(was)}. Name another base.")
        for key, value in params.model_dump()[section].items():
            if was.get(key) != value:
                yield f"{section}.{key} was {shown(was.get(key))} in the base, is {shown(value)}."
                if key == "baseline":
                    yield f"No limit of a drop holds for {value}, the baseline."
    if edited:
        yield f"Judging code was edited: {', '.join(edited)}."
