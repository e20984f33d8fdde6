"""Compares the working tree's metrics with those of a Git revision: `python -m resnet8.gate`.

Exits with 0 where nothing got worse, 1 on a regression or a broken limit, and 2 where it could
not compare. Needs git and the checkout: no DVC cache, no remote, no data and no model.
"""

import argparse
import json
import sys
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from resnet8.core.errors import GateError, PipelineError
from resnet8.core.files import write_bytes
from resnet8.core.params import load_params
from resnet8.gate import shown
from resnet8.gate.evidence import (
    metrics_files,
    read_correct_images,
    read_evidence,
    read_saturating,
)
from resnet8.gate.lock import check_lock
from resnet8.gate.revisions import read_at, resolve
from resnet8.gate.rules import Verdict, check_limits, find_changes

PARAMS = "params.yaml"
_OTHER_CPU = (
    "8-bit products saturate on the CPU of one of both revisions, so the difference need not be "
    "the change's (docs/reproducibility.md)."
)


def read_working_tree(folder: Path, path: str) -> bytes:
    """Reads a file of the project.

    Raises:
        GateError: it is not there.
    """
    try:
        return (folder / path).read_bytes()
    except FileNotFoundError as exc:
        raise GateError(f"{path} must be there, got no such file. Run `dvc repro`.") from exc


def judge(folder: Path, base: str) -> Verdict:
    """Compares the project in a folder with a Git revision of it.

    Raises:
        PipelineError: there is no verdict, because something is missing, damaged or different.
    """
    params = load_params(folder / PARAMS)
    commit = resolve(folder, base)
    read = partial(read_working_tree, folder)
    evidence = read_evidence(read, params.variants, baseline=params.compare.baseline)
    check_lock(folder, metrics_files(params.variants), params=params.model_dump())
    read_base = partial(read_at, folder, commit)
    before = read_correct_images(read_base)
    elsewhere = read_saturating(read, params.variants) ^ read_saturating(read_base, before.by_class)
    changes = find_changes(before, evidence.correctness, significance=params.gate.significance)
    order: dict[str, int] = {name: i for i, name in enumerate(params.variants)}
    return Verdict(
        revision=base,
        commit=commit,
        limits=check_limits(evidence, params),
        warning=evidence.warning,
        changes=sorted(changes, key=lambda x: order.get(x.variant, len(order))),
        notes=[
            *_changed_limits(read_base(PARAMS), params.gate.model_dump()),
            *(
                f"{name}: {_OTHER_CPU}"
                for name in order
                if name in elsewhere & set(before.by_class)
            ),
        ],
    )


def _changed_limits(old: bytes, now: dict[str, Any]) -> list[str]:
    """Says which limits are not those of the base: a change that makes the gate easier to pass."""
    try:
        before = yaml.safe_load(old)["gate"]
        changed = {key: before.get(key) for key in now if before.get(key) != now[key]}
    except (yaml.YAMLError, AttributeError, LookupError, TypeError, ValueError) as exc:
        raise GateError(
            f"{PARAMS} of the base must have a section gate, got: {type(exc).__name__}. Name "
            "another base."
        ) from exc
    return [f"gate.{key} was {old} in the base, is {now[key]}." for key, old in changed.items()]


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m resnet8.gate", description=__doc__)
    parser.add_argument("--base", required=True, metavar="REV", help="a Git revision")
    for form in ("--json", "--markdown"):
        hint = "to a file, or without one instead of the table"
        parser.add_argument(form, nargs="?", const="-", metavar="FILE", help=hint)
    args = parser.parse_args(argv)

    try:
        verdict = judge(Path(), args.base)
        as_json, markdown = shown.to_json(verdict), shown.to_markdown(verdict)
        if "-" not in (args.json, args.markdown):
            shown.print_verdict(verdict)
        code = 0 if verdict.passed else 1
    except (PipelineError, OSError) as fault:
        print(f"error: {fault}", file=sys.stderr)
        as_json, markdown = shown.error_to_json(str(fault)), shown.error_to_markdown(str(fault))
        code = 2
    try:
        _deliver(args.json, json.dumps(as_json, indent=2, allow_nan=False) + "\n")
        _deliver(args.markdown, markdown)
    except OSError as fault:
        print(f"error: {fault}", file=sys.stderr)
        return 2
    return code


def _deliver(where: str | None, text: str) -> None:
    if where == "-":
        print(text, end="")
    elif where is not None:
        write_bytes(Path(where), text.encode())


if __name__ == "__main__":
    sys.exit(main())
