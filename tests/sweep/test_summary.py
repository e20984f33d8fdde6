"""Summaries of made-up results whose answer is known."""

import json
import re
from typing import Any

import numpy as np
import pytest

from resnet8.sweep.enough import Enough, accuracy, agreement, compare, find_enough
from resnet8.sweep.summary import find_front, list_choices, list_draws, summarize
from tests.sweep.results import (
    BASELINE,
    CHANCE,
    N_IMAGES,
    USUAL,
    make_result,
    make_run,
    make_selection,
)

SEEDS = range(5)
Rows = list[Any]


def draws(n_lost: int, *, variant: str = "onnx_int8", seeds: Any = SEEDS, **changes: Any) -> Rows:
    """Runs that lose about as many images, mostly the same ones."""
    rows = []
    for seed in seeds:
        rng = np.random.default_rng([n_lost, seed, changes.get("calibrate__size", 0)])
        lost = [*range(n_lost), *(500 + rng.choice(400, 3, replace=False)).tolist()]
        run = make_run(variant, calibrate__seed=seed, **changes)
        rows.append((run, make_result(lost=sorted(lost))))
    return rows


def by_size(lost: dict[int, int], **changes: Any) -> Rows:
    """Runs with so many images lost by the number of calibration images."""
    return [
        row
        for size, n_lost in lost.items()
        for row in draws(n_lost, calibrate__size=size, **changes)
    ]


def by_size_of(figure: str, values: dict[int, Any], *, seeds: Any = SEEDS) -> Rows:
    """Runs with such a figure by the number of calibration images."""
    return [
        (make_run(calibrate__seed=seed, calibrate__size=size), make_result(**{figure: value}))
        for size, value in values.items()
        for seed in seeds
    ]


def enough(rows: Rows) -> Enough | None:
    return find_enough(make_selection(rows).settings)


def summary(rows: Rows, *, n_runs: int = 1, chance: float = CHANCE, **options: int) -> Any:
    return summarize(make_selection(rows, **options), n_runs=n_runs, chance=chance)


def settings_of(rows: Rows) -> dict[tuple[str, ...], Any]:
    return {(x["variant"], *x["changes"]): x for x in summary(rows)["settings"]}


def test_settings_are_the_runs_that_differ_only_in_the_seed() -> None:
    rows = by_size({10: 1, 20: 2}) + draws(3, fit__per_channel=False)
    settings = make_selection(rows).settings
    assert {(x.images, x.changes): sorted(x.results) for x in settings} == {
        (10, ()): list(SEEDS),
        (20, ()): list(SEEDS),
        (USUAL.calibrate.size, ("per_channel false",)): list(SEEDS),
    }


def test_compare_counts_won_and_lost_images_of_common_seeds() -> None:
    rows = [
        (make_run(calibrate__seed=0), make_result(lost=[1, 2], other=[9])),
        (make_run(calibrate__seed=1), make_result(lost=[1])),
        (make_run(calibrate__seed=0, calibrate__size=10), make_result(won=[5])),
        (make_run(calibrate__seed=2, calibrate__size=10), make_result(lost=range(100))),
    ]
    old, new = make_selection(rows).settings
    # One won, two not lost.
    assert compare(new, old, accuracy).mean == pytest.approx(3 / N_IMAGES)
    # Three changed before, one now.
    assert compare(new, old, agreement).mean == pytest.approx(2 / N_IMAGES)


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (by_size({10: 60, 50: 30, 100: 0, 500: 0, 1000: 0}), 100),
        (by_size({10: 0, 50: 0, 100: 0}), 10),
        (by_size({10: 0, 50: 60, 100: 0, 200: 0}), 100),  # every larger size must be the same
        (by_size({10: 60, 50: 50, 100: 0}), None),  # the last step still changes something
        (by_size_of("other", {10: range(50), 100: (), 1000: ()}), 100),  # agreement alone
    ],
)
def test_enough_is_the_smallest_size_from_which_on_nothing_changes(
    rows: Rows, expected: int | None
) -> None:
    found = enough(rows)
    assert (found.images, found.seeds) == (expected, 5)
    if expected is None:
        assert found.accuracy_room_pp is None
    else:
        assert 0 <= found.accuracy_room_pp < 1


def test_more_draws_leave_less_room_for_an_unnoticed_change() -> None:
    few = enough(by_size({10: 0, 100: 0}, seeds=range(2)))
    many = enough(by_size({10: 0, 100: 0}, seeds=range(20)))
    assert 0 < many.accuracy_room_pp < few.accuracy_room_pp


@pytest.mark.parametrize(
    ("torch", "expected"),
    [
        (
            {10: 60, 50: 0, 100: 0},  # the variant that needs most decides
            r"Beyond 50 images more calibration changes nothing measurable: up to 100 images "
            r"accuracy moves by at most \d.+\(95%, 5 draws\)",
        ),
        (
            {10: 60, 100: 0},
            r"More calibration still changes something measurable at 100 images \(torch_int8;",
        ),
    ],
)
def test_answer_is_about_all_variants(torch: dict[int, int], expected: str) -> None:
    rows = by_size({10: 0, 50: 0, 100: 0}) + by_size(torch, variant="torch_int8")
    assert re.match(expected, summary(rows)["answer"])


def test_no_answer_without_sizes() -> None:
    assert summary(draws(0))["answer"] is None


def test_summary_of_no_runs_is_empty_and_valid_json() -> None:
    found = summary([], n_runs=7)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert (found["n_finished"], found["n_runs"], found["settings"]) == (0, 7, [])


def test_summary_does_not_depend_on_the_order_of_runs() -> None:
    rows = by_size({10: 3, 1000: 1}) + draws(2, fit__per_channel=False)
    assert summary(rows) == summary(rows[::-1])


