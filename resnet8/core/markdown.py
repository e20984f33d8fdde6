"""Writes Markdown."""

import html
import re
from collections.abc import Sequence


def escape(text: str) -> str:
    """Escapes text from outside: it becomes no Markdown, no HTML, and calls nobody.

    Source: https://github.github.com/gfm/#backslash-escapes; GitHub makes links of @names and #1,
    which a comment in between prevents.
    """
    safe = re.sub(r"([\\`*_\[\]|~$])", r"\\\1", html.escape(text, quote=False))
    return re.sub("([@#])", r"\1<!-- -->", safe).replace("\n", "<br>")


def table(lines: Sequence[Sequence[str]]) -> str:
    """A table, head first, numbers to the right; the cells are Markdown."""
    rule = ("---", *["---:"] * (len(lines[0]) - 1))
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (lines[0], rule, *lines[1:]))
