"""The report's section about the sweep."""

from typing import Any

import pytest

from resnet8.report.data import view
from resnet8.report.page import render
from resnet8.report.sweep import BEST, settings_table, sweep_view
from resnet8.sweep.summary import summarize
from tests.report_inputs import make_inputs, make_summary
from tests.sweep.results import CHANCE, make_selection

VARIANT, SETTINGS, DRAWS, _, TOP1, _, _, ABOVE, _ = range(9)  # columns


@pytest.fixture(scope="module")
def summary() -> dict[str, Any]:
    return make_summary()


def test_tables_have_the_best_settings_and_the_defaults(summary: dict[str, Any]) -> None:
    tables = sweep_view(summary)
    assert len(tables["all"].lines) == 1 + 8
    assert len(tables["best"].lines) <= 1 + BEST + 2
    settings = {(line[VARIANT], line[SETTINGS]) for line in tables["best"].lines}
    assert settings >= {("onnx_int8", "default"), ("torch_int8", "default")}


def test_settings_are_compared_with_the_default_of_the_variant(summary: dict[str, Any]) -> None:
    found = {
        line[SETTINGS].removesuffix(", on the front"): (line[ABOVE].split(" (")[0], line[TOP1])
        for line in settings_table("", summary, 100).lines
        if line[VARIANT] == "onnx_int8"
    }
    assert found["default"] == ("default", "78.90 ± 0.10")
    assert found["10 images"] == ("+1.00", "79.90 ± 0.10")  # ten fewer images are lost
    assert found["per_channel false, 10 images"][0] == "-0.50"


def test_settings_of_single_draws_have_no_deviation() -> None:
    _, *lines = settings_table("", make_summary(n_seeds=1), 100).lines
    assert not any("±" in line[TOP1] for line in lines)


def test_settings_count_runs_of_an_earlier_version_among_others(summary: dict[str, Any]) -> None:
    default, *others = summary["settings"]

    def draws(**changes: Any) -> list[str]:
        _, *lines = settings_table("", summary | changes, 100).lines
        return sorted(line[DRAWS] for line in lines)

    mixed = draws(n_earlier=2, settings=[default | {"n_earlier": 2}, *others])
    assert mixed == ["3"] * 7 + ["3 (2 earlier)"]
    assert set(draws(n_earlier=24, settings=[x | {"n_earlier": 3} for x in others])) == {"3"}


def test_page_has_the_answer_and_tells_how_to_make_missing_runs(summary: dict[str, Any]) -> None:
    none = summarize(make_selection([]), n_runs=7, chance=CHANCE)
    for content, expected in (
        (summary, [
            summary["answer"], "8 settings in 24 finished runs",
            "24 of 25 runs are finished; <code>make sweep</code> makes the others.",
        ]),
        (none, ["these data; <code>make sweep</code> makes all 7."]),
    ):  # fmt: skip
        inputs = make_inputs()
        results = {**inputs.results, "sweep": content}
        html = render(view(inputs._replace(results=results)), vega="")
        assert [words for words in expected if words not in html] == []
