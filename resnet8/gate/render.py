"""Renders a verdict as a table for the terminal, as Markdown and as JSON."""

import json
from collections.abc import Sequence
from typing import NamedTuple

from rich import box
from rich.console import Console
from rich.table import Table

from resnet8.core.markdown import escape, table
from resnet8.gate.rules import Change, Limit, Verdict

CHANGE_COLUMNS = (
    "variant", "base %", "now %", "change pp", "95% interval", "lost/won", "p", "verdict",
)  # fmt: skip
LIMIT_COLUMNS = ("limits of", "in", "value", "allowed", "verdict")
_TEXT_COLUMNS = {"variant", "limits of", "in", "verdict"}
_FORMS = {"fraction": "{:.2%}", "pp": "{:.2f} pp", "probability": "{:.2g}", "images": "{:g}"}
_MOVED = "The yardstick moved: "
_MEANING = (
    "Change: now minus base, on the same images; lost, won: images that only the base, only this "
    "revision got right; p: McNemar's exact test, corrected for all variants (Holm)."
)


class Answer(NamedTuple):
    """The gate's answer as terminal text, JSON and Markdown."""

    text: str
    json: str
    markdown: str


def describe(verdict: Verdict) -> Answer:
    """Renders a verdict; JSON holds fractions, and percentage points in `*_pp`."""
    failures = [_explain_limit(x) for x in verdict.limits if not x.passed]
    failures += [_explain_change(x) for x in verdict.changes if x.verdict == "worse"]
    against = f"against {verdict.revision} ({verdict.commit[:10]})"
    if not verdict.passed:
        count = f"{len(failures)} {'reason' if len(failures) == 1 else 'reasons'}"
        headline = f"The gate fails {against}: {count}."
    elif verdict.warning:
        headline = f"The gate passes {against}, but the baseline is not better than chance."
    else:
        headline = f"The gate passes {against}."
    tables = (
        [CHANGE_COLUMNS, *map(_change_cells, verdict.changes)],
        [LIMIT_COLUMNS, *map(_limit_cells, verdict.limits)],
    )
    content = {
        "moved": verdict.moved,
        "verdict": "pass" if verdict.passed else "fail",
        "base": {"revision": verdict.revision, "commit": verdict.commit},
        "failures": failures,
        "notes": verdict.notes,
        "warning": verdict.warning,
        "limits": [{**x._asdict(), "passed": x.passed} for x in verdict.limits],
        "changes": {
            x.variant: {
                "verdict": x.verdict,
                **(x.difference._asdict() if x.difference else {}),
                "classes": {name: y._asdict() for name, y in x.classes.items()},
                "classes_worse": list(x.classes_worse),
            }
            for x in verdict.changes
        },
    }
    return Answer(
        _to_text(verdict, headline, failures, tables),
        json.dumps(content, indent=2, allow_nan=False) + "\n",
        _to_markdown(verdict, headline, failures, tables),
    )


def describe_error(reason: str, moved: Sequence[str]) -> Answer:
    """Renders the error that prevented a verdict."""
    markdown = f"### ⚠️ The gate could not compare\n\n{escape(reason)}\n"
    return Answer(
        text="\n".join([*(f"{_MOVED}{x}" for x in moved), f"error: {reason}", ""]),
        json=json.dumps({"moved": moved, "verdict": "error", "error": reason}, indent=2) + "\n",
        markdown=_moved_markdown(moved) + markdown,
    )


_Rows = Sequence[Sequence[str]]  # the first has the names of the columns


