"""The page and the templates with which DVC draws offline."""

import json
import re

import pytest
import yaml

from resnet8.core.variants import QUANTIZED_VARIANTS
from resnet8.report.figures import palette
from tests.browser import links
from tests.pipeline.commands import ROOT
from tools.make_plots_page import PAGE, inline_script

TEMPLATES = sorted((ROOT / ".dvc" / "plots").glob("*.json"))


def test_the_page_has_the_marks_of_dvc_and_licences_and_names_no_other_file() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert text.count("{plot_divs}") == text.count("{refresh_tag}") == 1
    assert "{scripts}" not in text  # DVC would put links there
    assert links(text) == []
    head = text.split("<script>")[0]
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


@pytest.mark.parametrize(
    ("name", "variants"),
    [("class_accuracy", set(palette.VARIANTS)), ("sqnr_profile", set(QUANTIZED_VARIANTS))],
)
def test_template_has_the_colours_of_the_pictures(name: str, variants: set[str]) -> None:
    template = json.loads((ROOT / ".dvc" / "plots" / f"{name}.json").read_text(encoding="utf-8"))
    (expression,) = (x["calculate"] for x in template["transform"] if x.get("as") == "colour")
    colours = dict(re.findall(r"(\w+): '(#\w+)'", expression))
    assert set(colours) == variants
    assert len(set(colours.values())) == len(colours)  # float variants differ, too
    quantized = variants & set(QUANTIZED_VARIANTS)
    assert {x: colours[x] for x in quantized} == {x: palette.VARIANTS[x] for x in quantized}
