"""The page and the templates with which DVC draws offline."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from resnet8.core.variants import QUANTIZED_VARIANTS
from resnet8.report.figures import palette
from tests.browser import links
from tests.pipeline.commands import ROOT
from tools.make_plots_page import PAGE, inline_script, make_page

TEMPLATES = sorted((ROOT / ".dvc" / "plots").glob("*.json"))


def test_the_page_is_what_the_tool_makes() -> None:
    assert PAGE.read_bytes() == make_page().encode()


def test_the_page_is_the_one_that_dvc_is_told_to_use() -> None:
    config = (ROOT / ".dvc" / "config").read_text()
    name = re.search(r"^\[plots\]\n\s+html_template = (.+)$", config, re.MULTILINE)[1]
    assert (ROOT / ".dvc" / name).resolve() == PAGE


def test_the_page_has_the_marks_of_dvc_but_the_one_for_its_scripts() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert text.count("{plot_divs}") == text.count("{refresh_tag}") == 1
    assert "{scripts}" not in text


def test_the_page_names_no_other_file() -> None:
    assert links(PAGE.read_text(encoding="utf-8")) == []


def test_the_page_carries_the_licence_of_vega() -> None:
    head = PAGE.read_text(encoding="utf-8").split("<script>")[0]
    assert "Copyright (c) 2015-2023, University of Washington Interactive Data Lab" in head
    assert "Redistribution and use in source and binary forms" in head


@pytest.mark.parametrize(
    ("code", "inlined"),
    [
        ('x = "</script>"', r'x = "<\/script>"'),
        ('x = "</SCRIPT >"', r'x = "<\/SCRIPT >"'),
        ('x = "<!-- <script>"', r'x = "<\!-- <script>"'),
        ("a < b && c </d/.test(e)", "a < b && c </d/.test(e)"),
    ],
)
def test_inline_script_escapes_what_would_end_it(code: str, inlined: str) -> None:
    assert inline_script(code) == inlined


def test_every_plot_has_a_template_and_every_template_a_plot() -> None:
    plots = yaml.safe_load((ROOT / "dvc.yaml").read_text())["plots"]
    used = {plot["template"] for definition in plots for plot in definition.values()}
    assert used == {path.stem for path in TEMPLATES}


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.stem)
def test_template_takes_data_title_and_labels_from_dvc(path: Path) -> None:
    anchors = set(re.findall(r"<DVC_METRIC_(\w+)>", path.read_text(encoding="utf-8")))
    assert anchors == {"DATA", "TITLE", "X", "X_LABEL", "Y", "Y_LABEL"}


def colours(template: Any) -> dict[str, str]:
    """The colours of known variants in a template."""
    (expression,) = (x["calculate"] for x in template["transform"] if x.get("as") == "colour")
    return dict(re.findall(r"(\w+): '(#\w+)'", expression))


@pytest.mark.parametrize("name", ["class_accuracy", "sqnr_profile"])
def test_template_has_the_colours_of_the_pictures(name: str) -> None:
    template = json.loads((ROOT / ".dvc" / "plots" / f"{name}.json").read_text(encoding="utf-8"))
    found = colours(template)
    expected = {variant: palette.VARIANTS[variant] for variant in QUANTIZED_VARIANTS}
    assert {variant: found[variant] for variant in QUANTIZED_VARIANTS} == expected


def test_template_tells_float_variants_apart_too() -> None:
    path = ROOT / ".dvc" / "plots" / "class_accuracy.json"
    found = colours(json.loads(path.read_text(encoding="utf-8")))
    assert set(found) == set(palette.VARIANTS)
    assert len(set(found.values())) == len(found)
