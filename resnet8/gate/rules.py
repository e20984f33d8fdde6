"""Checks a revision against its limits, and for losses against another revision."""

from collections.abc import Mapping
from typing import Any

from resnet8.compare.comparison import (
    Correct,
    compare_correct,
    correct_p_values,
    count_changes,
    difference_interval,
    join_classes,
    mcnemar_p,
)
from resnet8.compare.hits import Correctness
from resnet8.core.errors import GateError
from resnet8.core.files import Json
from resnet8.core.params import Params
from resnet8.core.variants import FLOAT_VARIANTS

_UNITS = {
    "calibration_images_min": "images",
    "float_accuracy_min": "fraction",
    "float_parity_max": "probability",
    "drop_max_pp": "pp",
    "class_drop_max_pp": "pp",
}


def check_limits(
    correctness: Correctness, conversion_errors: Mapping[str, float], params: Params
) -> list[dict[str, Any]]:
    """Compares a revision's own results with the limits of `params.gate`.

    Returns:
        Rows with the `parameter` of the section `gate`, the `variant` or stage that has the
        `value`, the `limit` in the same `unit`, `at_least` (False: at most), whether it `passed`,
        and a `detail`: the quantity, or the baseline and the class.
    """
    gate, baseline, by_class = params.gate, params.compare.baseline, correctness.by_class
    size, smallest = params.calibrate.size, gate.calibration_images_min
    rows = [_limit("calibration_images_min", "calibration", size, smallest, "training images")]
    for name in FLOAT_VARIANTS:
        accuracy, least = float(join_classes(by_class[name]).mean()), gate.float_accuracy_min
        rows.append(_limit("float_accuracy_min", name, accuracy, least, "top-1 accuracy"))
    for converted, error in conversion_errors.items():
        detail = "difference to its original"
        rows.append(_limit("float_parity_max", converted, error, gate.float_parity_max, detail))
    for name in params.variants:
        if name in (*FLOAT_VARIANTS, baseline):
            continue
        compared = compare_correct(by_class[baseline], by_class[name])
        class_deltas = compared["per_class_delta_pp"]
        worst = min(class_deltas, key=class_deltas.__getitem__)
        for parameter, delta_pp, where in (
            ("drop_max_pp", compared["accuracy_delta_pp"], "all images"),
            ("class_drop_max_pp", class_deltas[worst], worst),
        ):
            allowed = getattr(gate, parameter)
            limit = allowed.get(name, allowed["default"])
            drop = max(0.0, -delta_pp)
            rows.append(_limit(parameter, name, drop, limit, f"below {baseline}, {where}"))
    return rows


def _limit(parameter: str, variant: str, value: float, limit: float, detail: str) -> dict[str, Any]:
    at_least = parameter.endswith("_min")
    return {
        "parameter": parameter,
        "variant": variant,
        "value": value,
        "limit": limit,
        "unit": _UNITS[parameter],
        "at_least": at_least,
        "detail": detail,
        "passed": value >= limit if at_least else value <= limit,
    }


def find_changes(
    base: Correctness, current: Correctness, *, significance: float
) -> dict[str, dict[str, Any]]:
    """Compares each variant with itself in another revision, image by image.

    A loss counts if p of McNemar's exact test, over all images or in a class, is below
    `significance` after Holm's correction: over the variants for all images, and over all classes
    of all variants for classes.

    Returns:
        By variant its `verdict`: `new`, `removed`, `unchanged`, `noise` (a difference that chance
        explains), `better` or `worse`, which fails. Variants that both revisions have come with
        their `_differences` over all images and by class (`classes`), and the classes that lost
        more than chance explains, each by itself (`classes_worse`).

    Raises:
        GateError: the test sets differ.
    """
    if (base.test_set, _class_sizes(base)) != (current.test_set, _class_sizes(current)):
        raise GateError(
            f"The test set must be that of the base (SHA-256 {base.test_set[:16]}...), got "
            f"{current.test_set[:16]}...: results on other images cannot be compared. Name a base "
            "with the same fetch.dataset; where the change is meant, commit it and use BASE=HEAD."
        )
    old, new = base.by_class, current.by_class
    both = [name for name in new if name in old]
    totals = _differences({x: (join_classes(old[x]), join_classes(new[x])) for x in both})
    by_class = _differences(
        {(x, label): (old[x][label], new[x][label]) for x in both for label in old[x]}
    )
    changes = {}
    for name in dict.fromkeys([*new, *old]):
        if name in both:
            total = totals[name]
            classes = {label: by_class[name, label] for label in old[name]}
            verdict = _judge(total, classes, significance)
        else:
            total, classes = {}, {}
            verdict = "new" if name in new else "removed"
        worse = [label for label, row in classes.items() if _is_loss(row, significance)]
        changes[name] = {"verdict": verdict, **total, "classes": classes, "classes_worse": worse}
    return changes


def _class_sizes(correctness: Correctness) -> set[tuple[str, int]]:
    """Names and numbers of images of all classes; the checksum covers them unless it is forged."""
    variants = correctness.by_class.values()
    return {(label, len(right)) for by_class in variants for label, right in by_class.items()}


def _judge(total: Json, classes: Mapping[str, Json], significance: float) -> str:
    if any(_is_loss(row, significance) for row in (total, *classes.values())):
        return "worse"
    if not total["images_lost"] + total["images_won"]:
        return "unchanged"
    return "better" if total["mcnemar_p_holm"] < significance else "noise"


def _is_loss(row: Json, significance: float) -> bool:
    return bool(row["accuracy_delta_pp"] < 0 and row["mcnemar_p_holm"] < significance)


def _differences(pairs: Mapping[Any, tuple[Correct, Correct]]) -> dict[Any, dict[str, Any]]:
    """Compares right answers of the base and of this revision on the same images.

    Returns:
        Accuracies as fractions; their difference and its 95% interval, now minus base, in
        percentage points (`*_pp`); numbers of images that only the base (`images_lost`), only this
        revision (`images_won`) got right; McNemar's p, corrected for all pairs.
    """
    corrected = correct_p_values([mcnemar_p(old, new) for old, new in pairs.values()])
    differences = {}
    for (key, (old, new)), p in zip(pairs.items(), corrected, strict=True):
        before, after = float(old.mean()), float(new.mean())
        low, high = difference_interval(old, new)
        lost, won = count_changes(old, new)
        differences[key] = {
            "base_accuracy": before,
            "accuracy": after,
            "accuracy_delta_pp": 100 * (after - before),
            "ci95_low_pp": 100 * low,
            "ci95_high_pp": 100 * high,
            "images_lost": lost,
            "images_won": won,
            "mcnemar_p_holm": p,
        }
    return differences
