"""The report's page as text."""

import json
import re
from html.parser import HTMLParser
from typing import Any

import pytest

from resnet8.report.data import view
from resnet8.report.figures import palette
from resnet8.report.inputs import sort_variants
from resnet8.report.page import TEMPLATES, render
from tests.browser import links
from tests.report_inputs import LABELS, LAYERS, make_inputs

HOSTILE = '</script><script>alert("x")</script>&'


class Page(HTMLParser):
    """The elements of a page, and its JSON."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.data = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.elements and self.elements[-1][1].get("id") == "report-data":
            self.data += data

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def page(changes: dict[str, Any] | None = None, **inputs: Any) -> str:
    """The page of made-up results, with white space squeezed."""
    html = render(view(make_inputs(**inputs)._replace(**changes or {})), vega="")
    return re.sub(r"\s+", " ", html)


@pytest.fixture(scope="module")
def html() -> str:
    return page()


def test_page_is_the_same_each_time_and_refers_to_nothing_else(html: str) -> None:
    assert page() == html
    assert links(html) == []
    assert "url(" not in html
    assert "@import" not in html


def test_page_has_unique_ids_links_labels_and_descriptions(html: str) -> None:
    elements = Page(html)
    ids = [attributes["id"] for _, attributes in elements.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    sections = [section["id"] for section in elements.named("section")]
    links = [x["href"] for x in elements.named("a") if str(x.get("href")).startswith("#")]
    assert [x for x in dict.fromkeys(links) if x[1:] in sections] == [f"#{x}" for x in sections]
    controls = {x["id"] for tag in ("select", "input") for x in elements.named(tag)}
    assert controls == {label["for"] for label in elements.named("label")}
    assert all("alt" in picture for picture in elements.named("img"))


def test_page_escapes_names() -> None:
    elements = Page(page(label_names=(HOSTILE, *LABELS[1:]), layers=(*LAYERS[:-1], HOSTILE)))
    assert len(elements.named("script")) == 3
    data = json.loads(elements.data)
    assert data["explorer"]["layers"][-1] == HOSTILE
    assert data["confusion"]["labels"][0] == HOSTILE


def test_templates_take_layers_and_colours_from_elsewhere(html: str) -> None:
    texts = [x.read_text() for x in TEMPLATES.iterdir() if x.name != "dvc_plots.html"]
    assert not re.findall(r"conv2d|activation_\d|#[0-9a-fA-F]{6}\b", "".join(texts))
    assert f"--page: {palette.PAGE_DARK['page']};" in html


@pytest.mark.parametrize(
    ("agreement", "baseline", "compared"),
    [
        ({"keras_fp32": 1, "onnx_fp32": 1, "torch_fp32": 0.99, "onnx_int8": 1}, "keras_fp32",
         ["torch_fp32", "onnx_int8"]),
        ({"keras_fp32": 1, "onnx_fp32": 1}, "keras_fp32", ["onnx_fp32"]),  # nothing else is left
        ({"keras_fp32": 0.98, "onnx_int8": 1}, "onnx_int8", ["keras_fp32"]),
    ],
)  # fmt: skip
def test_page_compares_quantized_variants_and_conversions_that_differ(
    agreement: dict[str, float], baseline: str, compared: list[str]
) -> None:
    rows = {name: {"agreement": x} for name, x in agreement.items()}
    variants = sort_variants(list(rows), {"baseline": baseline, "variants": rows})
    assert variants.compared == compared
    assert baseline not in variants.quantized + variants.converted


def test_page_without_quantized_variants_says_so_in_each_section() -> None:
    text = page(quantized=())
    for words in (
        "There are no quantized variants to compare it with.",
        "so there is no quantization noise",
        "so there is nothing to rank",
        "so there is nothing to look for",
        "so there are no codes",
        "No image changed its class.",
    ):
        assert words in text, words


def test_page_begins_with_a_baseline_that_is_chance_and_the_likely_reasons(html: str) -> None:
    text = page({"comparison": make_inputs().comparison | {"baseline_is_chance": True}})
    start, end = text.index("<h1>"), text.index("<table")
    alert = text[start:end]
    assert alert.split("<p")[0].endswith('role="alert"> ')  # nothing stands before it
    for words in ("Warning: keras_fp32 is not measurably better than chance", "untrained",
                  "Rescaling or Normalization", "in another order", "In float, "):  # fmt: skip
        assert words in alert, words
    assert "No difference in accuracy" not in text
    assert 'role="alert"' not in html


def test_page_answers_first_which_file_to_ship_and_what_is_lost(html: str) -> None:
    answer = html[html.index('id="answer"') : html.index('id="headline"')]
    row = make_inputs().comparison["variants"]["onnx_int8"]
    for words in (
        "Ship onnx_int8.onnx",
        "File: <code>artifacts/models/onnx_int8</code>",
        f"{100 * row['top1_accuracy']:.2f}% of 60 test images correct",
        f"{row['accuracy_delta_pp']:+.2f} percentage points against keras_fp32",
        "103 kB instead of 316 kB",
        "Why: keeps all limits of the gate.",
        "✓ keeps the gate&#39;s limits",
        "below keras_fp32, all images: 1.25 points lost, 1 allowed",
        "products saturate",
        "The sweep is &lt;outdated&gt;: <code>make sweep</code> renews it.",
        "0.003 million</strong> <small>for one image",
        "768",
    ):
        assert words in answer, words


def test_page_recommends_nothing_if_nothing_can_be() -> None:
    decision = make_inputs().decision | {"recommended": None, "reason": "accuracies say nothing"}
    text = page({"decision": decision})
    assert "Ship none of these variants" in text
    assert "Ship onnx" not in text


def test_page_names_models_whose_products_saturate(html: str) -> None:
    inputs = make_inputs()
    variants = inputs.verification["variants"]
    rows = {"onnx_int8": variants["onnx_int8"] | {"saturating_products": True}}
    text = page({"verification": inputs.verification | {"variants": variants | rows}})
    assert "8-bit products of onnx_int8 saturate on this CPU" in text
    assert "saturate on this CPU" not in html


def test_page_has_a_box_for_each_layer_and_the_input(html: str) -> None:
    elements = Page(html)
    boxes = [x.get("data-layer") for _, x in elements.elements if x.get("class") == "node"]
    assert boxes == [None, *LAYERS]
    assert len(elements.named("path")) == 4  # the last layer reads two


def test_page_shows_flipped_images_with_both_probabilities(html: str) -> None:
    inputs = make_inputs()
    old, new = (inputs.predictions[name] for name in ("keras_fp32", "onnx_int8"))
    changed = int((old.argmax(axis=1) != new.argmax(axis=1)).sum())
    group = html[html.index("<h3>onnx_int8: ") :].split("</details>", maxsplit=1)[0]
    assert group.startswith(f"<h3>onnx_int8: {changed} images</h3>")
    assert group.count("<li>") == min(changed, 40)
    number = int(re.search(r"no\. (\d+)", group)[1])
    for probabilities in (old[number], new[number]):
        assert f'<td class="top">{100 * probabilities.max():.1f}%</td>' in group


@pytest.mark.parametrize(
    "words",
    ["<dt>size</dt> <dd>50</dd>", "<dd>1, 2</dd>", "<dd>null</dd>", "keras_fp32</dd>", "ab" * 32,
     "<li>numpy 2.4.6</li>", "Libraries: 2 pinned", "% (torch_int8) of its sum."],
)  # fmt: skip
def test_page_shows_parameters_hashes_and_pins(html: str, words: str) -> None:
    assert words in html


def test_page_names_classes_without_images() -> None:
    assert "Without test images: cat." in page(missing_class=3)
