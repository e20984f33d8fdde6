"""Decides: limits that hold for a revision alone, and losses against another."""

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import numpy as np

from resnet8.compare.comparison import (
    Correct,
    Interval,
    compare_correct,
    correct_p_values,
    difference_interval,
    join_classes,
    mcnemar_p,
)
from resnet8.compare.hits import Correctness
from resnet8.core.errors import GateError
from resnet8.core.params import Params
from resnet8.core.variants import FLOAT_VARIANTS


class Limit(NamedTuple):
    """A value that must keep to a limit.

    parameter: where the limit stands in params.yaml.
    variant: whose value it is, or the stage's.
    value, limit: in `unit`; `at_least` says on which side the value must be.
    detail: which class, or against what.
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
    """Changes of correct answers on the same images.

    old, new: accuracies, as fractions.
    ci95: interval of new minus old, as fractions.
    lost, won: images that only the old, only the new got right.
    p: McNemar's, corrected for the number of tests made together (Holm).
    """

    old: float
    new: float
    ci95: Interval
    lost: int
    won: int
    p: float


class Change(NamedTuple):
    """A variant against the base revision.

    verdict: `worse` fails. `noise` is a difference that chance explains.
    difference: over all images; None for a variant that only one revision has.
    classes: by class.
    classes_worse: those that lost more than chance explains, each by itself.
    """

    variant: str
    verdict: Literal["unchanged", "noise", "better", "worse", "new", "removed"]
    difference: Difference | None
    classes: dict[str, Difference]
    classes_worse: tuple[str, ...]


class Verdict(NamedTuple):
    """Decision of the gate, with reasons.

    revision, commit: the base as it was named, and what it is.
    moved: by what else than the base the change is judged.
    notes: what a reader should know, but does not fail.
    warning: of a baseline that is not better than chance, so that passing says little.
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
        conversion_errors: largest difference of a probability from the original, by variant.
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

    A loss counts when McNemar's exact test finds it, over all images or in a class, with p
    below `significance` after Holm's correction: over the variants for all images, and over all
    classes of all variants for classes.

    Args:
        base: which images were right in the base revision.
        current: which are now.
        significance: the chance of a false alarm that is accepted, for each of both families.

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
    changes += [Change(x, "new", None, {}, ()) for x in new if x not in old]
    return changes + [Change(x, "removed", None, {}, ()) for x in old if x not in new]


def _class_sizes(correctness: Correctness) -> set[tuple[str, int]]:
    """Names and images of all classes; the checksum tells them, too, unless it is made up."""
    return {(y, len(z)) for x in correctness.by_class.values() for y, z in x.items()}


def _change(
    name: str, total: Difference, classes: dict[str, Difference], significance: float
) -> Change:
    def is_certain(x: Difference) -> bool:
        return x.p < significance

    worse = tuple(label for label, x in classes.items() if x.new < x.old and is_certain(x))
    if worse or (total.new < total.old and is_certain(total)):
        return Change(name, "worse", total, classes, worse)
    if not total.lost + total.won:
        return Change(name, "unchanged", total, classes, ())
    return Change(name, "better" if is_certain(total) else "noise", total, classes, ())


def _differences(pairs: Mapping[Any, tuple[Correct, Correct]]) -> dict[Any, Difference]:
    corrected = correct_p_values([mcnemar_p(old, new) for old, new in pairs.values()])
    return {
        key: Difference(
            old=float(old.mean()),
            new=float(new.mean()),
            ci95=difference_interval(old, new),
            lost=int(np.sum(old & ~new)),
            won=int(np.sum(~old & new)),
            p=p,
        )
        for (key, (old, new)), p in zip(pairs.items(), corrected, strict=True)
    }
