"""Names and values from outside stay unchanged in make, in a shell and in Markdown."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from resnet8.core.markdown import escape
from tests.gate.project import (
    Gate,
    commit,
    git,
    rename_class,
    right,
    usual,
    write_lock,
    write_metrics,
)
from tests.pipeline.commands import ROOT, set_params


def make(folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Runs the Makefile's rules, with an environment that is there already."""
    makefile = (ROOT / "Makefile").read_text()
    made = re.sub(r"(?m)^\$\(RUNTIME\): .*(\n\t.*)*", "$(RUNTIME):", makefile)
    (folder / "Makefile").write_text(made)
    return subprocess.run(
        ["make", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), **variables},
        capture_output=True,
        text=True,
        check=False,
    )


def test_make_gate_fails_where_the_gate_does_not_pass(project: Path) -> None:
    (project / ".venv").symlink_to(Path(sys.executable).parents[1])
    assert make(project, "gate", "BASE=HEAD").returncode == 0
    nowhere = make(project, "gate", "BASE=nope")
    assert (nowhere.returncode, "got 'nope'" in nowhere.stderr) == (2, True)
    set_params(project, calibrate={"size": 8})
    write_lock(project)
    worse = make(project, "gate", "BASE=HEAD", "-s", "-j2")
    assert (worse.returncode, "The gate fails" in worse.stdout) == (2, True)
    assert json.loads((project / "build/gate.json").read_text())["verdict"] == "fail"


@pytest.mark.parametrize(
    "value",
    ["x'; touch hit; '", 'x"; touch hit; "', "$(shell touch hit)", "$$(touch hit)", "`touch hit`",
     "$(error hit)", "--help", "a b", "x\ntouch hit", "$x", "\\"],
)  # fmt: skip
def test_make_passes_a_value_unchanged(tmp_path: Path, value: str) -> None:
    for name in ("python", "dvc"):
        command = tmp_path / "bin" / name
        command.parent.mkdir(exist_ok=True)
        command.write_text('#!/bin/sh\nprintf "%s\\0" "$@" "$DASK_SCHEDULER_ADDRESS" >> calls\n')
        command.chmod(0o755)
    for target, variable, expected in (
        ("gate", "BASE", f"--base={value}"),
        ("metrics-diff", "BASE", value),
        ("sweep", "SCHEDULER", value),
    ):
        environment: dict[str, str]
        for arguments, environment in (([f"{variable}={value}"], {}), ([], {variable: value})):
            (tmp_path / "calls").unlink(missing_ok=True)
            done = make(tmp_path, target, "BIN=bin", *arguments, **environment)
            assert done.returncode == 0, done.stderr
            assert expected in (tmp_path / "calls").read_text().split("\0")
    assert not (tmp_path / "hit").exists()


def test_a_branch_name_becomes_no_markdown_and_no_mention(project: Path, gate: Gate) -> None:
    name = "@octocat/#1_x_`y`<b>!|$z$"
    git(project, "branch", name)
    ended = gate("--markdown", base=name)
    assert ended.code == 0, ended.error
    shown = MarkdownIt("commonmark").enable("table").render(ended.out)
    assert re.search("@octocat|#1|<b>|<em>|<code>y", shown) is None
    text = re.sub("<!-- -->", "", shown)
    assert "@octocat/#1_x_`y`&lt;b&gt;!|$z$ (" in text


@given(st.text(st.characters(codec="utf-8", exclude_categories=["C", "Zl", "Zp"]), min_size=1))
@example("a\\b \\* ~~x~~ **y** [z](u) ![i](j) <script> &amp; `c` ``d`` |e|")
def test_escaped_text_reads_as_it_was(text: str) -> None:
    (inline,) = MarkdownIt("commonmark").enable("strikethrough").parseInline(f"x{escape(text)}x")
    kinds = {x.type for x in inline.children}
    assert kinds <= {"text", "text_special", "html_inline"}
    assert {x.content for x in inline.children if x.type == "html_inline"} <= {"<!-- -->"}
    assert "".join(x.content for x in inline.children if x.type != "html_inline") == f"x{text}x"


def test_names_of_classes_become_no_markdown(project: Path, gate: Gate) -> None:
    rename = rename_class("<b>|[x](y)")
    rename(project)
    commit(project)
    cats = [i for i in range(105, 505) if i % 10 == 3]
    write_metrics(project, usual() | {"torch_int8": right(*range(5, 105), *cats)})
    rename(project)
    ended = gate("--markdown")
    assert ended.code == 1, ended.error
    assert "<b>" not in ended.out
    assert "&lt;b&gt;\\|\\[x\\](y) -40.0 pp" in ended.out
