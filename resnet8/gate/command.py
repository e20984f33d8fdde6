"""Compares the working tree's metrics with those of a Git revision: `python -m resnet8.gate`.

Exits with 0 where nothing got worse, 1 on a regression or a broken limit, and 2 where it could
not compare. Needs git and the checkout: no DVC cache, no remote, no data and no model.
"""

import argparse
import io
import os
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from resnet8.core.errors import PipelineError
from resnet8.core.files import read_bytes, write_through_link
from resnet8.core.param_errors import parse_yaml
from resnet8.core.params import Params, load_params
from resnet8.gate import render
from resnet8.gate.evidence import (
    Results,
    check_comparison,
    metrics_files,
    read_conversion_errors,
    read_results,
)
from resnet8.gate.lock import check_lock
from resnet8.gate.revisions import find_edited, read_at, resolve
from resnet8.gate.rules import check_limits, find_changes
from resnet8.gate.yardstick import CODE, PARAMS, find_moved

_CODES = {"pass": 0, "fail": 1, "error": 2}
_OTHER_CPU = "8-bit products saturate on only one of the two CPUs (docs/reproducibility.md)."


class Revisions(NamedTuple):
    """The results of the working tree and of the base that it is compared with."""

    params: Params  # of the working tree
    new: Results
    old: Results
    base: dict[str, str]  # the revision as given, and the hash of its commit


def read_revisions(base: str) -> tuple[Revisions, Iterator[str]]:
    """Reads the working tree and a Git revision.

    Returns:
        Their results, and the sentences of `find_moved`.

    Raises:
        PipelineError: files are missing or damaged.
    """
    params = load_params(Path(PARAMS))
    commit = resolve(base)
    read_base = partial(read_at, commit)
    where = f"{PARAMS} of the base {commit[:10]}"
    old_params = parse_yaml(read_base(Path(PARAMS)), where=where)
    new, old = read_results(read_bytes), read_results(read_base)
    moved = find_moved(old_params, params, old=old, new=new, edited=find_edited(commit, CODE))
    return Revisions(params, new, old, {"revision": base, "commit": commit}), moved


def judge(revisions: Revisions) -> dict[str, Any]:
    """Compares the working tree with its base.

    Returns:
        The verdict, as JSON holds it: `failures` are reasons, `notes` do not fail the gate, and
        `warning` is about a baseline that is not better than chance, so that passing says little.
        Accuracies are fractions, `*_pp` percentage points.

    Raises:
        PipelineError: files are missing, damaged or not comparable.
    """
    params, new, old, base = revisions
    warning = check_comparison(
        read_bytes, new.correctness, params.variants, baseline=params.compare.baseline
    )
    limits = check_limits(new.correctness, read_conversion_errors(read_bytes), params)
    check_lock(metrics_files(params.variants))
    compared = find_changes(old.correctness, new.correctness, significance=params.gate.significance)
    changes = {x: compared[x] for x in dict.fromkeys([*params.variants, *compared])}
    on_other_cpu = (new.saturating ^ old.saturating) & old.correctness.by_class.keys()
    failures = render.explain_failures(limits, changes)
    return {
        "verdict": "fail" if failures else "pass",
        "base": base,
        "failures": failures,
        "notes": [f"{x}: {_OTHER_CPU}" for x in params.variants if x in on_other_cpu],
        "warning": warning,
        "limits": limits,
        "changes": changes,
    }


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m resnet8.gate", description=__doc__)
    parser.add_argument("--base", required=True, metavar="REV", help="a Git revision")
    for option in ("--json", "--markdown"):
        hint = "to a file, or without one instead of the table"
        parser.add_argument(option, nargs="?", const="-", metavar="FILE", help=hint)
    args = parser.parse_args(argv)

    answer: dict[str, Any] = {"moved": []}
    try:
        revisions, moved = read_revisions(args.base)
        answer["moved"] += moved
        answer |= judge(revisions)
    except (PipelineError, OSError) as fault:
        answer |= {"verdict": "error", "error": str(fault)}
    try:
        if answer["verdict"] == "error":
            print(render.to_text(answer), end="", file=sys.stderr)
        elif "-" not in (args.json, args.markdown):
            _print(render.to_text(answer))
        for file, to_format in ((args.json, render.to_json), (args.markdown, render.to_markdown)):
            if file == "-":
                _print(to_format(answer))
            elif file is not None:
                content = to_format(answer).encode(errors="backslashreplace")
                write_through_link(Path(file), content)
    except OSError as fault:
        print(f"error: {fault}", file=sys.stderr)
        return _CODES["error"]
    return _CODES[answer["verdict"]]


def _print(text: str) -> None:
    """Prints text; ignores a closed pipe and escapes characters that the encoding lacks."""
    out = sys.__stdout__  # sys.stdout leads there, through what DVC puts in between
    if isinstance(out, io.TextIOWrapper):
        out.reconfigure(errors="backslashreplace")
    try:
        print(text, end="", flush=True)
    except BrokenPipeError:  # Python would write the rest when it ends
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
