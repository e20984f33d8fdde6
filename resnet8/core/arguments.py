"""Command lines of the stages."""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def parse_paths(
    argv: Sequence[str] | None, description: str | None, names: str, **others: Mapping[str, Any]
) -> argparse.Namespace:
    """Parses the options of a stage, most of which are paths.

    Args:
        argv: the arguments; None for `sys.argv`.
        description: text of `--help`.
        names: options that are paths, separated by spaces and without dashes. All are required
            but `params`.
        others: further options by name, each with keyword arguments of `add_argument`.
    """
    parser = argparse.ArgumentParser(description=description)
    for name in names.split():
        has_default = name == "params"
        default = Path("params.yaml") if has_default else None
        parser.add_argument(f"--{name}", type=Path, default=default, required=not has_default)
    for name, options in others.items():
        parser.add_argument(f"--{name}", **options)
    return parser.parse_args(argv)
