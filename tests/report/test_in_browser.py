"""The report in a real browser without a network, as a person uses it."""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
from playwright.sync_api import Locator, Page

from resnet8.report.data import view
from resnet8.report.page import render, vega_bundle
from tests.browser import open_offline
from tests.report_inputs import LABELS, make_inputs

HOSTILE = '<script>document.title = "hacked"</script>'
CHOICES = {"layer": "relu", "variant-a": "onnx_fp32", "variant-b": "torch_int8"}
HISTOGRAM = "#activation-histogram"

WIDTH = "async (x) => { await x.decode(); return x.naturalWidth; }"  # of an image once loaded

# The contrast of each visible text with what is painted behind it, and the text (WCAG 2.2).
CONTRASTS = """() => {
  const known = new Map();
  const channels = (color) => {
    if (!known.has(color)) {
      const context = document.createElement("canvas").getContext("2d");
      context.fillStyle = color;
      context.fillRect(0, 0, 1, 1);
      known.set(color, [...context.getImageData(0, 0, 1, 1).data]);
    }
    return known.get(color);
  };
  const luminance = (color) => {
    const linear = channels(color).slice(0, 3).map((x) => x / 255)
      .map((x) => (x <= 0.04045 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4));
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
  };
  const ground = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const color = getComputedStyle(at).backgroundColor;
      if (channels(color)[3] === 255) return color;
    }
    return "white";
  };
  const contrasts = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    const text = walker.currentNode.textContent.trim();
    if (!text || !element.checkVisibility() || element.closest("script, .skip")) continue;
    if (element.closest("[id^=confusion-] .mark-text")) continue; // on cells, not on the page
    const svg = element.closest("svg");
    const style = getComputedStyle(element);
    const [a, b] = [svg ? style.fill : style.color, ground(svg ? svg.parentElement : element)]
      .map(luminance).sort((x, y) => y - x);
    contrasts.push([(a + 0.05) / (b + 0.05), text]);
  }
  return contrasts;
}"""


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Page, list[str]]]:
    """The page, opened once, and its problems."""
    path = tmp_path_factory.mktemp("report") / "index.html"
    inputs = make_inputs(label_names=(HOSTILE, *LABELS[1:]))
    path.write_text(render(view(inputs), vega=vega_bundle()), encoding="utf-8")
    with open_offline(path) as (page, problems):
        yield page, problems


@pytest.fixture
def page(opened: tuple[Page, list[str]]) -> Iterator[Page]:
    """The page on a desktop in light; no test may leave a problem behind."""
    page, problems = opened
    page.set_viewport_size({"width": 1280, "height": 900})
    page.emulate_media(color_scheme="light", media="screen")
    page.wait_for_selector("html[data-ready]")
    yield page
    assert problems == []


def choose(page: Page, **choices: str) -> None:
    wanted = CHOICES | {name.replace("_", "-"): value for name, value in choices.items()}
    for control, value in wanted.items():
        page.select_option(f"#{control}", value)


def chosen(page: Page) -> dict[str, str]:
    return {name: page.locator(f"#{name}").input_value() for name in CHOICES}


def drawing(page: Page, chart: str) -> str:
    """A chart once all drawing is done."""
    page.wait_for_selector("html[data-ready]")
    return page.locator(f"{chart} svg").inner_html()


def statistics(page: Page) -> dict[str, tuple[str, str]]:
    """Both sides' figures by label."""
    rows = page.locator("#statistics tbody tr").all()
    cells = [row.locator("th, td").all_inner_texts() for row in rows]
    return {label: (a, b) for label, a, b in cells}


def column(table: Locator, number: int) -> list[str]:
    return table.locator(f"tbody tr > :nth-child({number})").all_inner_texts()


def labels(page: Page, chart: str) -> list[str]:
    """Descriptions of a chart's points for screen readers."""
    points = page.locator(f"#{chart} .mark-symbol path[aria-label]").all()
    return [str(point.get_attribute("aria-label")) for point in points]


def clips(page: Page) -> int:
    drawing(page, HISTOGRAM)
    return page.locator(f"{HISTOGRAM} .mark-rule line[stroke='var(--clip)']").count()


def test_every_chart_is_drawn_with_a_description_and_no_name_runs_as_script(page: Page) -> None:
    assert page.title() == "mine.h5 on drawn shapes: quantization report"
    choose(page, layer="dense")
    drawing(page, HISTOGRAM)
    charts = page.locator(".chart:visible")
    assert charts.count() == 20
    for chart in charts.all():
        assert chart.get_attribute("role") == "graphics-document"
        assert chart.get_attribute("aria-label"), chart.get_attribute("id")
        assert chart.locator("svg path").count() > 0


