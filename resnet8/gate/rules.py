"""Decides by limits of a revision alone, and by losses against another."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

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
from resnet8.core.params import Params
from resnet8.core.variants import FLOAT_VARIANTS


class Limit(NamedTuple):
    """A value and its limit, both in `unit`.

    parameter: name in the section `gate` of params.yaml.
    variant: the variant, or the stage, that has the value.
    at_least: True if the value must not be below the limit, False if not above it.
    detail: the quantity, or the class and the baseline.
    """

    parameter: str
    variant: str
    value: float
    limit: float
    unit: Literal["fraction", "pp", "probability", "images"]
    at_least: bool
    detail: str

    @property
    def passed(self) -> bool:
        return self.value >= self.limit if self.at_least else self.value <= self.limit


class Difference(NamedTuple):
    """Changes of right answers on the same images, now minus base.

    base_accuracy, accuracy: fractions.
    accuracy_delta_pp, ci95_low_pp, ci95_high_pp: their difference and its interval.
    images_lost, images_won: numbers of images that only the base, only this revision got right.
    mcnemar_p_holm: McNemar's p, corrected for the tests that are made together.
    """

    base_accuracy: float
    accuracy: float
    accuracy_delta_pp: float
    ci95_low_pp: float
    ci95_high_pp: float
    images_lost: int
    images_won: int
    mcnemar_p_holm: float

    def is_loss(self, significance: float) -> bool:
        return self.accuracy_delta_pp < 0 and self.mcnemar_p_holm < significance


class Change(NamedTuple):
    """A variant compared with the base revision.

    verdict: `worse` fails; `noise` is a difference that chance explains.
    difference: over all images; None for a variant that only one revision has.
    classes: differences by class.
    classes_worse: the classes that lost more than chance explains, each by itself.
    """

    variant: str
    verdict: Literal["unchanged", "noise", "better", "worse", "new", "removed"]
    difference: Difference | None = None
    classes: Mapping[str, Difference] = MappingProxyType({})
    classes_worse: tuple[str, ...] = ()


class Verdict(NamedTuple):
    """Decision of the gate, with reasons.

    revision, commit: name and hash of the base.
    moved: edits of the yardstick.
    notes: remarks that do not fail the gate.
    warning: about a baseline that is not better than chance, so that passing says little.
    """

    revision: str
    commit: str
    limits: list[Limit]
    changes: list[Change]
    moved: list[str]
    notes: list[str]
    warning: str = ""

    @property
    def passed(self) -> bool:
        return all(x.passed for x in self.limits) and all(
            x.verdict != "worse" for x in self.changes
        )


def check_limits(
    correctness: Correctness, conversion_errors: Mapping[str, float], params: Params
) -> list[Limit]:
    """Compares a revision's own results with the limits of `params.gate`.

    Args:
        correctness: right answers of each variant.
        conversion_errors: of `evidence.read_conversion_errors`.
        params: the parameters.
    """
    gate, by_class = params.gate, correctness.by_class
    baseline = params.compare.baseline
    limits = [
        Limit("calibration_images_min", "calibration", params.calibrate.size,
              gate.calibration_images_min, "images", True, "training images")
    ]  # fmt: skip
    limits += [
        Limit("float_accuracy_min", name, float(join_classes(by_class[name]).mean()),
              gate.float_accuracy_min, "fraction", True, "top-1 accuracy")
        for name in FLOAT_VARIANTS
    ]  # fmt: skip
    limits += [
        Limit("float_parity_max", name, error, gate.float_parity_max, "probability", False,
              "difference to its original")
        for name, error in conversion_errors.items()
    ]  # fmt: skip
    for name in params.variants:
        if name not in (*FLOAT_VARIANTS, baseline):
            row = compare_correct(by_class[baseline], by_class[name])
            worst, delta = min(row["per_class_delta_pp"].items(), key=lambda item: item[1])
            for parameter, by_variant, delta_pp, where in (
                ("drop_max_pp", gate.drop_max_pp, row["accuracy_delta_pp"], "all images"),
                ("class_drop_max_pp", gate.class_drop_max_pp, delta, worst),
            ):
                limit = by_variant.get(name, by_variant["default"])
                limits.append(
                    Limit(parameter, name, max(0.0, -delta_pp), limit, "pp", False,
                          f"below {baseline}, {where}")
                )  # fmt: skip
    return limits


def find_changes(base: Correctness, current: Correctness, *, significance: float) -> list[Change]:
    """Compares each variant with itself in another revision, image by image.

    A loss counts if p of McNemar's exact test, over all images or in a class, is below
    `significance` after Holm's correction: over the variants for all images, and over all classes
    of all variants for classes.

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
    classes = _differences({(x, y): (old[x][y], new[x][y]) for x in both for y in old[x]})
    changes = [
        _change(x, totals[x], {y: classes[x, y] for y in old[x]}, significance) for x in both
    ]
    changes += [Change(x, "new") for x in new if x not in old]
    return changes + [Change(x, "removed") for x in old if x not in new]


def _class_sizes(correctness: Correctness) -> set[tuple[str, int]]:
    """Names and numbers of images of all classes; the checksum covers them unless it is forged."""
    return {(y, len(z)) for x in correctness.by_class.values() for y, z in x.items()}


def _change(
    name: str, total: Difference, classes: dict[str, Difference], significance: float
) -> Change:
    worse = tuple(label for label, x in classes.items() if x.is_loss(significance))
    if worse or total.is_loss(significance):
        return Change(name, "worse", total, classes, worse)
    if not total.images_lost + total.images_won:
        return Change(name, "unchanged", total, classes)
    is_better = total.mcnemar_p_holm < significance
    return Change(name, "better" if is_better else "noise", total, classes)


def _differences(pairs: Mapping[Any, tuple[Correct, Correct]]) -> dict[Any, Difference]:
    corrected = correct_p_values([mcnemar_p(old, new) for old, new in pairs.values()])
    differences = {}
    for (key, (old, new)), p in zip(pairs.items(), corrected, strict=True):
        before, after = float(old.mean()), float(new.mean())
        low, high = difference_interval(old, new)
        lost, won = count_changes(old, new)
        differences[key] = Difference(
            before, after, 100 * (after - before), 100 * low, 100 * high, lost, won, p
        )
    return differences
