"""Figures on Matplotlib's Agg canvas: the only module that imports Matplotlib.

Nothing global changes: there is no pyplot and no backend, and settings hold only while a
figure is made or drawn. A figure depends neither on a user's matplotlibrc nor on the fonts of
a system, so the same data give the same bytes. Lengths are in inches.
"""

import io
import logging
import math
import os
import signal
import textwrap
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import NamedTuple

import numpy as np


@contextmanager
def _unlogged() -> Iterator[None]:
    """Keeps Matplotlib from saying that it found no home to cache its list of fonts in."""
    log = logging.getLogger("matplotlib")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(level)


with _unlogged():
    import matplotlib.style
    from matplotlib.axes import Axes
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

__all__ = ["Axes", "Figure"]

Drawing = Callable[[], Figure]  # a figure that is made when it is called, in any process


class Picture(Figure):
    """A figure that shows itself in a notebook."""

    def _repr_png_(self) -> bytes:
        return png(self)


DPI = 100
FONT_SIZE = 9  # points
SMALL = 8  # points; of legends, captions and ticks
INK = "#333333"  # of text that is not data
PALE = "#D9D9D9"  # of grid lines, and of areas behind data
STYLE = {
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.labelsize": FONT_SIZE,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": FONT_SIZE,
    "axes.titleweight": "bold",
    "axes.titley": 1.0,  # fixed, as finding a free place takes as long as drawing
    "figure.dpi": DPI,
    "font.size": FONT_SIZE,
    "grid.color": PALE,
    "grid.linewidth": 0.6,
    "image.interpolation": "nearest",  # pixels as they are
    "legend.borderaxespad": 0.0,
    "legend.fontsize": SMALL,
    "legend.frameon": False,
    "legend.handlelength": 2.8,  # long enough for the longest dash pattern
    "lines.linewidth": 1.4,
    "text.parse_math": False,  # a layer's name may hold dollar signs
    "xtick.color": INK,
    "xtick.labelsize": SMALL,
    "ytick.color": INK,
    "ytick.labelsize": SMALL,
}
MINUS = "\N{MINUS SIGN}"
LONGEST_NAME = 28  # characters; the middle of longer ones is left out
_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_CHARACTER = 0.072  # mean width at FONT_SIZE
_SMALL_CHARACTER = 0.062  # and at SMALL
_TITLE_CHARACTER = 0.105  # and of a figure's title
_LINE = 0.155  # height of a line of SMALL text
_LEGEND_LINE = 0.17
_TITLE = 0.3  # height of a figure's title


class Layout(NamedTuple):
    """Panels of one size in rows, and the room around and between them.

    panel: width and height of each.
    columns: panels in a row.
    left, right, top, bottom: around all panels; title and caption come on top of it.
    across, down: between panels.
    """

    panel: tuple[float, float]
    columns: int = 1
    left: float = 0.75
    right: float = 0.2
    top: float = 0.3
    bottom: float = 0.5
    across: float = 0.75
    down: float = 0.65


@contextmanager
def styled() -> Iterator[None]:
    """Holds the style, as a block or as a decorator, and puts back what was set before."""
    with matplotlib.style.context(["default", STYLE]):
        yield