def test_charts_have_the_right_values(page: Page) -> None:
    inputs = make_inputs()
    sqnr = labels(page, "sqnr-chart")
    assert len(sqnr) == 4  # of three layers, and of the only one that has noise
    assert any("place: 1.85; variant: onnx_int8; layer: dense; sqnr: 28.0" in x for x in sqnr)
    assert page.locator("#sqnr-chart .layer_0_marks line").count() == 3  # edges
    first = labels(page, "sensitivity-onnx_int8")[0]
    assert "layer: dense; alone: 0.003; saved: 0.001" in first
    truck = LABELS.index("truck")
    predicted = inputs.predictions["torch_int8"][inputs.test_set.labels == truck].argmax(axis=1)
    (label,) = [
        x for x in labels(page, "class-accuracies") if "class: truck; variant: torch_int8" in x
    ]
    assert f"accuracy: {100 * (predicted == truck).mean():.1f}" in label
    draws = labels(page, "sweep-accuracy")
    assert len(draws) == 6  # two variants, three numbers of images
    assert any("variant: onnx_int8; images: 10; draws: 3" in x for x in draws)
    assert len([x for x in labels(page, "sweep-front-onnx") if "settings: " in x]) == 4
    delta = inputs.results["comparison"]["variants"]["onnx_int8"]["accuracy_delta_pp"]
    assert f"onnx_int8 {delta:.2f}; " in page.locator("#deltas").get_attribute("aria-label")


def test_explorer_changes_with_layer_both_variants_and_scale(page: Page) -> None:
    choose(page)
    drawn = [(drawing(page, HISTOGRAM), statistics(page))]
    page.locator("#layer").focus()
    page.keyboard.press("ArrowDown")
    assert page.locator("#layer").input_value() == "dense"
    drawn.append((drawing(page, HISTOGRAM), statistics(page)))
    for side in ("variant-a", "variant-b"):
        page.select_option(f"#{side}", "onnx_int8")
        drawn.append((drawing(page, HISTOGRAM), statistics(page)))
    for before, after in pairwise(drawn):
        assert before[0] != after[0]
        assert before[1] != after[1]
    page.get_by_label("Logarithmic counts").uncheck()
    assert drawing(page, HISTOGRAM) != drawn[-1][0]
    page.get_by_label("Logarithmic counts").check()
    assert drawing(page, HISTOGRAM) == drawn[-1][0]
    page.locator("#layer-before").focus()
    page.keyboard.press("Enter")
    assert page.locator("#layer").input_value() == "relu"


def test_explorer_shows_figures_weights_and_feature_maps_of_both_sides(page: Page) -> None:
    choose(page)
    figures = statistics(page)
    assert figures["captured at"] == ("hook 1 of onnx_fp32", "hook 1 of torch_int8")
    assert figures["SQNR"] == ("120.0 dB", "29.0 dB")
    assert figures["levels used"] == ("–", "225 of 256 (87.9%)")
    assert figures["clipped at the upper end"] == ("–", "1%")
    assert figures["percentile 99.9"] == ("3", "3")
    assert "shape" not in figures  # neither side has one
    assert clips(page) >= 2  # ends of the quantized range
    maps = [page.locator(f"#map-{side}") for side in "AB"]
    assert len({x.get_attribute("src") for x in maps}) == 2
    assert [x.evaluate(WIDTH) for x in maps] == [35, 35]  # four channels of 8 pixels with gaps
    assert not page.locator("#parameters").is_visible()
    choose(page, variant_b="torch_fp32")
    assert clips(page) == 0
    choose(page, variant_b="onnx_int8")
    assert statistics(page)["SQNR"][1] == "no error"
    assert page.locator("#error-histogram + .note").is_visible()
    assert not page.locator("#error-histogram").is_visible()
    choose(page, layer="dense")
    for chart in ("weight-histogram", "weight-ranges", "weight-errors", "bias-ranges"):
        assert drawing(page, f"#{chart}"), chart
    assert "4 × 3 × 3 × 3" in page.locator("#parameter-statistics").inner_text()


def test_explorer_says_why_figures_are_absent_and_leads_on(page: Page) -> None:
    choose(page, layer="conv", variant_b="onnx_int8")
    notes = page.locator("#notes")
    assert "onnx_int8 does not show conv: computed together with relu." in notes.inner_text()
    assert "onnx_fp32 has no 8-bit codes at conv, so no scale" in notes.inner_text()
    assert {b for _, b in statistics(page).values()} == {"–"}
    notes.get_by_role("button", name="Show relu").click()
    assert page.locator("#layer").input_value() == "relu"


def test_sensitivity_and_graph_lead_to_the_explorer(page: Page) -> None:
    dense = {"layer": "dense", "variant-a": "torch_fp32", "variant-b": "torch_int8"}
    page.locator("#sensitivity li button", has_text="dense").nth(1).click()
    assert chosen(page) == dense
    heading = page.locator("#explorer-heading")
    assert 0 <= heading.evaluate("x => x.getBoundingClientRect().top") < 300
    choose(page)
    box = page.locator("#graph [data-layer='dense']")
    page.select_option("#graph-variant", "torch_int8")
    assert box.locator(".sqnr").text_content() == "28.0 dB"
    assert box.locator(".type").text_content() == "uint8"
    assert box.locator(".noise").evaluate("x => x.style.fillOpacity") == "1"  # the noisiest
    box.focus()
    page.keyboard.press("Enter")
    assert chosen(page) == dense
    page.select_option("#graph-variant", "onnx_int8")
    fused = page.locator("#graph [data-layer='conv']")
    assert fused.locator(".sqnr").text_content() == ""


