"""Writes Markdown."""

import html
import re
from collections.abc import Sequence


def escape(text: str) -> str:
    """Escapes untrusted text, so that it has no effect as Markdown, HTML, mention or link.

    Source: https://github.github.com/gfm/#backslash-escapes; a comment after `@` and `#` keeps
    GitHub from linking @names and #1.
    """
    safe = re.sub(r"([\\`*_\[\]|~$])", r"\\\1", html.escape(text, quote=False))
    return re.sub("([@#])", r"\1<!-- -->", safe).replace("\n", "<br>")


def table(lines: Sequence[Sequence[str]]) -> str:
    """Formats rows of Markdown cells as a table; the first row is the head."""
    rule = ("---", *["---:"] * (len(lines[0]) - 1))
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (lines[0], rule, *lines[1:]))
