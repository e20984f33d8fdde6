"""Summaries of made-up results whose answer is known."""

import json
from typing import Any

import numpy as np
import pytest

from resnet8.sweep.plot_data import list_choices, list_draws
from resnet8.sweep.selection import Row
from resnet8.sweep.settings import compare_accuracy, compare_agreement, group
from resnet8.sweep.summary import find_enough, find_front, summarize
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
DEFAULT_SIZE = USUAL.calibrate.size


def draws(n_lost: int, *, variant: str = "onnx_int8", seeds: Any = SEEDS, **changes: Any) -> Any:
    """Runs that lose about as many images, mostly the same ones."""
    found = []
    for seed in seeds:
        rng = np.random.default_rng([n_lost, seed, changes.get("calibrate__size", 0)])
        lost = [*range(n_lost), *(500 + rng.choice(400, 3, replace=False)).tolist()]
        run = make_run(variant, calibrate__seed=seed, **changes)
        found.append(Row(run, make_result(lost=sorted(lost))))
    return found


def by_size(lost: dict[int, int], **changes: Any) -> Any:
    """Rows with so many images lost by the number of calibration images."""
    return [
        row
        for size, n_lost in lost.items()
        for row in draws(n_lost, calibrate__size=size, **changes)
    ]


def enough(rows: Any) -> Any:
    return find_enough(group(rows, USUAL))


def test_group_gathers_what_differs_only_in_the_seed() -> None:
    rows = by_size({10: 1, 20: 2}) + draws(3, fit__per_channel=False)
    found = {(x.images, x.changes): sorted(x.results) for x in group(rows, USUAL)}
    assert found == {
        (10, ()): list(SEEDS),
        (20, ()): list(SEEDS),
        (DEFAULT_SIZE, ("per_channel false",)): list(SEEDS),
    }


def test_compare_counts_won_and_lost_images_of_common_seeds() -> None:
    old, new = group(
        [
            Row(make_run(calibrate__seed=0), make_result(lost=[1, 2], other=[9])),
            Row(make_run(calibrate__seed=1), make_result(lost=[1])),
            Row(make_run(calibrate__seed=0, calibrate__size=10), make_result(won=[5])),
            Row(make_run(calibrate__seed=2, calibrate__size=10), make_result(lost=range(100))),
        ],
        USUAL,
    )
    accuracy = compare_accuracy(new, old, confidence=0.95)
    agreement = compare_agreement(new, old, confidence=0.95)
    assert accuracy.mean == pytest.approx(3 / N_IMAGES)  # one won, two not lost
    assert agreement.mean == pytest.approx(2 / N_IMAGES)  # three changed before, one now


def test_enough_is_the_smallest_size_from_which_on_nothing_changes() -> None:
    assert enough(by_size({10: 60, 50: 30, 100: 0, 500: 0, 1000: 0})).images == 100


def test_enough_is_all_where_size_does_not_matter() -> None:
    found = enough(by_size({10: 0, 50: 0, 100: 0}))
    assert (found.images, found.largest, found.seeds) == (10, 100, 5)
    assert 0 < found.accuracy_room_pp < 1


def test_enough_is_none_where_the_last_step_still_changes_something() -> None:
    found = enough(by_size({10: 60, 50: 50, 100: 0}))
    assert found.images is None
    assert found.accuracy_room_pp is None


def test_enough_needs_every_larger_size_to_be_the_same() -> None:
    assert enough(by_size({10: 0, 50: 60, 100: 0, 200: 0})).images == 100


def test_enough_notices_agreement_where_accuracy_stays() -> None:
    rows = [
        Row(
            make_run(calibrate__seed=seed, calibrate__size=size),
            make_result(other=range(n_other)),
        )
        for size, n_other in {10: 50, 100: 0, 1000: 0}.items()
        for seed in SEEDS
    ]
    assert enough(rows).images == 100


def test_enough_tells_what_it_would_not_have_noticed() -> None:
    few = enough(by_size({10: 0, 100: 0}, seeds=range(2)))
    many = enough(by_size({10: 0, 100: 0}, seeds=range(20)))
    assert many.accuracy_room_pp < few.accuracy_room_pp


