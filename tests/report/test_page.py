"""The report's page as text."""

import json
import re
from html.parser import HTMLParser
from typing import Any

import pytest

from resnet8.report.data import view
from resnet8.report.figures import palette
from resnet8.report.page import TEMPLATES, render
from tests.report_inputs import LABELS, LAYERS, make_inputs

HOSTILE = '</script><script>alert("x")</script>&'
SECTIONS = (
    "answer", "headline", "classes", "network", "explorer", "sensitivity", "lint", "flips",
    "conversion", "arithmetic", "sweep", "provenance", "reading",
)  # fmt: skip


class Page(HTMLParser):
    """The elements of a page, and the text of its data block."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.data = ""
        self._in_data = False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._in_data = dict(attrs).get("id") == "report-data"

    def handle_data(self, data: str) -> None:
        if self._in_data:
            self.data += data

    def handle_endtag(self, tag: str) -> None:
        self._in_data = False

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def page_of(**changes: Any) -> Page:
    return Page(render(view(make_inputs(**changes)), vega=""))


@pytest.fixture(scope="module")
def html() -> str:
    return render(view(make_inputs()), vega="")


def test_render_gives_the_same_for_the_same(html: str) -> None:
    assert render(view(make_inputs()), vega="") == html


def test_render_links_to_each_section_in_order(html: str) -> None:
    page = Page(html)
    start = next(i for i, (tag, _) in enumerate(page.elements) if tag == "ol")
    links = [x["href"] for tag, x in page.elements[start:] if tag == "a"][: len(SECTIONS)]
    assert links == [f"#{name}" for name in SECTIONS]
    assert [section["id"] for section in page.named("section")] == list(SECTIONS)


def test_render_asks_for_nothing_outside(html: str) -> None:
    page = Page(html)
    places = [
        attributes[name]
        for _, attributes in page.elements
        for name in ("src", "href", "srcset", "action", "data", "poster")
        if name in attributes
    ]
    assert places
    assert all(str(place).startswith(("#", "data:image/png;base64,")) for place in places)
    assert "url(" not in html
    assert "@import" not in html


def test_render_gives_each_element_an_id_of_its_own(html: str) -> None:
    ids = [attributes["id"] for _, attributes in Page(html).elements if "id" in attributes]
    assert len(ids) == len(set(ids))


def test_render_labels_each_control(html: str) -> None:
    page = Page(html)
    controls = {x["id"] for tag in ("select", "input") for x in page.named(tag)}
    assert controls == {label["for"] for label in page.named("label")}


def test_render_describes_each_picture(html: str) -> None:
    pictures = Page(html).named("img")
    assert pictures
    assert all("alt" in picture for picture in pictures)


def test_render_escapes_names_in_the_page_and_in_its_data() -> None:
    labels = (HOSTILE, *LABELS[1:])
    layers = (*LAYERS[:-1], HOSTILE)
    page = page_of(label_names=labels, layers=layers)
    assert len(page.named("script")) == 3
    data = json.loads(page.data)
    assert data["explorer"]["layers"][-1] == HOSTILE
    assert data["confusion"]["labels"][0] == HOSTILE


def test_render_names_no_layer_of_the_reference_model() -> None:
    # Other models have other layers: none is written into the page itself.
    text = "".join(path.read_text() for path in TEMPLATES.iterdir())
    assert not re.findall(r"conv2d|activation_\d|batch_normalization", text)


def test_render_takes_all_colours_from_the_palette(html: str) -> None:
    for name in ("report.css", "charts.js", "explorer.js", "report.html.jinja"):
        assert not re.findall(r"#[0-9a-fA-F]{6}\b", (TEMPLATES / name).read_text()), name
    assert f"--page: {palette.PAGE_DARK['page']};" in html


@pytest.mark.parametrize("theme", [palette.PAGE_LIGHT, palette.PAGE_DARK])
@pytest.mark.parametrize("ink", ["ink", "ink-soft", "accent", "lost", "won"])
@pytest.mark.parametrize("ground", ["page", "surface"])
def test_palette_gives_text_a_contrast_of_4_5(theme: dict[str, str], ink: str, ground: str) -> None:
    light, dark = sorted((luminance(theme[ink]), luminance(theme[ground])), reverse=True)
    assert (light + 0.05) / (dark + 0.05) >= 4.5


def luminance(color: str) -> float:
    """Relative luminance, WCAG 2.2."""
    channels = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4 for x in channels]
    return sum(w * x for w, x in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def test_render_says_so_when_nothing_is_quantized() -> None:
    html = render(view(make_inputs(quantized=())), vega="")
    assert "There are no quantized variants to compare it with." in html
    assert "so there is no quantization noise" in html
    assert "so there is nothing to rank" in html
    assert "No image changed its class." in html


def chance_page() -> str:
    inputs = make_inputs()
    comparison = {**inputs.comparison, "baseline_is_chance": True, "baseline": "keras_fp32"}
    html = render(view(inputs._replace(comparison=comparison)), vega="")
    return re.sub(r"\s+", " ", html)


def test_render_begins_with_a_baseline_that_is_chance_and_its_likely_reasons() -> None:
    text = chance_page()
    warning = text.index('role="alert"')
    said = text[warning : text.index("<table", warning)]
    for words in (
        "Warning: keras_fp32 is not measurably better than chance",
        "untrained",
        "pixels in 0 to 1 (or standardized)",
        "Rescaling or Normalization",
        "in another order",
    ):
        assert words in said, words
    title = text.index("<h1>")
    assert text[title:warning].count("<p") == 0  # nothing stands before it
    assert "In float, " in text[warning:]
    assert "No difference in accuracy" not in text


def test_render_warns_of_no_baseline_that_is_better(html: str) -> None:
    assert 'role="alert"' not in html
    assert "not measurably better than chance" not in html


def test_render_says_what_share_of_kl_ten_images_have(html: str) -> None:
    share = make_inputs().comparison["variants"]["torch_int8"]["kl_top10_share"]
    assert f"{100 * share:.1f}% (torch_int8) of its sum." in html


def test_render_answers_first_which_file_to_ship_and_what_is_lost(html: str) -> None:
    answer = " ".join(html[html.index('id="answer"') : html.index('id="headline"')].split())
    row = make_inputs().comparison["variants"]["onnx_int8"]
    for words in (
        "Ship onnx_int8.onnx",
        f"{100 * row['top1_accuracy']:.2f}% of 60 test images right",
        f"{row['accuracy_delta_pp']:+.2f} percentage points against keras_fp32",
        "103 kB instead of 316 kB",
        "Why: keeps all limits of the gate.",
        "✓ keeps the gate&#39;s limits",
        "below keras_fp32, all images: 1.25 points lost, 1 allowed",
        "products saturate",
        "The sweep is &lt;outdated&gt;: <code>make sweep</code> renews it.",
        "0.003 million</strong> <small>for one image",
    ):
        assert words in answer, words


def test_render_recommends_nothing_where_nothing_can_be(html: str) -> None:
    inputs = make_inputs()
    decision = inputs.decision | {"recommended": None, "reason": "accuracies say nothing"}
    text = render(view(inputs._replace(decision=decision)), vega="")
    assert "Ship none of these variants" in text
    assert "Ship onnx" not in text


def test_render_has_a_box_for_each_layer_and_the_input(html: str) -> None:
    boxes = [x.get("data-layer") for _, x in Page(html).elements if x.get("class") == "node"]
    assert boxes == [None, *LAYERS]
    assert len(Page(html).named("path")) == 4  # the last layer reads two


def test_render_names_classes_without_images() -> None:
    html = render(view(make_inputs(missing_class=3)), vega="")
    assert "Without test images: cat." in html


def test_render_shows_every_parameter(html: str) -> None:
    text = re.sub(r"\s+", " ", html)
    for shown in ("<dt>size</dt> <dd>50</dd>", "<dd>1, 2</dd>", "<dd>null</dd>", "keras_fp32</dd>"):
        assert shown in text, shown


def test_render_shows_hashes_and_pins(html: str) -> None:
    assert "ab" * 32 in html
    assert "<li>numpy 2.4.6</li>" in html
