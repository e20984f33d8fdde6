"""`dvc plots show` and `dvc plots diff`, drawn in a browser with the network cut."""

import csv
import io
import shutil
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from resnet8.report.figures import palette
from samples.demo import SAMPLE_PARAMS, make_project
from tests.browser import links, open_offline
from tests.pipeline.commands import GIT, ROOT, run
from tools.make_plots_page import PAGE

VARIANTS = ("keras_fp32", "onnx_uint8", "brand_new")  # the last is unknown to the templates
CLASSES = ("cat & <dog>", "frog")
LAYERS = ("z.first", "block/conv[1]", "a_last")
PLOTS = (
    "per_class_accuracy",
    "confusion",
    "sqnr",
    "sensitivity",
    "sweep_accuracy",
    "sweep_agreement",
    "sweep_front",
)
DEFINITIONS = yaml.safe_load((ROOT / "dvc.yaml").read_text())["plots"]


def tables(shift: int) -> dict[str, list[dict[str, Any]]]:
    """Small tables of all plots; another shift gives other numbers."""
    quantized = VARIANTS[1:]
    return {
        "per_class_accuracy": [
            {"variant": v, "class_name": c, "accuracy_percent": 80 + shift + i,
             "low_percent": 75.5, "high_percent": 99}
            for i, v in enumerate(VARIANTS) for c in CLASSES
        ],
        "confusion": [
            {"variant": v, "actual": a, "predicted": p, "images": 90 + shift if a == p else 7}
            for v in VARIANTS for a in CLASSES for p in CLASSES
        ],
        "sqnr": [
            {"variant": v, "layer": x, "position": i, "sqnr_db": 30 + shift - i}
            for v in quantized for i, x in enumerate(LAYERS)
        ],
        "sensitivity": [
            {"variant": v, "layer": x, "rank": i + 1, "kl_alone": 0.01 * (i + shift),
             "kl_spared": 0.05, "agreement_alone": 0.9}
            for v in quantized for i, x in enumerate(LAYERS)
        ],
        "sweep_size": [
            {"variant": v, "images": n, "seed": seed, "accuracy_percent": 87 + seed / 10,
             "agreement_percent": 98 + shift / 10 + seed / 20, "kl_divergence": 0.1 / n}
            for v in quantized for n in (10, 1000) for seed in (0, 1)
        ],
        "sweep_front": [
            {"variant": v, "settings": f"per_channel {x}, 10 images", "file_kb": 95 + i,
             "accuracy_percent": 87 + shift / 10 + i, "low_percent": 86 + i,
             "high_percent": 89 + i, "agreement_percent": 98, "kl_divergence": 0.001,
             "on_front": i > 0}
            for v in quantized for i, x in enumerate(("true", "false"))
        ],
    }  # fmt: skip


