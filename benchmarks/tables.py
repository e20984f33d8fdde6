"""Shows results to people: in the terminal and in benchmarks/README.md."""

from collections.abc import Sequence
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from resnet8.core.files import write_bytes
from tools.update_readme import replace_part

README = Path(__file__).with_name("README.md")
MIN_WIDTH = 130  # characters; narrower terminals wrap, rather than hide digits


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]], *, names: int = 1) -> None:
    """Prints a table; the first `names` columns are text, the others numbers."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for number, column in enumerate(columns):
        table.add_column(column, justify="left" if number < names else "right", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    width = max(Console().width, MIN_WIDTH)
    Console(highlight=False, width=width).print(table)


def markdown(columns: Sequence[str], rows: Sequence[Sequence[str]], *, names: int = 1) -> str:
    """Returns a table in Markdown."""
    rule = ["---"] * names + ["---:"] * (len(columns) - names)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (columns, rule, *rows))


def renew_readme(part: str, content: str) -> None:
    """Puts content between the marks of a part of benchmarks/README.md."""
    text = replace_part(README.read_text(encoding="utf-8"), part, content)
    write_bytes(README, text.encode())
