"""Edits of the yardstick come first, above the verdict, in all three forms."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.gate.project import IMAGES, Edit, Gate, Right, commit, git, usual, write_metrics
from tests.pipeline.commands import set_params

MOVED = "The yardstick moved: "


def set_up(params: dict[str, Any], correct: Right | None = None, **options: str) -> Edit:
    """Sets parameters and writes metrics that fit."""

    def edit(folder: Path) -> None:
        set_params(folder, **params)
        for path in (folder / "metrics").iterdir():
            path.unlink()
        write_metrics(folder, correct or usual(), **options)  # type: ignore[arg-type]

    return edit


FEWER = {k: v for k, v in usual().items() if k != "onnx_uint8"}
OTHER_MODEL = f"The model differs: SHA-256 {'a' * 16}, now {'b' * 16}."
EDITS: dict[str, tuple[Edit, list[str]]] = {
    "a limit": (set_up({"gate": {"drop_max_pp": {"default": 50.0}}}), [
        "gate.drop_max_pp was {'default': 0.5} in the base, is {'default': 50.0}.",
    ]),
    "the baseline": (set_up({"compare": {"baseline": "onnx_int8"}}, baseline="onnx_int8"), [
        "compare.baseline was 'keras_fp32' in the base, is 'onnx_int8'.",
        "No limit of a drop holds for onnx_int8, the baseline.",
    ]),
    "a type": (set_up({"quantize_onnx": {"types": ["int8"]}}, FEWER), [
        "onnx_uint8 was judged in the base and no longer is.",
        "Judging code was edited: dvc.yaml.",
    ]),
    "the model": (set_up({"fetch": {"model": "sample"}}, model="b"), [
        OTHER_MODEL, "fetch.model was 'mlperf_tiny' in the base, is 'sample'.",
    ]),
    "the model's file": (set_up({}, model="b"), [OTHER_MODEL]),
    "the baseline's answers": (
        set_up({}, {name: np.roll(x, 10) for name, x in usual().items()}),
        ["keras_fp32 classifies other images correctly, although model and test set are equal."],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", EDITS)
def test_an_edit_comes_first_in_all_forms(name: str, project: Path, gate: Gate) -> None:
    edit, expected = EDITS[name]
    edit(project)
    ended = gate("--json", "gate.json", "--markdown", "gate.md")
    assert ended.code == 0, ended.error
    assert ended.out.splitlines()[: len(expected)] == [f"{MOVED}{x}" for x in expected]
    content = json.loads((project / "gate.json").read_text())
    assert (next(iter(content)), content["moved"]) == ("moved", expected)
    head, _, rest = (project / "gate.md").read_text().partition("### ")
    assert head.startswith("**The yardstick moved:**\n\n- ")
    assert head.count("\n- ") == len(expected)
    assert rest.startswith("✅ The gate passes")


def test_another_test_set_is_reported_without_a_verdict(project: Path, gate: Gate) -> None:
    write_metrics(project, usual(), images=255 - IMAGES)
    first, second = gate().error.splitlines()
    assert first.startswith(f"{MOVED}The test set differs: SHA-256 ")
    assert second.startswith("error: The test set must be that of the base")
    content = json.loads(gate("--json").out)
    assert [*content] == ["moved", "verdict", "error"]
    assert gate("--markdown").out.startswith("**The yardstick moved:**\n\n- The test set differs")


def test_edited_code_of_the_gate_is_reported(project: Path, gate: Gate) -> None:
    judging = project / "resnet8" / "gate" / "rules.py"
    judging.parent.mkdir(parents=True)
    judging.touch()
    commit(project)
    judging.write_text("pass")
    (judging.parent / "new.py").touch()
    (project / "resnet8" / "other.py").touch()
    (project / "dvc.yaml").write_text((project / "dvc.yaml").read_text() + "# a comment")
    assert json.loads(gate("--json").out)["moved"] == [
        "Judging code was edited: dvc.yaml, resnet8/gate/new.py, resnet8/gate/rules.py."
    ]


def test_a_repository_that_git_cannot_compare_is_no_verdict(project: Path, gate: Gate) -> None:
    git(project, "config", "diff.renames", "bogus")
    ended = gate()
    assert (ended.code, "git must list what was edited, got an error (" in ended.error) == (2, True)


def test_nothing_is_reported_without_an_edit(project: Path, gate: Gate) -> None:
    git(project, "commit", "--quiet", "--allow-empty", "--message", "more")
    assert "yardstick" not in gate(base="HEAD~1").out
    assert json.loads(gate("--json").out)["moved"] == []
