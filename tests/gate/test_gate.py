"""The command: exit codes, sentences, and its three forms of output."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from resnet8.compare.hits import describe_correctness
from resnet8.core.dataset import TestSet
from resnet8.core.files import write_json
from tests.gate.project import (
    DROP,
    IMAGES,
    LABELS,
    NAMES,
    Edit,
    Gate,
    commit,
    cut,
    entry,
    git,
    make_project,
    predictions,
    remove,
    rename_class,
    replaced,
    right,
    usual,
    write,
    write_lock,
    write_metrics,
)
from tests.pipeline.commands import ROOT, set_params


def quantized(**correct: Any) -> Edit:
    """Other right answers of some variants."""
    return lambda folder: write_metrics(folder, usual() | correct)


def less_calibration(folder: Path) -> None:
    set_params(folder, calibrate={"size": 8})
    write_lock(folder)


def add_type(folder: Path) -> None:
    set_params(folder, quantize_onnx={"types": ["int8", "uint8", "uint8_int8"]})
    write_metrics(folder, usual() | {"onnx_uint8_int8": right(*range(102))})


def drop_type(folder: Path) -> None:
    set_params(folder, quantize_onnx={"types": ["int8"]})
    write_metrics(folder, {k: v for k, v in usual().items() if k != "onnx_uint8"})


def other_cpu(folder: Path) -> None:
    entry("metrics/onnx_int8.json", "saturating_products", to=True)(folder)
    write_lock(folder)


CATS = [i for i in range(105, 505) if i % 10 == 3]


@pytest.mark.parametrize(
    ("edit", "code", "expected"),
    [
        (lambda _folder: None, 0, [r"^The gate passes against HEAD \("]),
        (quantized(onnx_int8=right(*range(8, 110))), 0, [r"onnx_int8 .* -0\.20 .* noise"]),
        (quantized(onnx_int8=right(*range(200))), 1, [
            r"^FAIL onnx_int8: worse than the base: 90\.00% to 80\.00% \(-10\.00 pp, 100 "
            r"images lost and 0 won.+Classes that lost: .*cat -10\.0 pp",
            "^FAIL onnx_int8: below keras_fp32, all images: 10.00 pp, must be at",
            "^The gate fails against HEAD",
        ]),
        (quantized(torch_int8=right(*range(5, 105), *CATS)), 1,
         [r"Classes that lost: cat -40\.0 pp \(certain by itself\)\."]),
        (less_calibration, 1,
         [r"^FAIL calibration: training images: 8, must be at least 100 \(gate.calib"]),
        (add_type, 0, ["onnx_uint8_int8 +new"]),
        (drop_type, 0, ["onnx_uint8 +removed"]),
        (other_cpu, 0, ["^note: onnx_int8: 8-bit products saturate on only one of the two CPUs"]),
    ],
    ids=["same", "noise", "worse", "class", "calibration", "new", "removed", "CPU"],
)  # fmt: skip
def test_verdict_of(project: Path, gate: Gate, edit: Edit, code: int, expected: list[str]) -> None:
    edit(project)
    ended = gate()
    assert (ended.code, ended.error) == (code, "")
    for pattern in expected:
        assert re.search(pattern, ended.out, re.MULTILINE), ended.out
    assert "FAIL onnx_uint8" not in ended.out
    assert ended.out.count("products saturate") == (edit is other_cpu)


def test_a_narrow_log_cuts_no_name_and_the_working_tree_is_left_as_it_was(
    project: Path, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "30")
    out = gate().out
    assert "…" not in out
    assert out.count("unchanged") == 6
    # DVC's own scratch folder, as of each of its commands.
    assert git(project, "status", "--porcelain", "--ignored") == "!! .dvc/tmp/\n"


@pytest.mark.parametrize("is_chance", [True, False])
def test_a_baseline_that_is_chance_passes_with_a_warning_first(
    project: Path, gate: Gate, is_chance: bool
) -> None:
    if is_chance:  # right on 11% of 1,000 images of ten classes
        set_params(project, gate={"float_accuracy_min": 0.0})
        write_metrics(project, dict.fromkeys(usual(), right(*range(110, 1000))))
        commit(project)
    ended, markdown = gate(), gate("--markdown").out
    assert ended.code == 0
    warning = "keras_fp32 is not measurably better than chance"
    assert ended.out.startswith(f"WARNING: {warning}: it is") is is_chance
    last = ended.out.splitlines()[-1]
    assert last.endswith(", but the baseline is not better than chance.") is is_chance
    assert markdown.startswith(f"### {'⚠️' if is_chance else '✅'} The gate passes")
    assert (warning.replace("_", "\\_") in markdown) is is_chance
    assert json.loads(gate("--json").out)["warning"].startswith(warning) is is_chance


def test_results_of_versions_before_kl_errors_and_chance_serve_as_base(
    project: Path, gate: Gate
) -> None:
    for key in ("baseline_is_chance", "chance_accuracy"):
        entry("metrics/comparison.json", key)(project)
    entry("metrics/verify_onnx.json", "model_sha256")(project)
    commit(project)
    write_metrics(project, usual())
    ended = gate("--json")
    assert ended.code == 0
    content = json.loads(ended.out)
    assert {x["verdict"] for x in content["changes"].values()} == {"unchanged"}
    assert content["moved"] == []


def swap_images(folder: Path) -> None:
    """Changes the right images, but not their number: in correct.json alone, and in dvc.lock."""
    others = describe_correctness(
        {name: predictions(x[::-1]) for name, x in usual().items()}
        | {"onnx_int8": predictions(np.roll(usual()["onnx_int8"], 50))},
        TestSet(IMAGES, LABELS, NAMES),
    )
    write_json(folder / "metrics/correct.json", others)
    write_lock(folder)


MADE_UP = r"must match the right answers in metrics/correct\.json, got another value of "


def made_up(name: str, dotted: str, value: Any) -> tuple[Edit, str]:
    """A value that contradicts the right answers, and how it is refused."""
    edit = entry(f"metrics/{name}.json", *dotted.split("."), to=value)
    return edit, rf"{name}\.json {MADE_UP}{re.escape(dotted)}\. Run `dvc repro`"


INT8, COMPARISON = "metrics/onnx_int8.json", "metrics/comparison.json"
CORRECT = "metrics/correct.json"
VERIFY = ("metrics/verify_torch.json", "parity_with_onnx", "max_abs_probability_diff")
CATS_BITS = (CORRECT, "correct", "onnx_int8", "cat")
KL = (COMPARISON, "variants", "torch_int8", "kl_divergence")
NO_JSON = r"onnx_int8\.json must be a JSON file, got .+ Run `dvc repro`"
ROW = "variants.onnx_int8"
CLOSED: dict[str, tuple[Edit, str]] = {
    "a missing metric": (remove(INT8), r"onnx_int8\.json must exist"),
    "a missing comparison": (remove(COMPARISON), r"comparison\.json must exist"),
    "missing bits": (remove(CORRECT), r"correct\.json must exist.+`dvc repro`"),
    "a missing proof": (remove("metrics/verify_onnx.json"), r"verify_onnx\.json must exist"),
    "a metric cut off": (cut(INT8), NO_JSON),
    "a list for a metric": (write(INT8, b"[1]"), r"must be undamaged, got: \[1\]"),
    "NaN": (entry(INT8, "top1_accuracy", to=float("nan")), r"got NaN, which is no"),
    "a negative KL": (
        entry(*KL, to=-1.0),
        r"comparison\.json must be undamaged, got: variants\.torch_int8\.kl_divergence = -1\.0",
    ),
    "a huge number": (
        replaced(VERIFY[0], "1e-06", "1e999"),
        r"verify_torch\.json must be undamaged, got: parity_with_onnx\.max_abs_prob\S+ = inf",
    ),
    "a word": (entry(*VERIFY, to="0.9"), r"verify_torch\.json must be undamaged, got: .+ = '0\.9'"),
    "null": made_up("onnx_int8", "top1_accuracy", None),
    "a missing key": made_up("onnx_int8", "n_images", DROP),
    "an accuracy made up": made_up("onnx_int8", "top1_accuracy", 0.95),
    "an accuracy of a class made up": made_up("onnx_int8", "per_class_accuracy.cat", 1.0),
    "a class made up": made_up("onnx_int8", "per_class_accuracy.lion", 1.0),
    "another variant's metric": made_up("onnx_int8", "variant", "torch_int8"),
    "a delta made up": made_up("comparison", f"{ROW}.accuracy_delta_pp", 5.0),
    "a delta of a class made up": made_up("comparison", f"{ROW}.per_class_delta_pp.lion", 5.0),
    "an agreement that right answers exclude": made_up("comparison", f"{ROW}.agreement", 0.9901),
    "a baseline that disagrees with itself":
        made_up("comparison", "variants.keras_fp32.agreement", 0.95),
    "a word on chance made up": made_up("comparison", "baseline_is_chance", True),
    "a missing variant": (
        entry(COMPARISON, *ROW.split(".")),
        r"comparison\.json " + MADE_UP + r"variants\.onnx_int8\..+ and others\.",
    ),
    "a variant with an escape": (
        entry(COMPARISON, "variants", "\x1b[2J", to={}),
        r"comparison\.json " + MADE_UP + r"'variants\.\\x1b\[2J'\. Run `dvc repro`",
    ),
    "a variant made up": made_up("comparison", "variants.lion", None),
    "no variants": (
        entry(COMPARISON, "variants", to=7), r"comparison\.json " + MADE_UP + r"variants\.keras",
    ),
    "missing bits of a variant": (
        entry(CORRECT, "correct", "onnx_int8"), r"correct\.json must hold the variants",
    ),
    "missing bits of a class": (entry(*CATS_BITS), r"must have the classes"),
    "bits cut off": (
        entry(*CATS_BITS, to="AAAA"),
        r"correct\.json must be undamaged, got: bits must be 100, got 3 bytes",
    ),
    "a class with an escape": (
        rename_class("\\u001b[2J"), r"correct\.json must be undamaged, got: n_images",
    ),
    "as many images right, but others": (
        swap_images, r"comparison\.json " + MADE_UP + r"variants\.onnx_int8\.",
    ),
    "another baseline": made_up("comparison", "baseline", "onnx_fp32"),
    "a metric edited where only dvc.lock shows it": (
        entry(*KL, to=0.99), r"changes that dvc\.lock does not record: metrics/comparison\.json\.",
    ),
    "no params.yaml": (remove("params.yaml"), r"params\.yaml must exist"),
    "a faulty parameter": (
        lambda folder: set_params(folder, gate={"significance": 2}), r"params\.yaml has 1 fault:",
    ),
    "another test set": (
        lambda folder: write_metrics(folder, usual(), images=255 - IMAGES),
        r"The test set must be that of the base .+ BASE=HEAD",
    ),
    "no repository": (
        lambda folder: shutil.rmtree(folder / ".git"), "must be in a Git repository, got none",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CLOSED)
def test_exit_code_is_2_with_a_remedy_for(name: str, project: Path, gate: Gate) -> None:
    edit, message = CLOSED[name]
    edit(project)
    ended = gate()
    assert ended.code == 2
    assert re.search(f"^error: .*{message}", ended.error, re.MULTILINE), ended.error
    assert ended.out == ""


# The base needs no comparison, and a variant that it lacks is new.
OF_THE_BASE = ("a missing metric", "missing bits", "NaN", "null", "a missing key",
               "missing bits of a class", "a metric cut off")  # fmt: skip


@pytest.mark.parametrize("name", OF_THE_BASE)
def test_exit_code_is_2_when_the_base_has(name: str, project: Path, gate: Gate) -> None:
    edit, _ = CLOSED[name]
    edit(project)
    commit(project)
    write_metrics(project, usual())
    ended = gate()
    assert (ended.code, ended.error.startswith("error: metrics/")) == (2, True)
    if name == "missing bits":
        assert "metrics/correct.json must be in the base" in ended.error
        assert "Name a base whose results are committed." in ended.error


def test_exit_code_is_2_when_the_base_has_other_classes_behind_the_same_checksum(
    project: Path, gate: Gate
) -> None:
    rename_class("lion")(project)
    commit(project)
    write_metrics(project, usual())
    ended = gate()
    assert ended.code == 2
    assert "The test set must be that of the base" in ended.error


@pytest.mark.parametrize(
    "base", ["", "-all", "HEAD:params.yaml", "HEAD~1", "a\nb", "; true", "origin/nowhere"]
)
def test_exit_code_is_2_for_what_is_no_commit(base: str, project: Path, gate: Gate) -> None:
    ended = gate("--json", base=base)
    assert ended.code == 2
    error = f"The base must be a Git revision, got {base!r} ("
    assert error in ended.error
    content = json.loads(ended.out)
    assert (content["verdict"], error in content["error"]) == ("error", True)
    assert "### ⚠️ The gate could not compare" in gate("--markdown", base=base).out


def test_a_shallow_clone_has_its_head_and_names_the_remedy_for_older_commits(
    project: Path, gate: Gate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    git(project, "commit", "--quiet", "--allow-empty", "--message", "more")
    git(tmp_path, "clone", "--quiet", "--depth=1", f"file://{project}", "shallow")
    monkeypatch.chdir(tmp_path / "shallow")
    assert gate().code == 0
    ended = gate(base="HEAD~1")
    assert ended.code == 2
    assert "The clone is shallow: complete it with `git fetch --unshallow`" in ended.error


def test_a_clone_that_converts_line_ends_passes(
    project: Path, gate: Gate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(ROOT / ".gitattributes", project)
    (project / "code.py").write_text("a = 1\nb = 2\n")
    write_lock(project)
    commit(project)
    git(tmp_path, "clone", "--quiet", "--config=core.autocrlf=true", str(project), "clone")
    monkeypatch.chdir(tmp_path / "clone")
    assert gate().code == 0


def test_exit_code_is_2_without_git(
    project: Path, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    ended = gate()
    assert (ended.code, "git must be installed" in ended.error) == (2, True)


def test_a_project_in_a_subfolder_of_its_repository_passes(
    tmp_path: Path, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_project(tmp_path / "made")
    git(tmp_path, "init", "--quiet")
    shutil.rmtree(tmp_path / "made" / ".git")
    commit(tmp_path)
    monkeypatch.chdir(tmp_path / "made")
    assert gate().code == 0


def test_json_and_markdown_to_files_come_beside_the_table(project: Path, gate: Gate) -> None:
    write_metrics(project, usual() | {"onnx_int8": right(*range(200))})
    ended = gate("--json", "out/gate.json", "--markdown", "out/gate.md")
    assert (ended.code, "The gate fails" in ended.out) == (1, True)
    content = json.loads((project / "out/gate.json").read_text())
    commit_hash = git(project, "rev-parse", "HEAD").strip()
    assert content["base"] == {"revision": "HEAD", "commit": commit_hash}
    assert (content["verdict"], len(content["failures"])) == ("fail", 3)
    lines = (project / "out/gate.md").read_text().splitlines()
    assert lines[0].startswith("### ❌ The gate fails against HEAD")
    assert lines[2].startswith("- ❌ onnx\\_int8: below keras\\_fp32, all images: 10.00 pp")
    rows = [line for line in lines if line.startswith("| onnx\\_int8 |")]
    assert rows[0].endswith("| WORSE |")
    assert len(rows) == 3  # the change, and the two drops among the limits
