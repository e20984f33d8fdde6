"""Renders tables for a terminal or a notebook.

Lines are sequences of cells: the first line is the heading, the first column is aligned left and
all others right. `core.markdown.table` renders such lines in Markdown.
"""

from collections.abc import Sequence
from html import escape
from io import StringIO
from typing import Any

import rich.table
from rich import box
from rich.console import Console
from rich.text import Text

Lines = Sequence[Sequence[str]]
NAME_WIDTH = 12  # characters of the first column that a narrow terminal shows


def rich_table(lines: Lines, *, title: str | None = None, **options: Any) -> rich.table.Table:
    """Returns a table of plain text; in a narrow terminal only the first column is cut off."""
    style: dict[str, Any] = {"box": box.SIMPLE_HEAD, "padding": (0, 1, 0, 0)}
    table = rich.table.Table(title=title, **style | options)
    for i, column in enumerate(lines[0]):
        longest = max(len(part) for line in lines for part in line[i].split("\n"))
        least = longest if i else min(longest, NAME_WIDTH)
        side: Any = "right" if i else "left"
        table.add_column(Text(column), justify=side, no_wrap=True, min_width=least)
    for line in lines[1:]:
        table.add_row(*map(Text, line))
    return table


def as_text(title: str, lines: Lines, note: str, *, width: int) -> str:
    """Returns plain text in lines of at most `width` characters."""
    text = StringIO()
    # In a notebook, rich would show the table itself and write nothing.
    console = Console(file=text, width=width, color_system=None, force_jupyter=False)
    console.print(Text(title), rich_table(lines), Text(note), sep="\n")
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines()).strip("\n")


def as_html(title: str, lines: Lines, note: str) -> str:
    """Returns a table in the notebook's colours, light or dark, which scrolls if it is long."""

    def row(tag: str, cells: Sequence[str]) -> str:
        sides = ["left", *["right"] * (len(cells) - 1)]
        return "".join(
            f'<{tag} style="text-align: {side}; padding: 0 0.6em">{escape(cell)}</{tag}>'
            for side, cell in zip(sides, cells, strict=True)
        )

    body = "\n".join(f"<tr>{row('td', line)}</tr>" for line in lines[1:])
    return (
        f'<div style="max-height: 70em; overflow: auto"><p><b>{escape(title)}</b></p>\n'
        f"<table><thead><tr>{row('th', lines[0])}</tr></thead>\n<tbody>{body}</tbody></table>\n"
        f"<p>{escape(note)}</p></div>"
    )
