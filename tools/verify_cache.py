"""Finds damaged objects in DVC's cache and removes them: `python -m tools.verify_cache`.

DVC does not look into objects that are write-protected, as it leaves them: it checks out a
damaged one and calls it up to date. What is missing, it makes anew in the next `dvc repro`,
the damaged copy in the workspace included. That is what `make repro` does.
"""

import argparse
import hashlib
import sys
from collections.abc import Iterator
from pathlib import Path

from dvc.repo import Repo

from resnet8.core.processes import run_stage


def damaged_objects(cache: Path) -> Iterator[Path]:
    """The objects of a cache, `<two digits>/<the rest>`, whose content does not have their MD5."""
    for path in sorted(cache.glob("[0-9a-f][0-9a-f]/[0-9a-f]*")):
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "md5").hexdigest()
        if found != f"{path.parent.name}{path.name}".removesuffix(".dir"):
            yield path


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--project", type=Path, default=Path())
    parser.add_argument("--quiet", action="store_true", help="say nothing where nothing is damaged")
    args = parser.parse_args(argv)

    with Repo(str(args.project)) as repo:
        cache = Path(repo.cache.local.path)
    damaged = list(damaged_objects(cache))

    for path in damaged:
        path.unlink()
        print(f"removed {path}: it was damaged", file=sys.stderr)
    if damaged:
        print("`dvc repro` makes what is missing again.", file=sys.stderr)
    elif not args.quiet:
        print(f"{cache}: every object is what its name says")


if __name__ == "__main__":
    run_stage(main)
