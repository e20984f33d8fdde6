"""The report's page as text."""

import json
import re
from typing import Any

import pytest

from resnet8.report.data import compared_variants, first_layer, view
from resnet8.report.page import TEMPLATES, render
from resnet8.sweep.summary import summarize
from tests.browser import links
from tests.report_inputs import LABELS, LAYERS, make_inputs
from tests.sweep.results import CHANCE, make_selection

HOSTILE = '</script><script>alert("x")</script>&'
RESULTS = dict(make_inputs().results)


def page(changes: dict[str, Any] | None = None, **inputs: Any) -> str:
    """The page of made-up results, with white space squeezed."""
    made = make_inputs(**inputs)
    changed = made._replace(results={**made.results, **(changes or {})})
    return re.sub(r"\s+", " ", render(view(changed), vega=""))


@pytest.fixture(scope="module")
def html() -> str:
    return page()


def test_page_is_the_same_each_time_and_refers_to_nothing_else(html: str) -> None:
    assert page() == html
    assert links(html) == []
    assert "url(" not in html
    assert "@import" not in html


def test_page_has_unique_ids_links_labels_and_descriptions(html: str) -> None:
    ids = re.findall(r' id="([^"]+)"', html)
    assert len(ids) == len(set(ids))
    sections = re.findall(r'<section id="([^"]+)"', html)
    linked = re.findall(r'<a [^>]*href="#([^"]+)"', html)
    assert [x for x in dict.fromkeys(linked) if x in sections] == sections
    controls = re.findall(r'<(?:select|input [^>]*) id="([^"]+)"', html)
    labelled = re.findall(r'<label for="([^"]+)"', html)
    assert sorted(controls) == sorted([*labelled, "theme"])
    assert all(" alt=" in picture for picture in re.findall(r"<img [^>]*>", html))
    boxes = re.findall(r'<[ag]( href="#explorer" data-layer="[^"]+")?[^>]* class="node"', html)
    assert len(boxes) == 1 + sum(map(bool, boxes)) == 1 + len(LAYERS)  # and the input
    assert html.count("<path ") == 4  # the last layer reads two


def test_page_escapes_names() -> None:
    text = page(label_names=(HOSTILE, *LABELS[1:]), layers=("conv", "relu", HOSTILE))
    assert text.count("<script") == 3
    assert HOSTILE not in text
    (content,) = re.findall(r'id="report-data">(.*?)</script>', text)
    data = json.loads(content)
    assert data["layers"]["layers"][-1] == HOSTILE
    assert data["labels"][0] == HOSTILE


def test_templates_take_layers_and_colours_from_elsewhere() -> None:
    texts = [x.read_text() for x in TEMPLATES.iterdir() if x.name != "dvc_plots.html"]
    assert not re.findall(r"conv2d|activation_\d|#[0-9a-fA-F]{6}\b", "".join(texts))


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
    assert compared_variants(list(rows), {"baseline": baseline, "variants": rows}) == compared


def test_explorer_starts_at_the_worst_layer_that_a_variant_has() -> None:
    layers, rankings = RESULTS["layers"], RESULTS["sensitivity"]["variants"]
    assert first_layer(layers, ["keras_fp32", "torch_int8"], rankings) == {
        "layer": "dense", "a": "onnx_fp32", "b": "onnx_int8",
    }  # fmt: skip
    # onnx_int8 computes conv together with relu.
    ranking = {"layers": {"conv": {"rank": 1}, "relu": {"rank": 2}}}
    assert first_layer(layers, [], {"onnx_int8": ranking})["layer"] == "relu"
    start = first_layer(layers, ["keras_fp32", "torch_fp32"], {})
    assert start == {"layer": "conv", "a": "keras_fp32", "b": "torch_fp32"}


def test_page_begins_with_a_baseline_that_is_chance_and_the_likely_reasons(html: str) -> None:
    text = page({"comparison": RESULTS["comparison"] | {"baseline_is_chance": True}})
    alert = text[text.index("<h1>") : text.index("<table")]
    assert alert.split("<p")[0].endswith('role="alert"> ')  # nothing stands before it
    for words in ("Warning: keras_fp32 is not measurably better than chance", "untrained",
                  "Rescaling or Normalization", "in another order",
                  "onnx_fp32 gives all images the same class"):  # fmt: skip
        assert words in alert, words
    assert "room for a loss" not in text
    assert 'role="alert"' not in html


def test_page_answers_first_which_file_to_ship_and_what_is_lost(html: str) -> None:
    answer = html[html.index('id="answer"') : html.index('id="headline"')]
    row = RESULTS["comparison"]["variants"]["onnx_int8"]
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


SATURATING = {
    name: row | {"saturating_products": name == "onnx_int8"}
    for name, row in RESULTS["verification"]["variants"].items()
}
NO_RUNS = summarize(make_selection([]), n_runs=7, chance=CHANCE)


@pytest.mark.parametrize(
    ("inputs", "changes", "expected"),
    [
        ({}, {}, [
            "<dt>size</dt> <dd>50</dd>", "<dd>1, 2</dd>", "<dd>null</dd>", "keras_fp32</dd>",
            "ab" * 32, "<li>numpy 2.4.6</li>", "Libraries: 2 pinned", "% (torch_int8) of its sum.",
            RESULTS["sweep"]["answer"], "8 settings in 24 finished runs",
            "24 of 25 runs are finished; <code>make sweep</code> makes the others.",
        ]),
        ({"missing_class": 3}, {}, ["Without test images: cat."]),
        ({}, {"decision": RESULTS["decision"] | {"recommended": None}},
         ["Ship none of these variants"]),
        ({}, {"verification": RESULTS["verification"] | {"variants": SATURATING}},
         ["8-bit products of onnx_int8 saturate on this CPU"]),
        ({}, {"sweep": NO_RUNS}, ["these data; <code>make sweep</code> makes all 7."]),
        ({}, {"layer_parity": {"layers": {}}}, ["No layer was compared."]),
        ({"quantized": ()}, {}, [
            *(f"{heading}</h2> <p>There are no quantized variants.</p></section>" for heading in
              ("Sensitivity of layers", "What accuracy does not show",
               "8-bit arithmetic, code by code")),
            "so there is no noise", "the first 0 of 0:",
        ]),
    ],
)  # fmt: skip
def test_page_says(inputs: Any, changes: dict[str, Any], expected: list[str], html: str) -> None:
    text = page(changes, **inputs)
    assert [words for words in expected if words not in text] == []
    assert text == html or not any(words in html for words in expected)


def test_page_shows_flipped_images_with_both_probabilities(html: str) -> None:
    predictions = make_inputs().predictions
    old, new = (predictions[name] for name in ("keras_fp32", "onnx_int8"))
    changed = int((old.argmax(axis=1) != new.argmax(axis=1)).sum())
    group = html[html.index("<h3>onnx_int8: ") :].split("</details>", maxsplit=1)[0]
    assert group.startswith(f"<h3>onnx_int8: {changed} images</h3>")
    assert group.count("<li") == min(changed, 40)
    number = int(re.search(r"no\. (\d+)", group)[1])
    for probabilities in (old[number], new[number]):
        assert f'<td class="top">{100 * probabilities.max():.1f}%</td>' in group