def test_answer_takes_the_worst_variant() -> None:
    rows = by_size({10: 0, 50: 0, 100: 0}) + by_size({10: 60, 50: 0, 100: 0}, variant="torch_int8")
    answer = summarize(make_selection(rows), USUAL, n_runs=30, chance=CHANCE)["answer"]
    assert answer.startswith("Beyond 50 images more calibration changes nothing measurable:")
    assert "up to 100 images accuracy moves by at most" in answer
    assert "(95%, 5 draws)" in answer


def test_answer_names_the_variant_that_needs_more() -> None:
    rows = by_size({10: 0, 100: 0}) + by_size({10: 60, 100: 0}, variant="torch_int8")
    answer = summarize(make_selection(rows), USUAL, n_runs=20, chance=CHANCE)["answer"]
    assert answer.startswith("More calibration still changes something measurable at 100 images")
    assert "(torch_int8;" in answer


def test_no_answer_without_sizes() -> None:
    assert summarize(make_selection(draws(0)), USUAL, n_runs=5, chance=CHANCE)["answer"] is None


def test_summary_of_no_runs_is_empty_and_valid_json() -> None:
    summary = summarize(make_selection([]), USUAL, n_runs=7, chance=CHANCE)
    assert json.loads(json.dumps(summary, allow_nan=False)) == summary
    assert (summary["n_finished"], summary["n_runs"], summary["settings"]) == (0, 7, [])


def test_summary_says_the_same_in_every_order_of_rows() -> None:
    rows = by_size({10: 3, 1000: 1}) + draws(2, fit__per_channel=False)
    assert summarize(make_selection(rows), USUAL, n_runs=1, chance=CHANCE) == summarize(
        make_selection(rows[::-1]), USUAL, n_runs=1, chance=CHANCE
    )


def test_summary_gives_mean_deviation_and_ends_over_the_draws() -> None:
    lost = {0: 10, 1: 20, 2: 60}
    rows = [
        Row(make_run(calibrate__seed=seed), make_result(lost=range(n))) for seed, n in lost.items()
    ]
    (row,) = summarize(make_selection(rows), USUAL, n_runs=3, chance=CHANCE)["settings"]
    values = [BASELINE - n / N_IMAGES for n in lost.values()]
    expected = (np.mean(values), np.std(values, ddof=1), min(values), max(values))
    found = tuple(row["top1_accuracy"][x] for x in ("mean", "deviation", "low", "high"))
    assert found == pytest.approx(expected, abs=1e-8)
    assert row["seeds"] == [0, 1, 2]


def test_one_draw_has_no_deviation() -> None:
    selection = make_selection(draws(1, seeds=[0]))
    (row,) = summarize(selection, USUAL, n_runs=1, chance=CHANCE)["settings"]
    assert row["top1_accuracy"]["deviation"] is None


def test_baseline_accuracy_comes_out_of_any_run() -> None:
    rows = [Row(make_run(), make_result(lost=range(50), won=range(60, 70)))]
    assert (
        summarize(make_selection(rows), USUAL, n_runs=1, chance=CHANCE)["baseline_accuracy"]
        == BASELINE
    )


@pytest.mark.parametrize(
    ("chance", "expected"),
    [(0.1, False), (0.77, False), (0.79, True), (0.9, True)],  # its interval: 0.774 to 0.824
)
def test_a_baseline_that_is_chance_answers_no_question(chance: float, expected: bool) -> None:
    rows = by_size({10: 60, 50: 0, 100: 0})
    summary = summarize(make_selection(rows), USUAL, n_runs=15, chance=chance)
    assert summary["baseline_is_chance"] is expected
    said = (
        "The baseline is not measurably better than chance (right on 80.00% of 1,000 test images)"
    )
    assert summary["answer"].startswith(said) is expected
    assert ("changes nothing" in summary["answer"]) is not expected


def test_settings_are_compared_with_the_default_of_their_variant() -> None:
    rows = draws(10) + draws(40, fit__per_channel=False) + draws(90, variant="torch_int8")
    rows += draws(0, fit__per_channel=False, variant="torch_int8")
    found = {
        (x["variant"], *x["changes"]): x
        for x in summarize(make_selection(rows), USUAL, n_runs=1, chance=CHANCE)["settings"]
    }
    assert found[("onnx_int8",)]["is_default"]
    assert found[("onnx_int8",)]["accuracy_above_default_pp"] is None
    worse = found[("onnx_int8", "per_channel false")]["accuracy_above_default_pp"]
    better = found[("torch_int8", "per_channel false")]["accuracy_above_default_pp"]
    assert worse["mean"] == pytest.approx(-3, abs=0.3)
    assert worse["high"] < 0
    assert better["mean"] == pytest.approx(9, abs=0.3)
    assert better["low"] > 0


