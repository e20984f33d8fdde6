"""Renders the gate's answer as a table for the terminal, as Markdown and as JSON.

The answer is the content of the JSON form: `verdict` (`pass`, `fail` or `error`), `moved` (edits of
the yardstick), and either `error` or everything that `command.judge` returns.
"""

import json
from collections.abc import Iterable, Mapping, Sequence

from rich.console import Console

from resnet8.compare.rendering import rich_table
from resnet8.core.files import Json
from resnet8.core.markdown import escape, table

CHANGE_COLUMNS = (
    "variant", "base %", "now %", "change pp", "95% interval", "lost/won", "p", "verdict",
)  # fmt: skip
LIMIT_COLUMNS = ("limits of", "in", "value", "allowed", "verdict")
_FORMS = {"fraction": "{:.2%}", "pp": "{:.2f} pp", "probability": "{:.2g}", "images": "{:g}"}
_MOVED = "The yardstick moved: "
_MEANING = (
    "Change: now minus base, on the same images; lost, won: images that only the base, only this "
    "revision got right; p: McNemar's exact test, corrected for all variants (Holm)."
)


def to_json(answer: Json) -> str:
    """Renders an answer as JSON."""
    return json.dumps(answer, indent=2, allow_nan=False) + "\n"


def to_text(answer: Json) -> str:
    """Renders an answer for the terminal."""
    if answer["verdict"] == "error":
        lines = [*(f"{_MOVED}{x}" for x in answer["moved"]), f"error: {answer['error']}", ""]
        return "\n".join(lines)
    console = Console(highlight=False, markup=False)
    console.width = max(console.width, 100)  # cuts no name in a narrow log
    with console.capture() as captured:
        for text in answer["moved"]:
            console.print(f"{_MOVED}{text}", soft_wrap=True, style="bold yellow")
        if answer["warning"]:
            console.print(f"WARNING: {answer['warning']}", soft_wrap=True, style="bold red")
        for cells in _tables(answer):
            grid = rich_table(cells)
            for drawn, row in zip(grid.rows, cells[1:], strict=True):
                drawn.style = "red" if row[-1] in ("WORSE", "BROKEN") else None
            console.print(grid)
        console.print(_MEANING)
        for note in answer["notes"]:
            console.print(f"note: {note}", soft_wrap=True)
        for reason in answer["failures"]:
            console.print(f"FAIL {reason}", soft_wrap=True, style="red")
        console.print(_headline(answer), soft_wrap=True, style="bold")
    return captured.get()


def to_markdown(answer: Json) -> str:
    """Renders an answer as Markdown."""
    lines = [f"**{_MOVED.strip()}**\n"] if answer["moved"] else []
    lines += [f"- {escape(x)}" for x in answer["moved"]]
    if lines:
        lines.append("")
    if answer["verdict"] == "error":
        lines += [f"### ⚠️ The gate could not compare\n\n{escape(answer['error'])}\n"]
        return "\n".join(lines)
    sign = "⚠️" if answer["warning"] else "✅"
    if answer["failures"]:
        sign = "❌"
    changes, limits = (
        table([[escape(x) for x in row] for row in rows]) for rows in _tables(answer)
    )
    lines += [f"### {sign} {escape(_headline(answer))}\n"]
    if answer["warning"]:
        lines.append(f"- ⚠️ {escape(answer['warning'])}")
    lines += [f"- ❌ {escape(reason)}" for reason in answer["failures"]]
    lines += [f"- note: {escape(note)}" for note in answer["notes"]]
    lines += [
        f"\n{changes}\n\n{_MEANING}\n",
        "<details><summary>Limits of <code>params.yaml</code></summary>\n",
        f"{limits}\n\n</details>\n",
    ]
    return "\n".join(lines)


def explain_failures(limits: Iterable[Json], changes: Mapping[str, Json]) -> list[str]:
    """Returns a sentence for each broken limit and each variant that is worse than the base."""
    broken = [_explain_limit(x) for x in limits if not x["passed"]]
    worse = {name: x for name, x in changes.items() if x["verdict"] == "worse"}
    return broken + [_explain_loss(name, x) for name, x in worse.items()]


def _explain_limit(x: Json) -> str:
    value, limit = (_FORMS[x["unit"]].format(x[key]) for key in ("value", "limit"))
    side = "at least" if x["at_least"] else "at most"
    return (
        f"{x['variant']}: {x['detail']}: {value}, must be {side} {limit} (gate.{x['parameter']})."
    )


def _explain_loss(variant: str, x: Json) -> str:
    classes = []
    for delta, name in sorted((row["accuracy_delta_pp"], k) for k, row in x["classes"].items()):
        if delta < 0:
            certain = " (certain by itself)" if name in x["classes_worse"] else ""
            classes.append(f"{name} {delta:+.1f} pp{certain}")
    return (
        f"{variant}: worse than the base: {x['base_accuracy']:.2%} to {x['accuracy']:.2%} "
        f"({x['accuracy_delta_pp']:+.2f} pp, {x['images_lost']} images lost and "
        f"{x['images_won']} won, p {x['mcnemar_p_holm']:.2g}). Classes that lost: "
        f"{', '.join(classes)}."
    )


def _headline(answer: Json) -> str:
    base, failures = answer["base"], answer["failures"]
    against = f"against {base['revision']} ({base['commit'][:10]})"
    if failures:
        return f"The gate fails {against}: {len(failures)} reason{'s' * (len(failures) > 1)}."
    if answer["warning"]:
        return f"The gate passes {against}, but the baseline is not better than chance."
    return f"The gate passes {against}."


def _tables(answer: Json) -> tuple[Sequence[Sequence[str]], ...]:
    """Returns the tables of changes and of limits, with their heads."""
    changes = [_change_cells(name, x) for name, x in answer["changes"].items()]
    return [CHANGE_COLUMNS, *changes], [LIMIT_COLUMNS, *map(_limit_cells, answer["limits"])]


def _change_cells(variant: str, x: Json) -> tuple[str, ...]:
    if x["verdict"] in ("new", "removed"):
        return (variant, *[""] * (len(CHANGE_COLUMNS) - 2), x["verdict"])
    return (
        variant,
        f"{100 * x['base_accuracy']:.2f}",
        f"{100 * x['accuracy']:.2f}",
        f"{x['accuracy_delta_pp']:+.2f}",
        f"{x['ci95_low_pp']:+.2f} to {x['ci95_high_pp']:+.2f}",
        f"{x['images_lost']}/{x['images_won']}",
        f"{x['mcnemar_p_holm']:.2g}",
        "WORSE" if x["verdict"] == "worse" else x["verdict"],
    )


def _limit_cells(x: Json) -> tuple[str, ...]:
    value, limit = (_FORMS[x["unit"]].format(x[key]) for key in ("value", "limit"))
    side, passed = "≥" if x["at_least"] else "≤", "ok" if x["passed"] else "BROKEN"
    return x["variant"], x["detail"], value, f"{side} {limit}", passed
