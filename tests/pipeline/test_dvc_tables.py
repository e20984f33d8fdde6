"""DVC's tables in a terminal, and its plots in a browser with the network cut."""

import csv
import re
import shlex
import shutil
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from resnet8.compare.tables import summarize
from resnet8.core.files import write_json
from resnet8.report.figures import palette
from samples.demo import SAMPLE_PARAMS, make_project
from tests.browser import links, open_offline
from tests.parameters import TEST_PARAMS
from tests.pipeline.commands import GIT, ROOT, run, set_params
from tools.make_plots_page import PAGE

FLOAT = ("keras_fp32", "onnx_fp32", "torch_fp32")
QUANTIZED = ("onnx_int8", "onnx_uint8", "torch_int8")
DOCUMENTED = re.compile("^    (dvc exp show .+)$", re.MULTILINE)
# Of the plots.
VARIANTS = ("keras_fp32", "onnx_uint8", "brand_new")  # the last is unknown to the templates
CLASSES = ("cat & <dog>", "frog")
LAYERS = ("z.first", "block/conv[1]", "a_last")
DEFINITIONS = {
    name: definition
    for plot in yaml.safe_load((ROOT / "dvc.yaml").read_text())["plots"]
    for name, definition in plot.items()
}


def write_metrics(folder: Path, lost: int) -> None:
    """Writes what `compare` and `evaluate` do when quantizing loses some of 10,000 images."""
    for name in (*FLOAT, *QUANTIZED):
        n = lost if name in QUANTIZED else 0
        row = {
            "top1_accuracy": 0.8719 - n / 10_000,
            "accuracy_delta_pp": -n / 100,
            "agreement": 1 - 2 * n / 10_000,
            "kl_divergence": n / 10_000,
        }
        write_json(folder / f"metrics/summary/{name}.json", summarize(name, row))
        scores = {"top1_accuracy": row["top1_accuracy"], "per_class_accuracy": {"cat": 1 - n / 100}}
        write_json(folder / f"metrics/{name}.json", scores)


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
        with (folder / "metrics" / "plots" / f"{name}.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, rows[0], lineterminator="\n")
            writer.writeheader()
            writer.writerows([] if name in empty else rows)


def dvc(folder: Path, *command: str) -> str:
    done = run(folder, sys.executable, "-m", "dvc", *command)
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with committed results, and others after a change of `calibrate.size`."""
    folder = tmp_path_factory.mktemp("project")
    run(folder, *GIT, "init", "--quiet")
    (folder / ".dvc").mkdir()
    for name in (".dvc/config", "dvc.yaml", PAGE.relative_to(ROOT)):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    shutil.copytree(ROOT / ".dvc" / "plots", folder / ".dvc" / "plots")
    shutil.copy(TEST_PARAMS, folder)
    write_metrics(folder, 11)
    shutil.copy(folder / "metrics/summary/keras_fp32.json", folder / "metrics/candidate.json")
    write_tables(folder, 0)
    run(folder, *GIT, "add", "--all")
    run(folder, *GIT, "commit", "--quiet", "--message", "results")
    set_params(folder, calibrate={"size": 7})
    write_metrics(folder, 23)
    write_tables(folder, 3)
    return folder


# Tables.


def cells(folder: Path, *command: str) -> list[list[str]]:
    """The cells of a table that DVC prints, which must fit a terminal."""
    lines = dvc(folder, *command).splitlines()
    assert len(lines) < 30
    assert max(map(len, lines)) <= 120
    return [line.split() for line in lines]


def test_diff_has_the_headline_of_changed_variants_first_and_each_fact_once(folder: Path) -> None:
    header, *rows = cells(folder, "metrics", "diff")
    assert header == ["Path", "Metric", "HEAD", "workspace", "Change"]
    assert {row[0] for row in rows} == {f"metrics/summary/{name}.json" for name in QUANTIZED}
    figures = ["accuracy_delta_pp", "agreement", "kl_divergence", "top1_accuracy"]
    assert [row[1] for row in rows] == 3 * figures
    assert [row[2:] for row in rows[::4]] == 3 * [["-0.11", "-0.23", "-0.12"]]


def test_accuracies_per_class_are_compared_on_demand(folder: Path) -> None:
    path = "metrics/onnx_int8.json"
    assert cells(folder, "metrics", "diff", "--targets", path)[1:] == [
        [path, "per_class_accuracy.cat", "0.89", "0.77", "-0.12"],
        [path, "top1_accuracy", "0.8708", "0.8696", "-0.0012"],
    ]


@pytest.mark.parametrize("name", ["README.md", "docs/sweeps.md"])
def test_experiments_are_shown_as_documented(folder: Path, name: str) -> None:
    (command,) = DOCUMENTED.findall((ROOT / name).read_text())
    _line, header, _line, *rows, _line = cells(folder, *shlex.split(command)[1:])
    assert header[1:] == ["metrics/summary/onnx_int8.json:top1_accuracy", "calibrate.size"]
    assert [row[1:] for row in rows] == [["0.8696", "7"], ["0.8708", "1000"]]


# Plots.


class Drawn(NamedTuple):
    """A plot as drawn by a browser: its texts, and the data points that have a symbol or bar.

    fills: the colours of symbols by their descriptions for screen readers.
    """

    texts: list[str]
    symbols: int
    bars: int
    fills: dict[str, str]


def look_at(page: Any, plot: str) -> Drawn:
    page.wait_for_selector(f"#{plot} svg.marks text", state="attached")  # all is drawn at once
    box = page.locator(f"#{plot} svg.marks").bounding_box()
    assert min(box["width"], box["height"]) > 100  # large enough to read
    symbols = page.query_selector_all(f"#{plot} .mark-symbol.role-mark path")
    return Drawn(
        page.locator(f"#{plot} svg text").all_text_contents(),
        len(symbols),
        len(page.query_selector_all(f"#{plot} .mark-rect.role-mark path")),
        {x.get_attribute("aria-label"): (x.get_attribute("fill") or "").upper() for x in symbols},
    )


def draw(folder: Path, *command: str) -> dict[str, Drawn]:
    """All plots of a page, by name; it links to nothing and there is nothing in the console."""
    dvc(folder, "plots", *command, "--out", command[0])
    path = folder / command[0] / "index.html"
    assert links(path.read_text(encoding="utf-8")) == []
    with open_offline(path) as (page, problems):
        plots = {plot: look_at(page, plot) for plot in DEFINITIONS}
        assert problems == []
    return plots


@pytest.fixture(scope="module")
def show(folder: Path) -> dict[str, Drawn]:
    return draw(folder, "show")


@pytest.fixture(scope="module")
def diff(folder: Path) -> dict[str, Drawn]:
    return draw(folder, "diff", "HEAD")


@pytest.mark.parametrize("plot", DEFINITIONS)
def test_every_row_of_all_tables_is_drawn_offline(
    plot: str, show: dict[str, Drawn], diff: dict[str, Drawn]
) -> None:
    table = "sweep_size" if plot in ("sweep_accuracy", "sweep_agreement") else plot
    n = len(tables(0)[table])
    # Each settings on the front has a ring around it. Counts that differ between revisions, which
    # are those on the diagonal, have a frame.
    rings, framed = (2 if plot == "sweep_front" else 0), 2 * len(VARIANTS) * len(CLASSES)
    if plot in ("confusion", "sensitivity"):
        expected = (n, 2 * n + (framed if plot == "confusion" else 0))
        assert (show[plot].bars, diff[plot].bars) == expected
    else:
        assert (show[plot].symbols, diff[plot].symbols) == (n + rings, 2 * (n + rings))
    made = DEFINITIONS[plot]
    assert {made["title"], made["x_label"], made["y_label"]} <= set(show[plot].texts)
    revisions = " ".join(diff[plot].texts)
    assert "workspace" in revisions
    assert "HEAD" in revisions


def test_show_gives_known_variants_their_colour_and_unknown_ones_another(
    show: dict[str, Drawn],
) -> None:
    known, unknown = (
        {fill for label, fill in show["sqnr"].fills.items() if f"variant: {variant};" in label}
        for variant in VARIANTS[1:]
    )
    assert known == {palette.VARIANTS["onnx_uint8"]}
    assert len(unknown) == 1
    assert not unknown & set(palette.VARIANTS.values())


def test_show_names_classes_as_they_are_and_layers_in_the_order_of_the_plot(
    show: dict[str, Drawn],
) -> None:
    assert set(CLASSES) <= set(show["confusion"].texts)
    # From input to output; and the one that costs most first (see `tables`).
    for plot, expected in (("sqnr", LAYERS), ("sensitivity", LAYERS[::-1])):
        labels = [text for text in show[plot].texts if text in LAYERS]
        assert tuple(labels[: len(LAYERS)]) == expected


def test_show_in_a_demo_without_git_says_where_there_is_no_data(tmp_path: Path) -> None:
    make_project(tmp_path, SAMPLE_PARAMS)
    write_tables(tmp_path, 0, empty=("sqnr", "sensitivity", "sweep_size", "sweep_front"))
    dvc(tmp_path, "plots", "show")
    with open_offline(tmp_path / "dvc_plots" / "index.html") as (page, problems):
        assert look_at(page, "confusion").bars == len(tables(0)["confusion"])
        assert "No data for the plot sqnr." in page.inner_text("main")
        assert problems == []