@pytest.mark.parametrize(
    ("divergences", "expected", "words"),
    [
        ({10: 0.004, 100: 0.001, 1000: 0.001}, 100, "settles from 100 images on"),
        ({10: 0.004, 100: 0.003, 1000: 0.001}, None, "still changes at 1,000"),
    ],
)
def test_divergence_has_a_number_of_its_own(divergences: Any, expected: Any, words: str) -> None:
    rows = [
        Row(
            make_run(calibrate__seed=seed, calibrate__size=size),
            make_result(kl_divergence=kl + 1e-5 * np.random.default_rng([seed, size]).normal()),
        )
        for size, kl in divergences.items()
        for seed in SEEDS
    ]
    found = enough(rows)
    assert found.divergence_images == expected
    assert found.images == 10
    assert words in summarize(make_selection(rows), USUAL, n_runs=15, chance=CHANCE)["answer"]


def test_one_draw_cannot_tell_that_divergence_changes() -> None:
    rows = [
        Row(make_run(calibrate__size=size), make_result(kl_divergence=kl))
        for size, kl in {10: 0.01, 100: 0.001}.items()
    ]
    assert enough(rows).divergence_images == 10


def test_settings_without_a_default_are_not_compared() -> None:
    (row,) = summarize(
        make_selection(draws(1, calibrate__size=10)), USUAL, n_runs=1, chance=CHANCE
    )["settings"]
    assert not row["is_default"]
    assert row["accuracy_above_default_pp"] is None


def test_summary_counts_the_runs_of_earlier_versions() -> None:
    rows = [row._replace(is_earlier=n < 2) for n, row in enumerate(draws(0))]
    summary = summarize(make_selection(rows, n_other_model=3), USUAL, n_runs=5, chance=CHANCE)
    counts = ("n_finished", "n_earlier", "n_other_model", "n_other_data")
    assert [summary[name] for name in counts] == [5, 2, 3, 0]
    assert [row["n_earlier"] for row in summary["settings"]] == [2]
    assert summary["note"].startswith("5 runs, 2 of them measured with an earlier version;")


def test_front_has_the_points_that_no_other_beats() -> None:
    points = [(100, 0.8), (90, 0.7), (120, 0.9), (110, 0.8), (95, 0.6), (130, 0.9), (100, 0.8)]
    assert find_front(points) == [True, True, True, False, False, False, True]


def test_front_is_one_for_each_format_of_files() -> None:
    rows = [
        Row(make_run(variant, fit__per_channel=per_channel), make_result(file_bytes=n, lost=lost))
        for variant, per_channel, n, lost in (
            ("onnx_int8", True, 100, [1]),
            ("onnx_uint8", True, 110, [1]),
            ("onnx_int8", False, 90, [1, 2]),
            ("torch_int8", True, 300, [1, 2, 3]),
        )
    ]
    settings = summarize(make_selection(rows), USUAL, n_runs=4, chance=CHANCE)["settings"]
    found = {(x["variant"], *x["changes"]): x["on_front"] for x in settings}
    assert found == {
        ("onnx_int8",): True,
        ("onnx_uint8",): False,
        ("onnx_int8", "per_channel false"): True,
        ("torch_int8",): True,
    }


def test_draws_are_those_with_the_usual_settings() -> None:
    rows = by_size({10: 1, 1000: 0}, seeds=[0, 1]) + draws(5, fit__per_channel=False)
    found = list_draws(rows, USUAL)
    assert [(x.images, x.seed) for x in found] == [(10, 0), (10, 1), (1000, 0), (1000, 1)]
    assert found[0].accuracy_percent == pytest.approx(100 * (BASELINE - 4 / N_IMAGES))


def test_choices_have_a_row_for_each_setting() -> None:
    rows = by_size({10: 1}) + draws(5, fit__per_channel=False)
    found = list_choices(summarize(make_selection(rows), USUAL, n_runs=1, chance=CHANCE))
    assert [x.settings for x in found] == ["10 images", "per_channel false, 1,000 images"]
    assert found[0].file_kb == 100
    assert found[0].low_percent <= found[0].accuracy_percent <= found[0].high_percent
