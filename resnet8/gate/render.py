"""Renders a verdict as a table for the terminal, as Markdown and as JSON."""

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from rich import box
from rich.console import Console
from rich.table import Table

from resnet8.core.markdown import escape, table
from resnet8.gate.rules import Change, Difference, Limit, Verdict

CHANGE_COLUMNS = (
    "variant", "base %", "now %", "change pp", "95% interval", "lost/won", "p", "verdict",
)  # fmt: skip
LIMIT_COLUMNS = ("limits of", "in", "value", "allowed", "verdict")
_FORMS = {"fraction": "{:.2%}", "pp": "{:.2f} pp", "probability": "{:.2g}", "images": "{:g}"}
_MOVED = "The yardstick moved: "
_Table = tuple[Sequence[str], Sequence[Sequence[str]]]  # columns and rows
_MEANING = (
    "Change: now minus base, on the same images; lost, won: images that only the base, only this "
    "revision got right; p: McNemar's exact test, corrected for all variants (Holm)."
)


class Answer(NamedTuple):
    """The gate's answer as terminal text, JSON and Markdown."""

    text: str
    json: str
    markdown: str


def explain_failures(verdict: Verdict) -> list[str]:
    """Returns a sentence for each reason why the gate fails."""
    broken = [_explain_limit(x) for x in verdict.limits if not x.passed]
    return broken + [_explain_change(x) for x in verdict.changes if x.verdict == "worse"]


def headline(verdict: Verdict) -> str:
    """Returns one line: pass or fail, the base, and a caveat if the baseline is chance."""
    count = len(explain_failures(verdict))
    against = f"against {verdict.revision} ({verdict.commit[:10]})"
    if verdict.passed:
        but = ", but the baseline is not better than chance" if verdict.warning else ""
        return f"The gate passes {against}{but}."
    return f"The gate fails {against}: {count} {'reason' if count == 1 else 'reasons'}."


def describe(verdict: Verdict) -> Answer:
    """Renders a verdict; JSON holds fractions, and percentage points in `*_pp`."""
    as_json = {
        "moved": verdict.moved,
        "verdict": "pass" if verdict.passed else "fail",
        "base": {"revision": verdict.revision, "commit": verdict.commit},
        "failures": explain_failures(verdict),
        "notes": verdict.notes,
        "warning": verdict.warning,
        "limits": [{**x._asdict(), "passed": x.passed} for x in verdict.limits],
        "changes": {
            x.variant: {
                "verdict": x.verdict,
                **(_difference_json(x.difference) if x.difference else {}),
                "classes": {name: _difference_json(y) for name, y in x.classes.items()},
                "classes_worse": list(x.classes_worse),
            }
            for x in verdict.changes
        },
    }
    return Answer(
        _to_table(verdict),
        json.dumps(as_json, indent=2, allow_nan=False) + "\n",
        _to_markdown(verdict),
    )


def describe_error(reason: str, moved: Sequence[str]) -> Answer:
    """Renders the error that prevented a verdict."""
    markdown = f"### ⚠️ The gate could not compare\n\n{escape(reason)}\n"
    return Answer(
        text="\n".join([*(f"{_MOVED}{x}" for x in moved), f"error: {reason}", ""]),
        json=json.dumps({"moved": moved, "verdict": "error", "error": reason}, indent=2) + "\n",
        markdown=_moved_markdown(moved) + markdown,
    )


def _to_table(verdict: Verdict) -> str:
    console = Console(highlight=False, markup=False)
    console.width = max(console.width, 100)  # no name is cut, in a narrow log either
    with console.capture() as captured:
        for text in verdict.moved:
            console.print(f"{_MOVED}{text}", soft_wrap=True, style="bold yellow")
        if verdict.warning:
            console.print(f"WARNING: {verdict.warning}", soft_wrap=True, style="bold red")
        changes, limits = _tables(verdict)
        _print_table(console, *changes, left=1)
        _print_table(console, *limits, left=2)
        console.print(_MEANING)
        for note in verdict.notes:
            console.print(f"note: {note}", soft_wrap=True)
        for reason in explain_failures(verdict):
            console.print(f"FAIL {reason}", soft_wrap=True, style="red")
        console.print(headline(verdict), soft_wrap=True, style="bold")
    return captured.get()


def _to_markdown(verdict: Verdict) -> str:
    passed = "⚠️" if verdict.warning else "✅"
    changes, limits = (
        table([columns, *([escape(x) for x in cells] for cells in rows)])
        for columns, rows in _tables(verdict)
    )
    lines = [
        f"### {passed if verdict.passed else '❌'} {escape(headline(verdict))}",
        "",
        *([f"- ⚠️ {escape(verdict.warning)}"] if verdict.warning else []),
        *(f"- ❌ {escape(reason)}" for reason in explain_failures(verdict)),
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
    total = x.difference
    if total is None:
        raise ValueError("a change without a difference has nothing to explain")
    losers = sorted((y.new - y.old, name) for name, y in x.classes.items() if y.new < y.old)
    named = ", ".join(
        f"{name} {100 * delta:+.1f} pp{' (certain by itself)' if name in x.classes_worse else ''}"
        for delta, name in losers
    )
    return (
        f"{x.variant}: worse than the base: {100 * total.old:.2f}% to {100 * total.new:.2f}% "
        f"({100 * (total.new - total.old):+.2f} pp, {total.lost} images lost and {total.won} won, "
        f"p {total.p:.2g}). Classes that lost: {named}."
    )


def _change_cells(x: Change) -> tuple[str, ...]:
    if x.difference is None:
        return (x.variant, *[""] * (len(CHANGE_COLUMNS) - 2), x.verdict)
    y = x.difference
    return (
        x.variant,
        f"{100 * y.old:.2f}",
        f"{100 * y.new:.2f}",
        f"{100 * (y.new - y.old):+.2f}",
        f"{100 * y.ci95.low:+.2f} to {100 * y.ci95.high:+.2f}",
        f"{y.lost}/{y.won}",
        f"{y.p:.2g}",
        x.verdict.upper() if x.verdict == "worse" else x.verdict,
    )


def _limit_cells(x: Limit) -> tuple[str, ...]:
    side = "≥" if x.at_least else "≤"
    return (
        f"{x.variant}",
        x.detail,
        _FORMS[x.unit].format(x.value),
        f"{side} {_FORMS[x.unit].format(x.limit)}",
        "ok" if x.passed else "BROKEN",
    )


def _difference_json(x: Difference) -> dict[str, Any]:
    return {
        "base_accuracy": x.old,
        "accuracy": x.new,
        "accuracy_delta_pp": 100 * (x.new - x.old),
        "ci95_low_pp": 100 * x.ci95.low,
        "ci95_high_pp": 100 * x.ci95.high,
        "images_lost": x.lost,
        "images_won": x.won,
        "mcnemar_p_holm": x.p,
    }


def _tables(verdict: Verdict) -> tuple[_Table, _Table]:
    return (
        (CHANGE_COLUMNS, [_change_cells(x) for x in verdict.changes]),
        (LIMIT_COLUMNS, [_limit_cells(x) for x in verdict.limits]),
    )


def _print_table(
    console: Console, columns: Sequence[str], rows: Sequence[Sequence[str]], *, left: int
) -> None:
    grid = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for i, column in enumerate(columns):
        is_text = i < left or column == "verdict"
        grid.add_column(column, justify="left" if is_text else "right", no_wrap=True)
    for cells in rows:
        grid.add_row(*cells, style="red" if cells[-1] in ("WORSE", "BROKEN") else None)
    console.print(grid)