def test_phone_has_sections_in_a_line_and_tables_that_say_they_go_on(page: Page) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    page.locator("nav").get_by_role("link", name="How to read this").click()  # scrolls to it
    page.wait_for_selector("nav a[href='#reading'][aria-current]")
    table = page.locator("#headline .scroll")
    page.wait_for_function("x => x.hasAttribute('data-more')", arg=table.element_handle())
    assert table.evaluate("x => getComputedStyle(x).maskImage") != "none"
    table.evaluate("x => x.scrollTo(x.scrollWidth, 0)")
    page.wait_for_function("x => !x.hasAttribute('data-more')", arg=table.element_handle())


def test_confusion_changes_with_the_variant(page: Page) -> None:
    page.select_option("#confusion-variant", "onnx_int8")
    places = ("#confusion-variant-chart", "#confusion-difference", "#confusion-baseline")
    before = [drawing(page, place) for place in places]
    page.select_option("#confusion-variant", "torch_int8")
    after = [drawing(page, place) for place in places]
    assert [a == b for a, b in zip(before, after, strict=True)] == [False, False, True]


def test_tables_sort_by_number_both_ways_and_by_words(page: Page) -> None:
    table = page.locator("#headline table")
    head = table.get_by_role("columnheader", name="agreement")
    for direction in ("ascending", "descending"):
        head.get_by_role("button").click()
        *shares, last = column(table, 8)
        assert shares == sorted(shares, key=float, reverse=direction == "descending")
        assert (len(shares), last) == (4, "–")  # what is absent stays last
        assert head.get_attribute("aria-sort") == direction
    table = page.locator("#conversion table")
    table.get_by_role("columnheader", name="layer").get_by_role("button").focus()
    page.keyboard.press("Enter")
    assert column(table, 1) == ["conv", "dense", "relu"]


def test_focus_can_be_seen(page: Page) -> None:
    skip = page.get_by_role("link", name="Skip to the answer")
    assert skip.bounding_box()["x"] < 0
    skip.focus()
    assert skip.bounding_box()["x"] >= 0
    page.locator("#layer").focus()
    page.keyboard.press("Tab")
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"


def grounds(page: Page) -> str:
    color: str = page.evaluate("getComputedStyle(document.body).backgroundColor")
    return color


def test_theme_follows_the_reader_until_one_is_chosen_and_print_is_light(page: Page) -> None:
    light = grounds(page)
    page.emulate_media(color_scheme="dark")
    dark = grounds(page)
    assert dark != light
    page.select_option("#theme", "light")
    assert grounds(page) == light
    page.select_option("#theme", "dark")
    page.emulate_media(color_scheme="light")
    assert grounds(page) == dark
    label = page.locator("#deltas svg text").first
    ink = label.evaluate("x => getComputedStyle(x).fill")
    page.emulate_media(media="print")
    assert grounds(page) == light
    assert not page.locator("nav").is_visible()
    assert label.evaluate("x => getComputedStyle(x).fill") != ink
    page.emulate_media(media="screen")
    page.select_option("#theme", "System theme")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_a_contrast_of_4_5(page: Page, scheme: Any) -> None:
    page.emulate_media(color_scheme=scheme)
    contrasts = page.evaluate(CONTRASTS)
    assert len(contrasts) > 300
    assert [text for ratio, text in contrasts if ratio < 4.5] == []


@pytest.mark.parametrize("width", [390, 768])
def test_page_never_scrolls_sideways(page: Page, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 844})
    page.evaluate("document.querySelectorAll('details').forEach((x) => { x.open = true; })")
    page.wait_for_function(
        """[...document.querySelectorAll(".chart svg")].filter((x) => x.checkVisibility())
          .every((x) => x.width.baseVal.value <= x.parentElement.clientWidth)"""
    )
    assert page.evaluate("document.documentElement.scrollWidth") == width
    # Nor is anything cut off at the edge, but in boxes that scroll on their own.
    outside = page.evaluate(
        """() => [...document.querySelectorAll("main *")].filter((x) => x.checkVisibility()
          && !x.closest(".scroll, .unseen") && x.getBoundingClientRect().right > innerWidth + 1)
          .map((x) => x.outerHTML.slice(0, 80))"""
    )
    assert outside == []


def test_page_works_without_quantized_variants(page: Page) -> None:
    # Last in this file: another page takes the place of the one that all tests share.
    page.set_content(render(view(make_inputs(quantized=())), vega=vega_bundle()))
    choose(page, variant_b="torch_fp32")
    assert "mark-rect" in drawing(page, HISTOGRAM)
    assert page.locator("#error-histogram + .note").is_visible()
    assert "mark-rect" in drawing(page, "#confusion-difference")
