"""Edits of the yardstick come first, above the verdict, in all three forms."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.gate.project import IMAGES, Gate, commit, git, usual, write_lock, write_metrics
from tests.pipeline.commands import set_params

MOVED = "The yardstick moved: "


def loosen(folder: Path) -> None:
    set_params(folder, gate={"drop_max_pp": {"default": 50.0}})
    write_lock(folder)


def exempt(folder: Path) -> None:
    set_params(folder, compare={"baseline": "onnx_int8"})
    write_metrics(folder, usual(), baseline="onnx_int8")


def drop_a_type(folder: Path) -> None:
    set_params(folder, quantize_onnx={"types": ["int8"]})
    (folder / "metrics/onnx_uint8.json").unlink()
    write_metrics(folder, {k: v for k, v in usual().items() if k != "onnx_uint8"})


def take_another_model(folder: Path) -> None:
    set_params(folder, fetch={"model": "sample"})
    write_metrics(folder, usual(), model="b")


def edit_the_same_model(folder: Path) -> None:
    write_metrics(folder, usual(), model="b")


def permute_all_alike(folder: Path) -> None:
    write_metrics(folder, {name: np.roll(x, 10) for name, x in usual().items()})


EDITS: dict[str, tuple[Callable[[Path], None], list[str]]] = {
    "a limit": (
        loosen, ["gate.drop_max_pp was {'default': 0.5} in the base, is {'default': 50.0}."],
    ),
    "the baseline": (
        exempt,
        [
            "compare.baseline was 'keras_fp32' in the base, is 'onnx_int8'.",
            "No limit of a drop holds for onnx_int8, the baseline.",
        ],
    ),
    "a type": (
        drop_a_type,
        [
            "onnx_uint8 was judged in the base, and is not any more.",
            "What judges was edited: dvc.yaml.",
        ],
    ),
    "the model": (
        take_another_model,
        [
            f"The model is another one: SHA-256 {'a' * 16}, now {'b' * 16}.",
            "fetch.model was 'mlperf_tiny' in the base, is 'sample'.",
        ],
    ),
    "the baseline's answers": (
        permute_all_alike,
        ["keras_fp32 is right on other images, although model and test set are the same."],
    ),
    "the model's file": (
        edit_the_same_model, [f"The model is another one: SHA-256 {'a' * 16}, now {'b' * 16}."],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", EDITS)
def test_an_edit_is_told_first_in_all_forms(name: str, project: Path, gate: Gate) -> None:
    change, expected = EDITS[name]
    change(project)
    ended = gate()
    assert ended.code == 0, ended.error
    lines = ended.out.splitlines()
    assert lines[: len(expected)] == [f"{MOVED}{x}" for x in expected]
    assert next(iter(told := json.loads(gate("--json").out))) == "moved"
    assert told["moved"] == expected
    head, _, rest = gate("--markdown").out.partition("### ")
    assert head.startswith("**The yardstick moved:**\n\n- ")
    assert head.count("\n- ") == len(expected)
    assert rest.startswith("✅ The gate passes")


def test_another_test_set_is_told_where_there_is_no_verdict(project: Path, gate: Gate) -> None:
    write_metrics(project, usual(), images=255 - IMAGES)
    first, second = gate().error.splitlines()
    assert first.startswith(f"{MOVED}The test set is another one: SHA-256 ")
    assert second.startswith("error: The test set must be that of the base")
    told = json.loads(gate("--json").out)
    assert [*told] == ["moved", "verdict", "error"]
    assert gate("--markdown").out.startswith("**The yardstick moved:**\n\n- The test set is anoth")


def test_code_that_judges_is_told(project: Path, gate: Gate) -> None:
    judging = project / "resnet8" / "gate" / "rules.py"
    judging.parent.mkdir(parents=True)
    judging.touch()
    commit(project)
    judging.write_text("pass")
    (judging.parent / "new.py").touch()
    (project / "resnet8" / "other.py").touch()
    (project / "dvc.yaml").write_text((project / "dvc.yaml").read_text() + "# a comment")
    assert json.loads(gate("--json").out)["moved"] == [
        "What judges was edited: dvc.yaml, resnet8/gate/new.py, resnet8/gate/rules.py."
    ]


def test_a_repository_that_git_cannot_compare_is_no_verdict(project: Path, gate: Gate) -> None:
    git(project, "config", "diff.renames", "bogus")
    ended = gate()
    assert (ended.code, "git must list what was edited, got an error (" in ended.error) == (2, True)


def test_nothing_is_told_where_nothing_moved(project: Path, gate: Gate) -> None:
    git(project, "commit", "--quiet", "--allow-empty", "--message", "more")
    assert "yardstick" not in gate(base="HEAD~1").out
    assert json.loads(gate("--json").out)["moved"] == []
