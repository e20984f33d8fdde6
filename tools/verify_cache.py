"""Finds damaged objects in DVC's cache and removes them: `python -m tools.verify_cache`.

DVC trusts write-protected objects: it checks out a damaged one without noticing. The next
`dvc repro` makes missing objects again and replaces damaged copies in the workspace.
"""

import argparse
import hashlib
import sys
from collections.abc import Iterator
from pathlib import Path

from dvc.repo import Repo

from resnet8.core.processes import run_stage


def damaged_objects(cache: Path) -> Iterator[Path]:
    """Yields the objects of a cache, `<two digits>/<rest>`, whose content has another MD5."""
    for path in sorted(cache.glob("[0-9a-f][0-9a-f]/[0-9a-f]*")):
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "md5").hexdigest()
        if digest != f"{path.parent.name}{path.name}".removesuffix(".dir"):
            yield path


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--project", type=Path, default=Path())
    parser.add_argument("--quiet", action="store_true", help="print only damage")
    args = parser.parse_args(argv)

    with Repo(str(args.project)) as repo:
        cache = Path(repo.cache.local.path)
    damaged = list(damaged_objects(cache))

    for path in damaged:
        path.unlink()
        print(f"removed {path}: it was damaged", file=sys.stderr)
    if damaged:
        print("Run `dvc repro` to make the removed objects again.", file=sys.stderr)
    elif not args.quiet:
        print(f"{cache}: all objects are intact")


if __name__ == "__main__":
    run_stage(main)
