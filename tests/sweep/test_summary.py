"""Summaries of made-up results whose answer is known."""

import json
import re
from typing import Any

import numpy as np
import pytest

from resnet8.sweep.enough import accuracy, agreement, compare
from resnet8.sweep.summary import list_choices, list_draws, summarize
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


def summary(rows: Rows, *, n_runs: int = 1, chance: float = CHANCE, **options: int) -> Any:
    return summarize(make_selection(rows, **options), n_runs=n_runs, chance=chance)


def settings_of(rows: Rows) -> dict[tuple[str, ...], Any]:
    return {(x["variant"], *x["changes"]): x for x in summary(rows)["settings"]}


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
    (row,) = summary(rows)["enough"]
    assert (row["images"], row["seeds"]) == (expected, 5)
    room = row["accuracy_room_pp"]
    assert room is None if expected is None else 0 <= room < 1


def test_more_draws_leave_less_room_for_an_unnoticed_change() -> None:
    few, many = (
        summary(by_size({10: 0, 100: 0}, seeds=range(n)))["enough"][0]["accuracy_room_pp"]
        for n in (2, 20)
    )
    assert 0 < many < few


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        # The variant that needs most decides.
        (by_size({10: 0, 50: 0, 100: 0}) + by_size({10: 60, 50: 0, 100: 0}, variant="torch_int8"),
         r"Beyond 50 images more calibration changes nothing measurable: up to 100 images "
         r"accuracy moves by at most \d.+\(95%, 5 draws\)"),
        (by_size({10: 0, 50: 0, 100: 0}) + by_size({10: 60, 100: 0}, variant="torch_int8"),
         r"More calibration still changes something measurable at 100 images \(torch_int8;"),
        (draws(0), "None"),  # nothing to compare
    ],
)  # fmt: skip
def test_answer_is_about_all_variants(rows: Rows, expected: str) -> None:
    assert re.match(expected, str(summary(rows)["answer"]))


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
    fields = summary([
        (run, result._replace(kl_divergence=result.kl_divergence + x))
        for (run, result), x in zip(rows, noise, strict=True)
    ])  # fmt: skip
    (row,) = fields["enough"]
    assert (row["divergence_images"], row["images"]) == (expected, 10)
    assert words in fields["answer"]


@pytest.mark.parametrize(
    ("chance", "expected"),
    [(0.1, False), (0.77, False), (0.79, True), (0.9, True)],  # its interval: 0.774 to 0.824
)
def test_a_baseline_that_is_chance_answers_no_question(chance: float, expected: bool) -> None:
    fields = summary(by_size({10: 60, 50: 0, 100: 0}), chance=chance)
    assert (fields["baseline_accuracy"], fields["baseline_is_chance"]) == (BASELINE, expected)
    reason = (
        "The baseline is not measurably better than chance (right on 80.00% of 1,000 test images)"
    )
    assert fields["answer"].startswith(reason) is expected
    assert ("changes nothing" in fields["answer"]) is not expected


def test_summary_of_no_runs_is_empty_and_valid_json() -> None:
    fields = summary([], n_runs=7)
    assert json.loads(json.dumps(fields, allow_nan=False)) == fields
    assert (fields["n_finished"], fields["n_runs"], fields["settings"]) == (0, 7, [])


def test_settings_are_the_runs_that_differ_only_in_the_seed_whatever_their_order() -> None:
    rows = by_size({10: 1, 20: 2}) + draws(3, fit__per_channel=False)
    fields = summary(rows)
    assert [(x["images"], x["changes"], x["seeds"]) for x in fields["settings"]] == [
        (10, [], list(SEEDS)),
        (20, [], list(SEEDS)),
        (USUAL.calibrate.size, ["per_channel false"], list(SEEDS)),
    ]
    assert fields == summary(rows[::-1])


def test_spread_is_that_over_the_draws() -> None:
    lost = {0: 10, 1: 20, 2: 60}
    rows = [(make_run(calibrate__seed=x), make_result(lost=range(n))) for x, n in lost.items()]
    (row,) = summary(rows)["settings"]
    values = [BASELINE - n / N_IMAGES for n in lost.values()]
    expected = (np.mean(values), np.std(values, ddof=1), min(values), max(values))
    spread = tuple(row["top1_accuracy"][x] for x in ("mean", "deviation", "low", "high"))
    assert spread == pytest.approx(expected, abs=1e-8)
    (single,) = summary(rows[:1])["settings"]
    assert single["top1_accuracy"]["deviation"] is None


