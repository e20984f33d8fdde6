"""Renders a table for a terminal or a notebook.

The first of its lines is the heading; the first column stands on the left, numbers on the right.
"""

from collections.abc import Sequence
from html import escape
from io import StringIO

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

Lines = Sequence[Sequence[str]]
NAME_WIDTH = 12  # characters of a name that are always shown


def as_text(title: str, lines: Lines, note: str, *, width: int) -> str:
    """Plain text in lines of at most `width` characters; longer cells are cut off."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for i, column in enumerate(lines[0]):
        longest = max(len(line[i]) for line in lines)
        least = longest if i else min(longest, NAME_WIDTH)  # names may be cut, numbers not
        table.add_column(
            Text(column), justify="right" if i else "left", no_wrap=True, min_width=least
        )
    for line in lines[1:]:
        table.add_row(*map(Text, line))
    text = StringIO()
    # In a notebook, rich would show the table itself, and write nothing.
    console = Console(file=text, width=width, color_system=None, force_jupyter=False)
    console.print(Text(title), table, Text(note), sep="\n")
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines()).strip("\n")


def as_html(title: str, lines: Lines, note: str) -> str:
    """A table in the notebook's own colours, light or dark; long ones scroll."""

    def row(tag: str, cells: Sequence[str]) -> str:
        sides = ["left", *["right"] * (len(cells) - 1)]
        found = (
            f'<{tag} style="text-align: {side}; padding: 0 0.6em">{escape(cell)}</{tag}>'
            for side, cell in zip(sides, cells, strict=True)
        )
        return f"<tr>{''.join(found)}</tr>"

    body = "\n".join(row("td", line) for line in lines[1:])
    return (
        f'<div style="max-height: 70em; overflow: auto"><p><b>{escape(title)}</b></p>\n'
        f"<table><thead>{row('th', lines[0])}</thead>\n<tbody>{body}</tbody></table>\n"
        f"<p>{escape(note)}</p></div>"
    )