def new_figure(
    panels: int, layout: Layout, *, title: str, caption: str = ""
) -> tuple[Figure, list[Axes]]:
    """Makes a figure with panels; call it within `styled`.

    Args:
        panels: how many.
        layout: where they are.
        title: on top.
        caption: at the bottom, broken into lines.

    Returns:
        The figure, and its panels row by row.
    """
    (wide, high), columns = layout.panel, min(layout.columns, panels)
    rows = -(-panels // columns)
    width = layout.left + columns * (wide + layout.across) - layout.across + layout.right
    width = max(width, 0.3 + _TITLE_CHARACTER * len(title))
    lines = textwrap.wrap(caption, int((width - 0.2) / _SMALL_CHARACTER))
    below = layout.bottom + (len(lines) * _LINE + 0.15 if lines else 0.0)
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


def png(figure: Figure) -> bytes:
    """A figure as a PNG file, the same bytes each time."""
    out, fast = io.BytesIO(), {"compress_level": 3}  # and as small as with more
    with styled():
        figure.savefig(
            out, format="png", dpi="figure", metadata={"Software": None}, pil_kwargs=fast
        )
    return out.getvalue()


def draw_all(drawings: Mapping[str, Drawing]) -> Iterator[tuple[str, bytes]]:
    """Makes figures on all cores, one after the other in each.

    Args:
        drawings: by name.

    Yields:
        Each name and its PNG file, in the order given.
    """
    context = get_context("spawn")
    lifeline, end = context.Pipe(duplex=False)
    pool = ProcessPoolExecutor(mp_context=context, initializer=_tie, initargs=(lifeline,))
    try:
        with _ctrl_c_held():
            pictures = pool.map(_png_of, drawings.values())
        yield from zip(drawings, pictures, strict=True)
    finally:
        # What is being drawn is drawn to its end: in early releases of Python 3.11, a pool whose
        # processes end while something is sent to them waits forever
        # (https://github.com/python/cpython/issues/94777).
        pool.shutdown(cancel_futures=True)
        end.close()
        lifeline.close()


@contextmanager
def _ctrl_c_held() -> Iterator[None]:
    """Ctrl-C waits for the end of the block, and never reaches a process started in it."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _tie(lifeline: Connection) -> None:
    """Ends this process as soon as the other end of the lifeline is closed, or its process dead."""
    threading.Thread(target=lambda: (lifeline.poll(None), os._exit(1)), daemon=True).start()


def _png_of(drawing: Drawing) -> bytes:
    return png(drawing())


def typeset(number: str) -> str:
    """A number with a minus sign in place of a hyphen."""
    return number.replace("-", MINUS)


def log_axis(axes: Axes, which: str, *, low: float, high: float) -> None:
    """Makes `x` or `y` logarithmic, with ticks at powers of ten.

    Args:
        axes: the panel.
        which: `x` or `y`.
        low: the lower end, above zero; lower where there would be less than two ticks.
        high: the upper end, higher likewise.
    """
    first, last = math.ceil(math.log10(low)), math.floor(math.log10(high))
    if last <= first:
        first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
        low, high = 10.0**first, 10.0**last
    exponents = range(first, last + 1, 1 + (last - first) // 8)
    labels = [f"10{str(exponent).translate(_SUPERSCRIPTS)}" for exponent in exponents]
    axes.set(**{f"{which}lim": (low, high), f"{which}scale": "log"})  # in this order
    axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_ticks([10.0**exponent for exponent in exponents], labels=labels)
    axis.set_ticks([], minor=True)


def legend_height(entries: int, *, columns: int = 2) -> float:
    """The room that a legend with so many entries takes above a panel."""
    return 0.1 + _LEGEND_LINE * -(-entries // columns)


def draw_legend(axes: Axes, *, columns: int = 2, room: float = 0.06) -> None:
    """Draws a legend `room` above a panel, where there is anything to tell apart."""
    handles, labels = axes.get_legend_handles_labels()
    height = axes.get_window_extent().height / DPI
    if handles:
        place = (0, 1 + room / height)
        axes.legend(handles, labels, ncols=columns, loc="lower left", bbox_to_anchor=place)


def name_rows(axes: Axes, names: Sequence[str], *, room: float = 0.6) -> None:
    """Gives each row of a panel a name, the first on top; row i is at height i.

    Args:
        axes: the panel.
        names: of the rows.
        room: above the first and below the last row.
    """
    axes.set_ylim(len(names) - 1 + room, -room)
    axes.set_yticks(range(len(names)), labels=[shortened(name) for name in names])
    axes.tick_params(axis="y", length=0)


def rule_rows(axes: Axes, rows: int) -> None:
    """Draws a line between each two rows."""
    across = axes.get_yaxis_transform()  # the panel's width along x, rows along y
    axes.hlines(np.arange(1, rows) - 0.5, 0, 1, PALE, linewidth=0.6, transform=across)


def note_rows(axes: Axes, notes: Sequence[str], *, heading: str) -> None:
    """Writes something to the right of each row, below a heading."""
    across = axes.get_yaxis_transform()
    for row, note in enumerate(notes):
        axes.text(1.02, row, note, transform=across, va="center", fontsize=SMALL)
    axes.text(1.02, 1.01, heading, transform=axes.transAxes, fontsize=SMALL, color=INK)


def names_width(names: Sequence[str], *, longest: int = LONGEST_NAME) -> float:
    """The room that names, shortened, need beside a panel."""
    return 0.25 + _CHARACTER * max((min(len(name), longest) for name in names), default=0)


def shortened(name: str, *, longest: int = LONGEST_NAME) -> str:
    """A name with its middle left out where it has more than `longest` characters."""
    if len(name) <= longest:
        return name
    half = (longest - 1) // 2
    return f"{name[:half]}…{name[-half:]}"