def test_settings_are_compared_with_the_default_of_their_variant() -> None:
    rows = draws(10) + draws(40, fit__per_channel=False) + draws(90, variant="torch_int8")
    rows += draws(0, fit__per_channel=False, variant="torch_int8")
    rows += draws(1, variant="onnx_uint8", calibrate__size=10)  # has no default
    settings = settings_of(rows)
    above = {key: x["accuracy_above_default_pp"] for key, x in settings.items()}
    assert [key for key, x in settings.items() if x["is_default"]] == [
        ("onnx_int8",),
        ("torch_int8",),
    ]
    assert [key for key, x in above.items() if x is None] == [
        ("onnx_int8",), ("onnx_uint8",), ("torch_int8",),
    ]  # fmt: skip
    worse, better = (above[name, "per_channel false"] for name in ("onnx_int8", "torch_int8"))
    assert worse["mean"] == pytest.approx(-3, abs=0.3)
    assert worse["high"] < 0
    assert better["mean"] == pytest.approx(9, abs=0.3)
    assert better["low"] > 0


@pytest.mark.parametrize(
    ("n_finished", "n_earlier", "n_runs", "others", "expected"),
    [
        (4, 0, 4, {}, ""),
        (4, 4, 4, {},
         "Measured with an earlier version: 4 of 4 finished runs; `make sweep` renews them."),
        (3, 0, 4, {}, "3 of 4 runs are finished; `make sweep` makes the others."),
        (3, 2, 4, {},
         "3 of 4 runs are finished; `make sweep` makes the others. Measured with an earlier "
         "version: 2 of 3 finished runs; `make sweep` renews them."),
        (0, 0, 0, {}, "The grid has no runs."),
        (0, 0, 4, {"n_other_model": 278, "n_other_data": 1},
         "No run of the grid is finished for this model and these data; `make sweep` makes all 4. "
         "Runs of another model in the record, not shown: 278. Runs on other data in the record, "
         "not shown: 1."),
    ],
)  # fmt: skip
def test_note_describes_missing_outdated_and_excluded_runs(
    n_finished: int, n_earlier: int, n_runs: int, others: dict[str, int], expected: str
) -> None:
    rows = [(make_run(calibrate__seed=n), make_result()) for n in range(n_finished)]
    fields = summary(rows, n_runs=n_runs, n_earlier=n_earlier, **others)
    assert fields["note"] == expected
    counts = {"n_finished": n_finished, "n_earlier": n_earlier, "n_other_model": 0} | others
    assert fields.items() >= counts.items()
    assert [x["n_earlier"] for x in fields["settings"]] == [n_earlier] * (n_finished > 0)


def test_front_has_the_settings_that_no_other_of_the_runtime_beats() -> None:
    rows = [
        (make_run(variant, calibrate__size=number + 1), make_result(file_bytes=n, lost=range(lost)))
        for number, (variant, n, lost) in enumerate([
            ("onnx_int8", 100, 20), ("onnx_uint8", 90, 30), ("onnx_int8", 120, 10),
            ("onnx_int8", 110, 20), ("onnx_uint8", 95, 40), ("onnx_int8", 130, 10),
            ("onnx_uint8", 100, 20), ("torch_int8", 300, 50),
        ])
    ]  # fmt: skip
    front = {row["images"]: row["on_front"] for row in summary(rows)["settings"]}
    # Runs 1 and 7 are equal; files of another runtime have another format.
    assert [number for number in range(1, 9) if front[number]] == [1, 2, 3, 7, 8]


def test_tables_have_a_row_for_each_usual_draw_and_for_each_setting() -> None:
    rows = by_size({10: 1, 1000: 0}, seeds=[0, 1]) + draws(5, fit__per_channel=False)
    table = list_draws(make_selection(rows).settings)
    assert [x[1:3] for x in table] == [(10, 0), (10, 1), (1000, 0), (1000, 1)]
    assert table[0][3] == pytest.approx(100 * (BASELINE - 4 / N_IMAGES))
    choices = list_choices(summary(rows))
    assert [x[1] for x in choices] == [
        "10 images", "1,000 images", "per_channel false, 1,000 images",
    ]  # fmt: skip
    _, _, file_kb, mean, low, high, *_ = choices[0]
    assert file_kb == 100
    assert low <= mean <= high