def test_spread_is_that_over_the_draws() -> None:
    lost = {0: 10, 1: 20, 2: 60}
    rows = [
        (make_run(calibrate__seed=seed), make_result(lost=range(n))) for seed, n in lost.items()
    ]
    (row,) = summary(rows)["settings"]
    values = [BASELINE - n / N_IMAGES for n in lost.values()]
    expected = (np.mean(values), np.std(values, ddof=1), min(values), max(values))
    spread = tuple(row["top1_accuracy"][x] for x in ("mean", "deviation", "low", "high"))
    assert spread == pytest.approx(expected, abs=1e-8)
    assert row["seeds"] == [0, 1, 2]
    (single,) = summary(rows[:1])["settings"]
    assert single["top1_accuracy"]["deviation"] is None


@pytest.mark.parametrize(
    ("chance", "expected"),
    [(0.1, False), (0.77, False), (0.79, True), (0.9, True)],  # its interval: 0.774 to 0.824
)
def test_a_baseline_that_is_chance_answers_no_question(chance: float, expected: bool) -> None:
    found = summary(by_size({10: 60, 50: 0, 100: 0}), chance=chance)
    assert (found["baseline_accuracy"], found["baseline_is_chance"]) == (BASELINE, expected)
    reason = (
        "The baseline is not measurably better than chance (right on 80.00% of 1,000 test images)"
    )
    assert found["answer"].startswith(reason) is expected
    assert ("changes nothing" in found["answer"]) is not expected


def test_settings_are_compared_with_the_default_of_their_variant() -> None:
    rows = draws(10) + draws(40, fit__per_channel=False) + draws(90, variant="torch_int8")
    rows += draws(0, fit__per_channel=False, variant="torch_int8")
    rows += draws(1, variant="onnx_uint8", calibrate__size=10)  # has no default
    found = settings_of(rows)
    above = {key: x["accuracy_above_default_pp"] for key, x in found.items()}
    assert [key for key, x in found.items() if x["is_default"]] == [("onnx_int8",), ("torch_int8",)]
    assert [key for key, x in above.items() if x is None] == [
        ("onnx_int8",), ("onnx_uint8",), ("torch_int8",),
    ]  # fmt: skip
    worse, better = (above[name, "per_channel false"] for name in ("onnx_int8", "torch_int8"))
    assert worse["mean"] == pytest.approx(-3, abs=0.3)
    assert worse["high"] < 0
    assert better["mean"] == pytest.approx(9, abs=0.3)
    assert better["low"] > 0


@pytest.mark.parametrize(
    ("divergences", "seeds", "expected", "words"),
    [
        ({10: 0.004, 100: 0.001, 1000: 0.001}, SEEDS, 100, "settles from 100 images on"),
        ({10: 0.004, 100: 0.003, 1000: 0.001}, SEEDS, None, "still changes at 1,000"),
        ({10: 0.010, 100: 0.001}, [0], 10, "settles from 10 images on"),  # one draw cannot tell
    ],
)
def test_divergence_has_a_number_of_its_own(
    divergences: Any, seeds: Any, expected: int | None, words: str
) -> None:
    rows = by_size_of("kl_divergence", divergences, seeds=seeds)
    noise = np.random.default_rng(0).normal(0, 1e-5, len(rows))
    rows = [
        (run, result._replace(kl_divergence=result.kl_divergence + x))
        for (run, result), x in zip(rows, noise, strict=True)
    ]
    found = enough(rows)
    assert (found.divergence_images, found.images) == (expected, 10)
    assert words in summary(rows)["answer"]


def test_summary_counts_the_runs_of_earlier_versions() -> None:
    found = summary(draws(0), n_runs=5, n_earlier=2, n_other_model=3)
    counts = ("n_finished", "n_earlier", "n_other_model", "n_other_data")
    assert [found[name] for name in counts] == [5, 2, 3, 0]
    assert [row["n_earlier"] for row in found["settings"]] == [2]
    assert found["note"].startswith("5 runs, 2 of them measured with an earlier version;")


def test_front_has_the_points_that_no_other_beats() -> None:
    points = [(100, 0.8), (90, 0.7), (120, 0.9), (110, 0.8), (95, 0.6), (130, 0.9), (100, 0.8)]
    assert find_front(points) == [True, True, True, False, False, False, True]


def test_front_is_one_for_each_format_of_files() -> None:
    rows = [
        (make_run(variant, fit__per_channel=per_channel), make_result(file_bytes=n, lost=lost))
        for variant, per_channel, n, lost in (
            ("onnx_int8", True, 100, [1]),
            ("onnx_uint8", True, 110, [1]),
            ("onnx_int8", False, 90, [1, 2]),
            ("torch_int8", True, 300, [1, 2, 3]),
        )
    ]
    assert {key: x["on_front"] for key, x in settings_of(rows).items()} == {
        ("onnx_int8",): True,
        ("onnx_uint8",): False,
        ("onnx_int8", "per_channel false"): True,
        ("torch_int8",): True,
    }


def test_tables_have_a_row_for_each_usual_draw_and_for_each_setting() -> None:
    rows = by_size({10: 1, 1000: 0}, seeds=[0, 1]) + draws(5, fit__per_channel=False)
    table = list_draws(make_selection(rows).settings)
    assert [x[1:3] for x in table] == [(10, 0), (10, 1), (1000, 0), (1000, 1)]
    assert table[0][3] == pytest.approx(100 * (BASELINE - 4 / N_IMAGES))
    choices = list_choices(summary(rows))
    assert [x[1] for x in choices] == [
        "10 images",
        "1,000 images",
        "per_channel false, 1,000 images",
    ]
    _, _, file_kb, mean, low, high, *_ = choices[0]
    assert file_kb == 100
    assert low <= mean <= high
