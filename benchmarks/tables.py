"""Shows results to people: in the terminal and in benchmarks/README.md."""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from resnet8.compare.rendering import rich_table
from resnet8.core import markdown
from resnet8.core.files import write_bytes, write_json
from tools.update_readme import replace_part

README = Path(__file__).with_name("README.md")
MIN_WIDTH = 130  # characters; narrower terminals wrap, rather than hide digits


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options that all benchmarks have."""
    parser.add_argument("--json", type=Path, help="where to write all numbers")
    parser.add_argument("--readme", action="store_true", help="renew benchmarks/README.md")
    parser.add_argument("--params", type=Path, default=Path("params.yaml"))


def publish(
    args: argparse.Namespace,
    part: str,
    lines: Sequence[Sequence[str]],
    *,
    note: str,
    content: Mapping[str, Any],
) -> None:
    """Prints a table and a note, and writes what the options of `add_options` ask for.

    Args:
        args: the parsed options.
        part: of benchmarks/README.md.
        lines: cells of the table; the first line is the heading.
        note: a paragraph below the table.
        content: all numbers, for `--json`.
    """
    width = max(Console().width, MIN_WIDTH)
    Console(highlight=False, width=width).print(rich_table(lines))
    print(note)
    if args.json:
        write_json(args.json, content)
    if args.readme:
        text = README.read_text(encoding="utf-8")
        text = replace_part(text, part, f"{markdown.table(lines)}\n\n{note}")
        write_bytes(README, text.encode())
