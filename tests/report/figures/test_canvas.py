"""What figures look like, whatever they show."""

import hashlib
import itertools
import multiprocessing
import os
import struct
import subprocess
import sys
from functools import partial
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from resnet8.core.variants import QUANTIZED_VARIANTS
from resnet8.report.figures import canvas, palette
from resnet8.report.figures.canvas import Layout

ROOT = Path(__file__).parents[3]


@canvas.styled()
def example(title: str = "A title") -> Figure:
    figure, (axes,) = canvas.new_figure(1, Layout((3, 2)), title=title, caption="A caption.")
    axes.plot([0, 1], [1, -1], label="a line", **palette.line_style("onnx_uint8"))
    canvas.draw_legend(axes)
    return figure


HASH_EXAMPLE = (
    "import hashlib, sys; from resnet8.report.figures import canvas;"
    "from tests.report.figures.test_canvas import example;"
    "print(hashlib.sha256(canvas.png(example())).hexdigest());"
    "assert 'matplotlib.pyplot' not in sys.modules"
)


def run(code: str, **changes: str) -> subprocess.CompletedProcess[str]:
    """Runs code in a process of its own, whose warnings are errors."""
    keep = {key: x for key, x in os.environ.items() if not key.startswith(("MPL", "XDG"))}
    command = [sys.executable, "-W", "error", "-c", code]
    return subprocess.run(
        command, cwd=ROOT, env=keep | changes, capture_output=True, text=True, check=False
    )


def example_hash() -> str:
    return hashlib.sha256(canvas.png(example())).hexdigest()


def test_png_is_the_same_each_time() -> None:
    assert canvas.png(example()) == canvas.png(example())


def test_png_of_one_figure_is_the_same_each_time() -> None:
    figure = example()
    assert canvas.png(figure) == canvas.png(figure)


def test_png_is_the_same_and_silent_where_no_home_can_be_written(tmp_path: Path) -> None:
    nowhere = tmp_path / "file"
    nowhere.touch()  # a home that no folder can be made in
    done = run(HASH_EXAMPLE, HOME=str(nowhere))
    assert (done.stdout.strip(), done.stderr) == (example_hash(), "")


def test_png_is_the_same_in_another_process_whatever_a_user_has_set(tmp_path: Path) -> None:
    settings = tmp_path / "matplotlibrc"
    settings.write_text("axes.facecolor: yellow\nfont.family: monospace\nsavefig.dpi: 30\n")
    done = run(HASH_EXAMPLE, MATPLOTLIBRC=str(settings))
    assert (done.stdout.strip(), done.stderr) == (example_hash(), "")


def test_png_holds_neither_software_nor_time() -> None:
    content, kinds, at = canvas.png(example()), [], 8
    while at < len(content):
        length, kind = struct.unpack(">I4s", content[at : at + 8])
        kinds.append(kind.decode())
        at += 12 + length
    assert set(kinds) == {"IHDR", "pHYs", "IDAT", "IEND"}


def test_figures_leave_settings_as_they_were() -> None:
    before = dict(mpl.rcParams)
    canvas.png(example())
    assert dict(mpl.rcParams) == before


def test_styled_puts_settings_back_after_an_error() -> None:
    before = dict(mpl.rcParams)
    with pytest.raises(KeyError, match="lost"), canvas.styled():
        raise KeyError("lost")
    assert dict(mpl.rcParams) == before


def test_new_figure_gives_each_panel_its_size_in_inches() -> None:
    figure, panels = canvas.new_figure(3, Layout((3, 2), columns=2), title="", caption="Words. ")
    size = figure.get_size_inches()
    places = [panel.get_position() for panel in panels]
    np.testing.assert_allclose([place.size * size for place in places], [(3, 2)] * 3)
    assert places[0].y0 == places[1].y0 > places[2].y1
    assert places[0].x0 == places[2].x0 < places[1].x0


def test_new_figure_is_wide_enough_for_a_long_title() -> None:
    figure = example("MobileNetV2_Expanded_Conv_BN_WithMoments: distribution of values")
    figure.canvas.draw()
    assert figure.texts[0].get_window_extent().x1 <= figure.bbox.x1


