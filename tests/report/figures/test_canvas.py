"""Layout, fonts, colours and files of all figures."""

import hashlib
import io
import itertools
import multiprocessing
import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from PIL import Image

from resnet8.core.variants import FLOAT_VARIANTS, QUANTIZED_VARIANTS
from resnet8.report.figures import canvas, palette
from resnet8.report.figures.layer_rows import shorten

ROOT = Path(__file__).parents[3]


@canvas.styled()
def example(title: str = "A title") -> Figure:
    layout = canvas.Layout((3, 2))
    figure, (axes,) = canvas.new_figure(1, layout, title=title, caption="A caption.")
    axes.plot([0, 1], [1, -1], label="a line", **palette.line_style("onnx_uint8"))
    canvas.draw_legend(axes)
    return figure


def test_png_is_the_same_and_silent_whatever_a_user_has_set(tmp_path: Path) -> None:
    code = (
        "import hashlib, sys; from resnet8.report.figures import canvas;"
        "from tests.report.figures.test_canvas import example;"
        "print(hashlib.sha256(canvas.png(example())).hexdigest());"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    settings, nowhere = tmp_path / "matplotlibrc", tmp_path / "file"
    settings.write_text("axes.facecolor: yellow\nfont.family: monospace\nsavefig.dpi: 30\n")
    nowhere.touch()  # a home that cannot be written
    keep = {key: x for key, x in os.environ.items() if not key.startswith(("MPL", "XDG"))}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], cwd=ROOT, capture_output=True, text=True,
        env=keep | {"MATPLOTLIBRC": str(settings), "HOME": str(nowhere)}, check=False,
    )  # fmt: skip
    before = dict(mpl.rcParams)
    png = canvas.png(example())
    assert (done.stdout.strip(), done.stderr) == (hashlib.sha256(png).hexdigest(), "")
    assert dict(mpl.rcParams) == before
    with Image.open(io.BytesIO(png)) as picture:
        assert set(picture.info) == {"dpi"}  # no date, no version


@pytest.mark.parametrize(
    ("low", "high", "ticks", "limits"),
    [
        (2e-3, 5.0, ["10⁻³", "10⁻²", "10⁻¹", "10⁰", "10¹"], (1e-3, 10)),
        (2e-4, 6e-4, ["10⁻⁴", "10⁻³"], (1e-4, 1e-3)),
        (1e-8, 1e8, ["10⁻⁸", "10⁻⁵", "10⁻²", "10¹", "10⁴", "10⁷"], (1e-8, 1e8)),
    ],
)
def test_log_axis_has_ticks_at_powers_of_ten(
    low: float, high: float, ticks: list[str], limits: tuple[float, float]
) -> None:
    axes = example().axes[0]
    canvas.log_axis(axes, low=low, high=high)
    assert [label.get_text() for label in axes.get_yticklabels()] == ticks
    assert axes.get_ylim() == pytest.approx(limits)


@pytest.mark.parametrize(
    ("name", "longest", "short"),
    [
        ("conv2d_3.0", 10, "conv2d_3.0"),
        ("block_1_expand_batch_normalization", 11, "block…ation"),
        ("layer_normalization_mul_2", 12, "layer_…mul_2"),
    ],
)
def test_shorten_keeps_both_ends(name: str, longest: int, short: str) -> None:
    assert shorten(name, longest) == short


def test_names_with_dollar_signs_are_no_formulas() -> None:
    assert canvas.png(example("a$b_{1$")) != canvas.png(example("ab_1"))


@pytest.mark.parametrize("style", [palette.line_style, palette.marker_style])
def test_quantized_variants_differ_without_colour_too(style: Any) -> None:
    assert set(palette.VARIANTS) == {*FLOAT_VARIANTS, *QUANTIZED_VARIANTS}
    marks = {str({**style(x), "color": ""}) for x in QUANTIZED_VARIANTS}
    assert len(marks) == len(QUANTIZED_VARIANTS)


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
    """CIE L*a*b* of a colour as a reader sees it; distances of 10 are plain to see."""
    rgb = np.array(to_rgb(color))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    cones = np.clip(np.array(COLOUR_VISION[vision]) @ linear, 0, 1)
    xyz = np.array([
        [0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505],
    ]) @ cones / [0.9505, 1.0, 1.089]  # fmt: skip
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("vision", COLOUR_VISION)
def test_colours_of_variants_differ_to_readers_with(vision: str) -> None:
    colors = {palette.VARIANTS[name] for name in ("onnx_fp32", *QUANTIZED_VARIANTS)}
    for one, other in itertools.combinations(colors, 2):
        assert np.linalg.norm(lab(one, vision) - lab(other, vision)) > 10, (one, other)


def test_draw_all_gives_the_same_files_in_order_and_leaves_no_process() -> None:
    drawn = canvas.draw_all({title: partial(example, title) for title in ("b", "a")})
    assert list(drawn) == [(title, canvas.png(example(title))) for title in ("b", "a")]
    assert multiprocessing.active_children() == []
