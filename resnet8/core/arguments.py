"""Command lines of the stages: options that name paths."""

import argparse
from collections.abc import Sequence
from pathlib import Path

_DEFAULTS = {"params": Path("params.yaml")}


def path_parser(description: str | None, names: str) -> argparse.ArgumentParser:
    """Returns a parser for paths.

    Args:
        description: text of `--help`.
        names: options, separated by spaces and without dashes; all but `params` are required.
    """
    parser = argparse.ArgumentParser(description=description)
    for name in names.split():
        default = _DEFAULTS.get(name)
        parser.add_argument(f"--{name}", type=Path, default=default, required=default is None)
    return parser


def parse_paths(
    argv: Sequence[str] | None, description: str | None, names: str
) -> argparse.Namespace:
    """Parses paths.

    Args:
        argv: arguments; None for those of the process.
        description: text of `--help`.
        names: options, see `path_parser`.
    """
    return path_parser(description, names).parse_args(argv)
