"""The report's section about the sweep."""

from typing import Any

import pytest

from resnet8.report.data import view
from resnet8.report.page import render
from resnet8.report.sweep import BEST, settings_table, sweep_view
from resnet8.sweep.summary import summarize
from tests.report_inputs import make_inputs, make_summary
from tests.sweep.results import CHANCE, make_selection


@pytest.fixture(scope="module")
def summary() -> dict[str, Any]:
    return make_summary()


def page(summary: dict[str, Any]) -> str:
    return render(view(make_inputs()._replace(sweep=summary)), vega="")


def test_tables_have_the_best_settings_and_the_defaults(summary: dict[str, Any]) -> None:
    tables = sweep_view(summary)
    assert len(tables["all"].rows) == 8
    assert len(tables["best"].rows) <= BEST + 2
    settings = {(row["variant"].text, row["settings"].text) for row in tables["best"].rows}
    assert settings >= {("onnx_int8", "default"), ("torch_int8", "default")}


def test_table_compares_with_the_default_of_the_variant(summary: dict[str, Any]) -> None:
    table = settings_table("caption", summary, 100)
    found = {
        row["settings"].text.removesuffix(", on the front"): row["accuracy above default, pp"].text
        for row in table.rows
        if row["variant"].text == "onnx_int8"
    }
    assert found["default"] == "default"
    assert found["10 images"].startswith("+1.00 (")  # ten fewer images are lost
    assert found["per_channel false, 10 images"].startswith("-0.50 (")


def test_table_of_single_draws_has_no_deviation() -> None:
    table = settings_table("caption", make_summary(n_seeds=1), 100)
    assert not any("±" in row["top-1 % (± of draws)"].text for row in table.rows)


def test_page_has_the_answer_and_what_is_missing(summary: dict[str, Any]) -> None:
    html = page(summary)
    assert summary["answer"] in html
    assert "24 of 25 runs are finished; <code>make sweep</code> makes the others." in html
    assert "8 settings in 24 finished runs" in html


def test_table_counts_runs_of_an_earlier_version_among_others(summary: dict[str, Any]) -> None:
    default, *others = summary["settings"]
    mixed = summary | {"n_earlier": 2, "settings": [default | {"n_earlier": 2}, *others]}
    draws = [row["draws"].text for row in settings_table("caption", mixed, 100).rows]
    assert sorted(draws) == ["3"] * 7 + ["3 (2 earlier)"]
    all_earlier = summary | {"n_earlier": 24, "settings": [x | {"n_earlier": 3} for x in others]}
    assert {row["draws"].text for row in settings_table("caption", all_earlier, 100).rows} == {"3"}


def test_page_without_runs_tells_how_to_make_them() -> None:
    none = summarize(make_selection([]), n_runs=7, chance=CHANCE)
    assert "these data; <code>make sweep</code> makes all 7." in page(none)