def _to_text(
    verdict: Verdict, headline: str, failures: Sequence[str], tables: Sequence[_Rows]
) -> str:
    console = Console(highlight=False, markup=False)
    console.width = max(console.width, 100)  # cuts no name in a narrow log
    with console.capture() as captured:
        for text in verdict.moved:
            console.print(f"{_MOVED}{text}", soft_wrap=True, style="bold yellow")
        if verdict.warning:
            console.print(f"WARNING: {verdict.warning}", soft_wrap=True, style="bold red")
        for columns, *rows in tables:
            grid = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
            for name in columns:
                grid.add_column(
                    name, justify="left" if name in _TEXT_COLUMNS else "right", no_wrap=True
                )
            for cells in rows:
                grid.add_row(*cells, style="red" if cells[-1] in ("WORSE", "BROKEN") else None)
            console.print(grid)
        console.print(_MEANING)
        for note in verdict.notes:
            console.print(f"note: {note}", soft_wrap=True)
        for reason in failures:
            console.print(f"FAIL {reason}", soft_wrap=True, style="red")
        console.print(headline, soft_wrap=True, style="bold")
    return captured.get()


def _to_markdown(
    verdict: Verdict, headline: str, failures: Sequence[str], tables: Sequence[_Rows]
) -> str:
    passed = "⚠️" if verdict.warning else "✅"
    changes, limits = (
        table([columns, *([escape(x) for x in cells] for cells in rows)])
        for columns, *rows in tables
    )
    lines = [
        f"### {passed if verdict.passed else '❌'} {escape(headline)}",
        "",
        *([f"- ⚠️ {escape(verdict.warning)}"] if verdict.warning else []),
        *(f"- ❌ {escape(reason)}" for reason in failures),
        *(f"- note: {escape(note)}" for note in verdict.notes),
        f"\n{changes}\n",
        f"{_MEANING}\n",
        f"<details><summary>Limits of <code>params.yaml</code></summary>\n\n{limits}\n\n</details>",
        "",
    ]
    return _moved_markdown(verdict.moved) + "\n".join(lines)


def _moved_markdown(moved: Sequence[str]) -> str:
    lines = "\n".join(f"- {escape(x)}" for x in moved)
    return f"**{_MOVED.strip()}**\n\n{lines}\n\n" if moved else ""


def _explain_limit(x: Limit) -> str:
    side = "at least" if x.at_least else "at most"
    return (
        f"{x.variant}: {x.detail}: {_FORMS[x.unit].format(x.value)}, must be {side} "
        f"{_FORMS[x.unit].format(x.limit)} (gate.{x.parameter})."
    )


def _explain_change(x: Change) -> str:
    y = x.difference
    if y is None:
        raise ValueError("a change without a difference has nothing to explain")
    losses = sorted((z.accuracy_delta_pp, name) for name, z in x.classes.items())
    classes = ", ".join(
        f"{name} {delta:+.1f} pp{' (certain by itself)' if name in x.classes_worse else ''}"
        for delta, name in losses
        if delta < 0
    )
    return (
        f"{x.variant}: worse than the base: {y.base_accuracy:.2%} to {y.accuracy:.2%} "
        f"({y.accuracy_delta_pp:+.2f} pp, {y.images_lost} images lost and {y.images_won} won, "
        f"p {y.mcnemar_p_holm:.2g}). Classes that lost: {classes}."
    )


def _change_cells(x: Change) -> tuple[str, ...]:
    if x.difference is None:
        return (x.variant, *[""] * (len(CHANGE_COLUMNS) - 2), x.verdict)
    y = x.difference
    return (
        x.variant,
        f"{100 * y.base_accuracy:.2f}",
        f"{100 * y.accuracy:.2f}",
        f"{y.accuracy_delta_pp:+.2f}",
        f"{y.ci95_low_pp:+.2f} to {y.ci95_high_pp:+.2f}",
        f"{y.images_lost}/{y.images_won}",
        f"{y.mcnemar_p_holm:.2g}",
        x.verdict.upper() if x.verdict == "worse" else x.verdict,
    )


def _limit_cells(x: Limit) -> tuple[str, ...]:
    side = "≥" if x.at_least else "≤"
    return (
        x.variant,
        x.detail,
        _FORMS[x.unit].format(x.value),
        f"{side} {_FORMS[x.unit].format(x.limit)}",
        "ok" if x.passed else "BROKEN",
    )