def write_tables(folder: Path, shift: int, *, empty: tuple[str, ...] = ()) -> None:
    (folder / "metrics" / "plots").mkdir(parents=True, exist_ok=True)
    for name, rows in tables(shift).items():
        out = io.StringIO(newline="")
        writer = csv.DictWriter(out, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows([] if name in empty else rows)
        (folder / "metrics" / "plots" / f"{name}.csv").write_text(out.getvalue())


def dvc(folder: Path, *command: str) -> str:
    done = run(folder, sys.executable, "-m", "dvc", *command)
    assert done.returncode == 0, done.stdout
    return done.stdout


class Pages(NamedTuple):
    """Pages that DVC made: the workspace's plots, and plots against the previous commit."""

    show: Path
    diff: Path


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Pages:
    folder = tmp_path_factory.mktemp("project")
    run(folder, *GIT, "init", "--quiet")
    (folder / ".dvc").mkdir()
    shutil.copy(ROOT / ".dvc" / "config", folder / ".dvc")
    shutil.copytree(ROOT / ".dvc" / "plots", folder / ".dvc" / "plots")
    page = folder / PAGE.relative_to(ROOT)
    page.parent.mkdir(parents=True)
    shutil.copy(PAGE, page)
    (folder / "dvc.yaml").write_text(yaml.safe_dump({"plots": DEFINITIONS}))
    for shift in (0, 3):
        write_tables(folder, shift)
        run(folder, *GIT, "add", "--all")
        run(folder, *GIT, "commit", "--quiet", "--message", "tables")
    dvc(folder, "plots", "show", "--out", "show")
    dvc(folder, "plots", "diff", "HEAD~1", "--out", "diff")
    return Pages(folder / "show" / "index.html", folder / "diff" / "index.html")


class Drawn(NamedTuple):
    """A plot as drawn by a browser.

    side: the shorter one, in pixels.
    texts: all that can be read in it.
    symbols, bars: how many data points have one.
    fills: the colours of symbols by what a screen reader is told of them.
    """

    side: float
    texts: list[str]
    symbols: int
    bars: int
    fills: dict[str, str]


def look_at(page: Any, plot: str) -> Drawn:
    page.wait_for_selector(f"#{plot} svg.marks text", state="attached")  # all is drawn at once
    box = page.locator(f"#{plot} svg.marks").bounding_box()
    symbols = page.query_selector_all(f"#{plot} .mark-symbol.role-mark path")
    return Drawn(
        side=min(box["width"], box["height"]),
        texts=page.locator(f"#{plot} svg text").all_text_contents(),
        symbols=len(symbols),
        bars=len(page.query_selector_all(f"#{plot} .mark-rect.role-mark path")),
        fills={
            x.get_attribute("aria-label"): (x.get_attribute("fill") or "").upper() for x in symbols
        },
    )


def draw(path: Path) -> dict[str, Drawn]:
    """All plots of a page, by name; there are no requests and no errors or warnings."""
    with open_offline(path) as (page, problems):
        found = {plot: look_at(page, plot) for plot in PLOTS}
        assert problems == []
    return found


@pytest.fixture(scope="module")
def show(pages: Pages) -> dict[str, Drawn]:
    return draw(pages.show)


@pytest.fixture(scope="module")
def diff(pages: Pages) -> dict[str, Drawn]:
    return draw(pages.diff)


def test_pages_link_to_nothing(pages: Pages) -> None:
    for path in pages:
        assert links(path.read_text(encoding="utf-8")) == []


def test_show_draws_every_row_of_all_tables_offline(show: dict[str, Drawn]) -> None:
    rows = {plot: len(found) for plot, found in tables(0).items()}
    assert show["sweep_accuracy"].symbols == rows["sweep_size"]
    assert show["sweep_agreement"].symbols == rows["sweep_size"]
    assert show["sweep_front"].symbols == rows["sweep_front"] + 2  # and a ring around each on it
    assert show["per_class_accuracy"].symbols == rows["per_class_accuracy"]
    assert show["confusion"].bars == rows["confusion"]
    assert show["sqnr"].symbols == rows["sqnr"]
    assert show["sensitivity"].bars == rows["sensitivity"]


def test_diff_draws_every_row_of_both_revisions_offline(diff: dict[str, Drawn]) -> None:
    rows = {plot: 2 * len(found) for plot, found in tables(0).items()}
    # Counts that differ between the revisions, which are those on the diagonal, have a frame.
    framed = 2 * len(VARIANTS) * len(CLASSES)
    assert diff["per_class_accuracy"].symbols == rows["per_class_accuracy"]
    assert diff["confusion"].bars == rows["confusion"] + framed
    assert diff["sqnr"].symbols == rows["sqnr"]
    assert diff["sensitivity"].bars == rows["sensitivity"]
    assert diff["sweep_accuracy"].symbols == rows["sweep_size"]
    assert diff["sweep_agreement"].symbols == rows["sweep_size"]
    assert diff["sweep_front"].symbols == rows["sweep_front"] + 4


@pytest.mark.parametrize("plot", PLOTS)
def test_plots_are_large_enough_to_read(
    plot: str, show: dict[str, Drawn], diff: dict[str, Drawn]
) -> None:
    assert min(show[plot].side, diff[plot].side) > 100


@pytest.mark.parametrize("plot", PLOTS)
def test_diff_says_which_revision_is_which(plot: str, diff: dict[str, Drawn]) -> None:
    text = " ".join(diff[plot].texts)
    assert "workspace" in text
    assert "HEAD~1" in text


@pytest.mark.parametrize("plot", PLOTS)
def test_show_has_the_title_and_both_axes_with_their_units(
    plot: str, show: dict[str, Drawn]
) -> None:
    (made,) = (definition[plot] for definition in DEFINITIONS if plot in definition)
    assert {made["title"], made["x_label"], made["y_label"]} <= set(show[plot].texts)


def test_show_names_classes_as_they_are(show: dict[str, Drawn]) -> None:
    assert set(CLASSES) <= set(show["confusion"].texts)


def test_show_gives_known_variants_their_colour_and_unknown_ones_another(
    show: dict[str, Drawn],
) -> None:
    colours = {
        variant: {
            fill for label, fill in show["sqnr"].fills.items() if f"variant: {variant};" in label
        }
        for variant in VARIANTS[1:]
    }
    assert colours["onnx_uint8"] == {palette.VARIANTS["onnx_uint8"]}
    assert len(colours["brand_new"]) == 1
    assert not colours["brand_new"] & set(palette.VARIANTS.values())


def layers_in_order(drawn: Drawn) -> list[str]:
    return [text for text in drawn.texts if text in LAYERS][: len(LAYERS)]


def test_show_has_layers_from_input_to_output(show: dict[str, Drawn]) -> None:
    assert layers_in_order(show["sqnr"]) == list(LAYERS)


def test_show_has_the_layer_that_costs_most_first(show: dict[str, Drawn]) -> None:
    assert layers_in_order(show["sensitivity"]) == list(reversed(LAYERS))  # see `tables`


def test_show_in_a_demo_without_git_says_where_there_is_no_data(tmp_path: Path) -> None:
    make_project(tmp_path, SAMPLE_PARAMS)
    write_tables(tmp_path, 0, empty=("sqnr", "sensitivity", "sweep_size", "sweep_front"))
    dvc(tmp_path, "plots", "show")
    with open_offline(tmp_path / "dvc_plots" / "index.html") as (page, problems):
        assert look_at(page, "confusion").bars == len(tables(0)["confusion"])
        assert "No data for the plot sqnr." in page.inner_text("main")
        assert problems == []
