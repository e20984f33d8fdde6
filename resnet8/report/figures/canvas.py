"""Figures on Matplotlib's Agg canvas; the only module that imports Matplotlib.

The same data give the same bytes, whatever a user's matplotlibrc and fonts are. Nothing global
changes: there is no pyplot, and settings hold only while a figure is made or saved. Lengths are
in inches.
"""

import io
import logging
import math
import os
import signal
import textwrap
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context, parent_process
from typing import NamedTuple

_log = logging.getLogger("matplotlib")
_level = _log.level
_log.setLevel(logging.ERROR)  # hides the warning that the home folder takes no font cache
import matplotlib.style  # noqa: E402
from matplotlib.axes import Axes  # noqa: E402
from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402
from matplotlib.patches import StepPatch  # noqa: E402

_log.setLevel(_level)

__all__ = ["Axes", "Figure", "StepPatch"]

Drawing = Callable[[], Figure]  # makes a figure, in any process


class Picture(Figure):
    """A figure that shows itself in a notebook."""

    def _repr_png_(self) -> bytes:
        return png(self)


DPI = 100
FONT_SIZE = 9  # points
SMALL = 8  # points; legends, captions and ticks
INK = "#333333"  # text that is not data
PALE = "#D9D9D9"  # grid lines, and areas behind data
STYLE = {
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.labelsize": FONT_SIZE,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": FONT_SIZE,
    "axes.titleweight": "bold",
    "axes.titley": 1.0,  # a fixed place: finding a free one takes as long as drawing
    "figure.dpi": DPI,
    "font.size": FONT_SIZE,
    "grid.color": PALE,
    "grid.linewidth": 0.6,
    "image.interpolation": "nearest",
    "legend.borderaxespad": 0.0,
    "legend.borderpad": 0.0,
    "legend.fontsize": SMALL,
    "legend.frameon": False,
    "legend.handlelength": 2.8,  # fits the longest dash pattern
    "lines.linewidth": 1.4,
    "text.parse_math": False,  # layer names may contain dollar signs
    "xtick.color": INK,
    "xtick.labelsize": SMALL,
    "ytick.color": INK,
    "ytick.labelsize": SMALL,
}
MINUS = "\N{MINUS SIGN}"
LEGEND_LINE = 0.17  # height of a line of a legend
_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_SMALL_CHARACTER = 0.062  # mean width at SMALL
_TITLE_CHARACTER = 0.105  # mean width in a figure's title
_LINE = 0.155  # height of a line of SMALL text
_TITLE = 0.3  # height of a figure's title


class Layout(NamedTuple):
    """Panels of one size in rows, and the space around and between them.

    Margins are around all panels, without title and caption; across and down are gaps between them.
    """

    panel: tuple[float, float]
    columns: int = 1
    left: float = 0.75
    right: float = 0.2
    top: float = 0.3
    bottom: float = 0.5
    across: float = 0.75
    down: float = 0.65


# Applies the style within a block or, as a decorator, within a function.
styled = partial(matplotlib.style.context, ["default", STYLE])


def new_figure(
    panels: int, layout: Layout, *, title: str, caption: str
) -> tuple[Figure, list[Axes]]:
    """Returns a figure and its panels, row by row; call it within `styled`.

    The figure is as wide as its title needs, and the caption is broken into lines that fit.
    """
    (wide, high), columns = layout.panel, min(layout.columns, panels)
    rows = math.ceil(panels / columns)
    width = layout.left + columns * (wide + layout.across) - layout.across + layout.right
    width = max(width, 0.3 + _TITLE_CHARACTER * len(title))
    lines = textwrap.wrap(caption, int((width - 0.2) / _SMALL_CHARACTER))
    below = layout.bottom + len(lines) * _LINE + 0.15
    height = below + rows * (high + layout.down) - layout.down + layout.top + _TITLE
    figure = Picture(figsize=(width, height))
    FigureCanvasAgg(figure)
    left, size = 0.15 / width, FONT_SIZE + 2
    figure.text(left, 1 - 0.1 / height, title, va="top", fontsize=size, weight="bold")
    figure.text(left, 0.1 / height, "\n".join(lines), fontsize=SMALL, color=INK)
    axes = []
    for i in range(panels):
        row, column = divmod(i, columns)
        x = layout.left + column * (wide + layout.across)
        y = below + (rows - 1 - row) * (high + layout.down)
        axes.append(figure.add_axes((x / width, y / height, wide / width, high / height)))
    return figure, axes


def log_axis(axes: Axes, *, low: float, high: float) -> None:
    """Makes the y-axis logarithmic, with ticks at powers of ten around `low` > 0 and `high`."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    exponents = range(first, last + 1, 1 + (last - first) // 6)
    labels = [f"10{str(exponent).translate(_SUPERSCRIPTS)}" for exponent in exponents]
    axes.set(ylim=(10.0**first, 10.0**last), yscale="log")  # in this order
    axes.set_yticks([10.0**exponent for exponent in exponents], labels=labels)
    axes.set_yticks([], minor=True)


def draw_legend(axes: Axes, *, title: str = "", columns: int = 1, gap: float = 0.06) -> None:
    """Draws a legend `gap` above a panel."""
    height = axes.get_window_extent().height / DPI
    axes.legend(
        *axes.get_legend_handles_labels(),
        title=title,
        title_fontproperties={"size": FONT_SIZE, "weight": "bold"},
        alignment="left",
        ncols=columns,
        loc="lower left",
        bbox_to_anchor=(0, 1 + gap / height),
    )


def png(figure: Figure) -> bytes:
    """Encodes a figure as PNG, without metadata."""
    out, fast = io.BytesIO(), {"compress_level": 3}  # higher levels are slower, not smaller
    with styled():
        figure.savefig(
            out, format="png", dpi="figure", metadata={"Software": None}, pil_kwargs=fast
        )
    return out.getvalue()


def draw_all(drawings: Mapping[str, Drawing]) -> Iterator[tuple[str, bytes]]:
    """Draws figures in one process per core, and yields names and PNG files in order."""
    pool = ProcessPoolExecutor(mp_context=get_context("spawn"), initializer=_end_with_parent)
    try:
        # The processes inherit the mask: Ctrl-C reaches this process alone.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
        try:
            pictures = pool.map(_png_of, drawings.values())
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        yield from zip(drawings, pictures, strict=True)
    finally:
        pool.shutdown(cancel_futures=True)  # waits: https://github.com/python/cpython/issues/94777


def _png_of(drawing: Drawing) -> bytes:
    return png(drawing())


def _end_with_parent() -> None:
    """Ends this process as soon as its parent is dead, even if it was killed."""
    parent = parent_process()

    def wait() -> None:
        if parent:
            parent.join()
            os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
