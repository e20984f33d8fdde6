"""Compares the working tree's metrics with those of a Git revision: `python -m resnet8.gate`.

Exits with 0 where nothing got worse, 1 on a regression or a broken limit, and 2 where it could
not compare. Needs git and the checkout: no DVC cache, no remote, no data and no model.
"""

import argparse
import io
import os
import sys
from functools import partial
from pathlib import Path

from resnet8.core.errors import PipelineError
from resnet8.core.files import read_bytes, write_in_place
from resnet8.core.param_errors import parse_yaml
from resnet8.core.params import load_params
from resnet8.gate import render
from resnet8.gate.evidence import (
    check_comparison,
    metrics_files,
    read_conversion_errors,
    read_results,
)
from resnet8.gate.lock import check_lock
from resnet8.gate.revisions import find_edited, read_at, resolve
from resnet8.gate.rules import Verdict, check_limits, find_changes
from resnet8.gate.yardstick import CODE, PARAMS, find_moved

_OTHER_CPU = "8-bit products saturate on one of both CPUs only (docs/reproducibility.md)."


def judge(folder: Path, base: str, moved: list[str]) -> Verdict:
    """Compares a project with a Git revision, and adds the sentences of `find_moved` to `moved`.

    Raises:
        PipelineError: files are missing, damaged or not comparable.
    """
    params = load_params(folder / PARAMS)
    commit = resolve(folder, base)
    read_base = partial(read_at, folder, commit)

    def read(path: str) -> bytes:
        return read_bytes(folder / path)

    old_params = parse_yaml(read_base(PARAMS), where=f"{PARAMS} of the base {commit[:10]}")
    new, old = read_results(read), read_results(read_base)
    edited = find_edited(folder, commit, CODE)
    moved += find_moved(old_params, params, old=old, new=new, edited=edited)
    baseline = params.compare.baseline
    warning = check_comparison(read, new.correctness, params.variants, baseline=baseline)
    limits = check_limits(new.correctness, read_conversion_errors(read), params)
    check_lock(folder, params.model_dump(), metrics_files(params.variants))
    changes = find_changes(old.correctness, new.correctness, significance=params.gate.significance)
    order: dict[str, int] = {name: i for i, name in enumerate(params.variants)}
    elsewhere = (new.saturating ^ old.saturating) & {*order} & {*old.correctness.by_class}
    return Verdict(
        revision=base,
        commit=commit,
        limits=limits,
        warning=warning,
        changes=sorted(changes, key=lambda x: order.get(x.variant, len(order))),
        moved=moved,
        notes=[f"{name}: {_OTHER_CPU}" for name in order if name in elsewhere],
    )


def answer(folder: Path, base: str) -> tuple[int, render.Answer]:
    """Returns the exit code and the rendered answer."""
    moved: list[str] = []
    try:
        verdict = judge(folder, base, moved)
        return int(not verdict.passed), render.describe(verdict)
    except (PipelineError, OSError) as fault:
        return 2, render.describe_error(str(fault), moved)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m resnet8.gate", description=__doc__)
    parser.add_argument("--base", required=True, metavar="REV", help="a Git revision")
    for form in ("--json", "--markdown"):
        hint = "to a file, or without one instead of the table"
        parser.add_argument(form, nargs="?", const="-", metavar="FILE", help=hint)
    args = parser.parse_args(argv)

    code, answered = answer(Path(), args.base)
    try:
        if code == 2:
            print(answered.text, end="", file=sys.stderr)
        elif "-" not in (args.json, args.markdown):
            _print(answered.text)
        for where, text in ((args.json, answered.json), (args.markdown, answered.markdown)):
            if where == "-":
                _print(text)
            elif where is not None:
                write_in_place(Path(where), text.encode(errors="backslashreplace"))
    except OSError as fault:
        print(f"error: {fault}", file=sys.stderr)
        return 2
    return code


def _print(text: str) -> None:
    """Prints until the reader closes the pipe; escapes what the encoding lacks."""
    out = sys.__stdout__  # sys.stdout leads there, through what DVC puts in between
    if isinstance(out, io.TextIOWrapper):
        out.reconfigure(errors="backslashreplace")
    try:
        print(text, end="", flush=True)
    except BrokenPipeError:  # Python would write the rest when it ends
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