def test_new_figure_breaks_a_long_caption_into_lines_that_fit() -> None:
    figure, panels = canvas.new_figure(1, Layout((3, 2)), title="", caption="Many words. " * 30)
    box = figure.texts[1].get_window_extent()
    assert 0 <= box.y0 < box.y1 < panels[0].get_window_extent().y0
    assert box.x1 <= figure.bbox.x1


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (2e-3, 5.0, ["10⁻²", "10⁻¹", "10⁰"]),
        (2e-4, 6e-4, ["10⁻⁴", "10⁻³"]),
        (0.5, 5.0, ["10⁻¹", "10⁰", "10¹"]),
    ],
)
def test_log_axis_has_ticks_at_powers_of_ten(low: float, high: float, ticks: list[str]) -> None:
    axes = example().axes[0]
    canvas.log_axis(axes, "x", low=low, high=high)
    assert [label.get_text() for label in axes.get_xticklabels()] == ticks


def test_log_axis_covers_the_range() -> None:
    axes = example().axes[0]
    canvas.log_axis(axes, "y", low=2e-4, high=6e-4)
    assert axes.get_ylim() == (1e-4, 1e-3)


def test_log_axis_has_few_ticks_over_a_wide_range() -> None:
    axes = example().axes[0]
    canvas.log_axis(axes, "y", low=1e-12, high=1e12)
    assert 5 <= len(axes.get_yticks()) <= 9


def test_name_rows_begins_on_top() -> None:
    axes = example().axes[0]
    canvas.name_rows(axes, ["first", "second"])
    heights = axes.transData.transform([(0, 0), (0, 1)])[:, 1]
    assert heights[0] > heights[1]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["first", "second"]


def test_shortened_keeps_both_ends_of_a_long_name() -> None:
    assert canvas.shortened("block_1_expand_batch_normalization", longest=11) == "block…ation"


def test_shortened_keeps_a_short_name() -> None:
    assert canvas.shortened("conv2d_3.0", longest=10) == "conv2d_3.0"


def test_names_with_dollar_signs_are_no_formulas() -> None:
    assert canvas.png(example("a$b_{1$")) != canvas.png(example("ab_1"))


def test_draw_all_gives_what_png_gives_in_the_order_of_names() -> None:
    titles = ["b", "a", "c"]
    drawn = dict(canvas.draw_all({title: partial(example, title) for title in titles}))
    assert list(drawn) == titles
    assert drawn == {title: canvas.png(example(title)) for title in titles}


@pytest.mark.parametrize("marks", [palette.DASHES, palette.MARKERS, palette.VARIANTS])
def test_quantized_variants_differ_in(marks: dict[str, object]) -> None:
    assert len({marks[name] for name in QUANTIZED_VARIANTS}) == len(QUANTIZED_VARIANTS)


@pytest.mark.parametrize("marks", [palette.DASHES, palette.MARKERS, palette.VARIANTS])
def test_every_variant_has(marks: dict[str, object]) -> None:
    assert set(marks) >= {"keras_fp32", "onnx_fp32", "torch_fp32", *QUANTIZED_VARIANTS}


# How people without one kind of cones see linear RGB. Source: G. M. Machado et al. (2009), A
# physiologically-based model for simulation of color vision deficiency, severity 1.0.
COLOUR_VISION = {
    "all cones": np.eye(3),
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}


def lab(color: str, vision: str) -> np.ndarray:
    """CIE L*a*b* of a colour as somebody sees it; distances of 10 are plain to see."""
    rgb = np.array(to_rgb(color))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    seen = np.clip(np.array(COLOUR_VISION[vision]) @ linear, 0, 1)
    xyz = np.array([
        [0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505],
    ]) @ seen / [0.9505, 1.0, 1.089]  # fmt: skip
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("vision", COLOUR_VISION)
def test_colours_of_variants_differ_to_readers_with(vision: str) -> None:
    colors = {palette.VARIANTS[name] for name in ("onnx_fp32", *QUANTIZED_VARIANTS)}
    for one, other in itertools.combinations(colors, 2):
        assert np.linalg.norm(lab(one, vision) - lab(other, vision)) > 10, (one, other)


def test_draw_all_leaves_no_process_when_it_is_left_early() -> None:
    drawn = canvas.draw_all({title: partial(example, title) for title in "abc"})
    assert next(drawn)[0] == "a"
    drawn.close()
    assert multiprocessing.active_children() == []
