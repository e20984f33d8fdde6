"""The images that a variant changed."""

import numpy as np
from numpy.typing import NDArray

from resnet8.report.flips import SHOWN_FLIPS, flips_view

NAMES = ("cat", "dog", "ship")
CAT, DOG, SHIP = np.eye(3, dtype=np.float32) * 0.8 + 0.1


def images(count: int) -> NDArray[np.uint8]:
    return np.zeros((count, 32, 32, 3), np.uint8)


def rows(*probabilities: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.stack(probabilities)


def test_flips_view_counts_lost_won_and_still_wrong() -> None:
    found = flips_view(
        rows(CAT, DOG, DOG, CAT),
        rows(DOG, CAT, SHIP, CAT),
        images=images(4),
        labels=np.array([0, 0, 0, 0]),
        label_names=NAMES,
    )
    assert found["count"] == 3
    assert found["outcomes"] == {"lost": 1, "won": 1, "still wrong": 1}


def test_flips_view_has_both_models_percentages_of_the_classes_in_question() -> None:
    found = flips_view(
        rows(DOG), rows(SHIP), images=images(1), labels=np.array([0]), label_names=NAMES
    )
    beliefs = found["shown"][0]["beliefs"]
    assert [(x["name"], round(x["baseline"]), round(x["variant"])) for x in beliefs] == [
        ("cat", 10, 10), ("dog", 90, 10), ("ship", 10, 90),
    ]  # fmt: skip
    assert [x["is_baseline_class"] for x in beliefs] == [False, True, False]
    assert [x["is_variant_class"] for x in beliefs] == [False, False, True]


def test_flips_view_shows_at_most_so_many_but_counts_all() -> None:
    count = SHOWN_FLIPS + 3
    found = flips_view(
        rows(*[CAT] * count),
        rows(*[DOG] * count),
        images=images(count),
        labels=np.zeros(count, np.int64),
        label_names=NAMES,
    )
    assert (found["count"], len(found["shown"])) == (count, SHOWN_FLIPS)


def test_flips_view_is_empty_when_nothing_changed() -> None:
    found = flips_view(
        rows(CAT), rows(CAT), images=images(1), labels=np.array([0]), label_names=NAMES
    )
    assert (found["count"], found["shown"]) == (0, [])
