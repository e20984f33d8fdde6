"""The report's section about the sweep."""

from typing import Any

import pytest

from resnet8.report.data import view
from resnet8.report.page import render
from resnet8.report.sweep import BEST, by_images, front, settings_table, sweep_charts, sweep_view
from resnet8.sweep.summary import summarize
from tests.report_inputs import make_inputs, make_summary
from tests.sweep.results import BASELINE, CHANCE, USUAL, make_selection


@pytest.fixture(scope="module")
def summary() -> dict[str, Any]:
    return make_summary()


def test_view_has_the_best_settings_and_the_defaults(summary: dict[str, Any]) -> None:
    found = sweep_view(summary)
    assert found["n_settings"] == len(found["all"].rows) == 8
    assert len(found["best"].rows) <= BEST + 2
    settings = {(row[0].text, row[1].text) for row in found["best"].rows}
    assert settings >= {("onnx_int8", "default"), ("torch_int8", "default")}


def test_table_compares_with_the_default_of_the_variant(summary: dict[str, Any]) -> None:
    table = settings_table("caption", summary, 100)
    above = table.columns.index("accuracy above default, pp")
    found = {
        (row[0].text, row[1].text.removesuffix(", on the front")): row[above].text
        for row in table.rows
    }
    assert found["onnx_int8", "default"] == "default"
    assert found["onnx_int8", "10 images"].startswith("+1.00 (")  # ten images lost less
    assert found["onnx_int8", "per_channel false, 10 images"].startswith("-0.50 (")


def test_table_of_single_draws_has_no_deviation() -> None:
    table = settings_table("caption", make_summary(n_seeds=1), 100)
    column = table.columns.index("top-1 % (± of draws)")
    assert not any("±" in row[column].text for row in table.rows)


def test_charts_show_the_default_settings_by_images(summary: dict[str, Any]) -> None:
    values = sweep_charts(summary)["sweep-accuracy"]["data"]["values"]
    assert [(row["variant"], row["images"], row["draws"]) for row in values] == [
        (variant, images, 3)
        for variant in ("onnx_int8", "torch_int8")
        for images in (10, 100, USUAL.calibrate.size)
    ]
    first = values[0]
    assert (first["low"], first["high"]) == pytest.approx((100 * BASELINE - 0.2, 100 * BASELINE))


def test_points_of_variants_lie_around_their_number_of_images(summary: dict[str, Any]) -> None:
    usual = [row for row in summary["settings"] if not row["changes"]]
    values = by_images(usual, "agreement", "title")["data"]["values"]
    product = 1.0
    for row in values:
        product *= row["place"] / row["images"]
    assert product == pytest.approx(1)
    assert len({row["place"] for row in values}) == len(values)


def test_front_has_a_chart_for_each_format(summary: dict[str, Any]) -> None:
    found = sweep_charts(summary)
    assert {name for name in found if "front" in name} == {"sweep-front-onnx", "sweep-front-torch"}
    values = found["sweep-front-onnx"]["data"]["values"]
    assert {row["variant"] for row in values} == {"onnx_int8"}
    assert sum(row["on_front"] for row in values) == 2  # the most accurate and the smallest


def test_front_of_files_of_one_size_has_a_range(summary: dict[str, Any]) -> None:
    spec = front(summary["settings"][:1], baseline=BASELINE)
    low, high = spec["layer"][0]["encoding"]["x"]["scale"]["domain"]
    assert low < high


def test_page_says_the_answer_and_what_is_missing() -> None:
    html = render(view(make_inputs()), vega="")
    assert make_summary()["answer"] in html
    assert "24 of 25 runs are finished; <code>make sweep</code> makes the others." in html
    assert "8 settings in 24 finished runs" in html


def test_page_and_tables_say_which_runs_an_earlier_version_made(summary: dict[str, Any]) -> None:
    default, *others = summary["settings"]
    mixed = summary | {
        "n_earlier": 2,
        "note": "24 runs, 2 of them measured with an earlier version; `make sweep` renews them.",
        "settings": [default | {"n_earlier": 2}, *others],
    }
    html = render(view(make_inputs()._replace(sweep=mixed)), vega="")
    assert (
        "2 of them measured with an earlier version; <code>make sweep</code> renews them." in html
    )
    draws = [row[2].text for row in settings_table("caption", mixed, 100).rows]
    assert sorted(draws) == ["3"] * 7 + ["3 (2 earlier)"]
    all_earlier = summary | {"n_earlier": 24, "settings": [x | {"n_earlier": 3} for x in others]}
    assert {row[2].text for row in settings_table("caption", all_earlier, 100).rows} == {"3"}


def test_page_without_runs_says_how_to_make_them() -> None:
    none = summarize(make_selection([]), USUAL, n_runs=7, chance=CHANCE)
    assert sweep_charts(none) == {}
    html = render(view(make_inputs()._replace(sweep=none)), vega="")
    assert "these data; <code>make sweep</code> makes all 7." in html
