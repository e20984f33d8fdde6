"""The command: exit codes, sentences, and its three forms of output."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from resnet8.compare.hits import describe_correctness
from resnet8.core.dataset import TestSet
from resnet8.core.files import write_json
from tests.gate.project import (
    IMAGES,
    LABELS,
    NAMES,
    Gate,
    commit,
    git,
    make_project,
    predictions,
    right,
    set_value,
    usual,
    write_lock,
    write_metrics,
)
from tests.pipeline.commands import ROOT, set_params

Damage = Callable[[Path], object]
DROP, NAN, INFINITE = object(), float("nan"), float("inf")


def metric(name: str, *keys: str, to: Any) -> Damage:
    """Edits an entry of a metrics file by hand."""

    def damage(folder: Path) -> None:
        path = folder / f"metrics/{name}.json"
        content = json.loads(path.read_text())
        set_value(content, keys, to, DROP)
        path.write_text(json.dumps(content))

    return damage


def lock(*keys: Any, to: Any) -> Damage:
    """Edits an entry of dvc.lock by hand."""

    def damage(folder: Path) -> None:
        content = yaml.safe_load((folder / "dvc.lock").read_text())
        set_value(content["stages"], keys, to, DROP)
        (folder / "dvc.lock").write_text(yaml.safe_dump(content, sort_keys=False))

    return damage


def remove(name: str) -> Damage:
    return lambda folder: (folder / name).unlink()


def write(name: str, content: bytes) -> Damage:
    return lambda folder: (folder / name).write_bytes(content)


def cut(name: str) -> Damage:
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:-40])


def replaced(name: str, old: str, new: str) -> Damage:
    def damage(folder: Path) -> None:
        text = (folder / name).read_text()
        assert old in text
        (folder / name).write_text(text.replace(old, new, 1))

    return damage


def both(*damages: Damage) -> Damage:
    return lambda folder: [damage(folder) for damage in damages]


def quantized(**correct: Any) -> Damage:
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


def judged_otherwise(folder: Path) -> None:
    metric("onnx_int8", "saturating_products", to=True)(folder)
    write_lock(folder)


CATS = [i for i in range(105, 505) if i % 10 == 3]


@pytest.mark.parametrize(
    ("edit", "code", "expected"),
    [
        (lambda _folder: None, 0, [r"^The gate passes against HEAD \("]),
        (quantized(onnx_int8=right(*range(8, 110))), 0, [r"onnx_int8 .* -0\.20 .* noise"]),
        (
            quantized(onnx_int8=right(*range(200))),
            1,
            [
                r"^FAIL onnx_int8: worse than the base: 90\.00% to 80\.00% \(-10\.00 pp, 100 "
                r"images lost and 0 won.+Classes that lost: .*cat -10\.0 pp",
                "^FAIL onnx_int8: below keras_fp32, all images: 10.00 pp, must be at",
                "^The gate fails against HEAD",
            ],
        ),
        (
            quantized(torch_int8=right(*range(5, 105), *CATS)),
            1,
            [r"Classes that lost: cat -40\.0 pp \(certain by itself\)\."],
        ),
        (
            less_calibration,
            1,
            [r"^FAIL calibration: training images: 8, must be at least 100 \(gate.calib"],
        ),
        (add_type, 0, ["onnx_uint8_int8 +new"]),
        (drop_type, 0, ["onnx_uint8 +removed"]),
        (
            judged_otherwise,
            0,
            ["^note: onnx_int8: 8-bit products saturate on one of both CPUs only"],
        ),
    ],
    ids=["same", "noise", "worse", "class", "calibration", "new", "removed", "CPU"],
)
def test_verdict_of(
    project: Path, gate: Gate, edit: Damage, code: int, expected: list[str]
) -> None:
    edit(project)
    ended = gate()
    assert (ended.code, ended.error) == (code, "")
    for pattern in expected:
        assert re.search(pattern, ended.out, re.MULTILINE), ended.out
    assert "FAIL onnx_uint8" not in ended.out
    assert ended.out.count("products saturate") == (edit is judged_otherwise)


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
        metric("comparison", key, to=DROP)(project)
    metric("verify_onnx", "model_sha256", to=DROP)(project)
    commit(project)
    write_metrics(project, usual())
    ended = gate("--json")
    assert ended.code == 0
    content = json.loads(ended.out)
    assert {x["verdict"] for x in content["changes"].values()} == {"unchanged"}
    assert content["moved"] == []


NO_JSON = r"onnx_int8\.json must be a JSON file, got .+ Run `dvc repro`"
OTHERWISE = r"must fit the images that metrics/correct\.json says were right, got another value of "
RECORDS = r"got another state than dvc\.lock records of: "
REMEDY = r"\. Run `dvc repro`"
UNREADABLE = r"dvc\.yaml, dvc\.lock and \.dvc must be readable for DVC, got: .+ `git restore`"


def rename_class(folder: Path, name: str) -> None:
    """Calls the cats something else in all metrics, and in dvc.lock."""
    for path in (folder / "metrics").iterdir():
        path.write_text(path.read_text().replace('"cat"', f'"{name}"'))
    write_lock(folder)


def swap_images(folder: Path) -> None:
    """Other images are right than before, as often: in the bits alone, and in dvc.lock."""
    others = describe_correctness(
        {name: predictions(x[::-1]) for name, x in usual().items()}
        | {"onnx_int8": predictions(np.roll(usual()["onnx_int8"], 50))},
        TestSet(IMAGES, LABELS, NAMES),
    )
    write_json(folder / "metrics/correct.json", others)
    write_lock(folder)


def delete_stage(folder: Path) -> None:
    path = folder / "dvc.yaml"
    path.write_text(path.read_text().partition("  report:")[0])


def repeat_dependency(folder: Path) -> None:
    entry = yaml.safe_load((folder / "dvc.lock").read_text())["stages"]["compare"]
    lock("compare", "deps", to=[*entry["deps"], entry["deps"][0]])(folder)


ROW = ("variants", "onnx_int8")
TORCH_KL = ("comparison", "variants", "torch_int8", "kl_divergence")
PARITY = ("verify_torch", "parity_with_onnx")
CAT_BITS = ("correct", "correct", "onnx_int8", "cat")
LABELS_IN_LOCK = RECORDS + r"data/labels\.npy" + REMEDY
CLOSED: dict[str, tuple[Damage, str]] = {
    "a missing metric": (remove("metrics/onnx_int8.json"), r"onnx_int8\.json must exist"),
    "a missing comparison": (remove("metrics/comparison.json"), r"comparison\.json must exist"),
    "missing bits": (remove("metrics/correct.json"), r"correct\.json must exist.+`dvc repro`"),
    "a missing proof": (remove("metrics/verify_onnx.json"), r"verify_onnx\.json must exist"),
    "a metric cut off": (cut("metrics/onnx_int8.json"), NO_JSON),
    "an empty metric": (write("metrics/onnx_int8.json", b""), NO_JSON),
    "a metric of zeros": (write("metrics/onnx_int8.json", bytes(50)), NO_JSON),
    "a metric of brackets": (write("metrics/onnx_int8.json", b"[" * 100_000), NO_JSON),
    "a key twice": (
        replaced("metrics/onnx_int8.json", "{", '{"n_images": 1, "n_images": 2,'),
        r"onnx_int8\.json must be a JSON file, got the key 'n_images' for the second time\.",
    ),
    "a list for a metric": (write("metrics/onnx_int8.json", b"[1]"), r"must be whole, got: \[1\]"),
    "NaN": (metric("onnx_int8", "top1_accuracy", to=NAN), r"got NaN, which is no"),
    "an infinite KL": (
        metric(*TORCH_KL, to=INFINITE),
        r"comparison\.json must be a JSON file, got Infinity, which is no number",
    ),
    "a negative KL": (
        metric(*TORCH_KL, to=-1.0),
        r"comparison\.json must be whole, got: variants\.torch_int8\.kl_divergence = -1\.0",
    ),
    "a huge number": (
        replaced("metrics/verify_torch.json", "1e-06", "1e999"),
        r"verify_torch\.json must be whole, got: parity_with_onnx\.max_abs_prob\S+ = inf",
    ),
    "null": (metric("onnx_int8", "top1_accuracy", to=None), OTHERWISE + "top1_accuracy"),
    "a word": (
        metric(*PARITY, to={"max_abs_probability_diff": "0.9"}),
        r"verify_torch\.json must be whole, got: .+ = '0\.9'",
    ),
    "a missing key": (
        metric("onnx_int8", "n_images", to=DROP),
        r"onnx_int8\.json " + OTHERWISE + "n_images" + REMEDY,
    ),
    "a missing variant": (
        metric("comparison", *ROW, to=DROP),
        r"comparison\.json must hold the variants keras_fp32, .+onnx_int8.+, got \['keras_fp32'",
    ),
    "no variants": (
        metric("comparison", "variants", to=DROP),
        r"comparison\.json must hold the variants keras_fp32, .+, got \[\]",
    ),
    "missing bits of a variant": (
        metric("correct", "correct", "onnx_int8", to=DROP),
        r"correct\.json must hold the variants",
    ),
    "missing bits of a class": (metric(*CAT_BITS, to=DROP), r"must have the classes"),
    "bits cut off": (
        metric(*CAT_BITS, to="AAAA"),
        r"correct\.json must be whole, got: bits must be 100, got 3 bytes",
    ),
    "bits of another model": (
        metric(*CAT_BITS, to="A" * 17 + "="), r"correct\.json must be whole",
    ),
    "a class with an escape": (
        lambda folder: rename_class(folder, "\\u001b[2J"),
        r"correct\.json must be whole, got: n_images",
    ),
    "an accuracy made up": (
        metric("onnx_int8", "top1_accuracy", to=0.95),
        r"onnx_int8\.json " + OTHERWISE + "top1_accuracy" + REMEDY,
    ),
    "an accuracy of a class made up": (
        metric("onnx_int8", "per_class_accuracy", "cat", to=1.0),
        OTHERWISE + r"per_class_accuracy\.cat" + REMEDY,
    ),
    "a class made up": (
        metric("onnx_int8", "per_class_accuracy", "lion", to=1.0),
        OTHERWISE + r"per_class_accuracy\.lion" + REMEDY,
    ),
    "another variant's metric": (
        metric("onnx_int8", "variant", to="torch_int8"),
        r"onnx_int8\.json " + OTHERWISE + "variant" + REMEDY,
    ),
    "a delta made up": (
        metric("comparison", *ROW, "accuracy_delta_pp", to=5.0),
        r"comparison\.json " + OTHERWISE + r"variants\.onnx_int8\.accuracy_delta_pp" + REMEDY,
    ),
    "a delta of a class made up": (
        metric("comparison", *ROW, "per_class_delta_pp", "lion", to=5.0),
        OTHERWISE + r"variants\.onnx_int8\.per_class_delta_pp\.lion" + REMEDY,
    ),
    "an agreement that right answers exclude": (
        metric("comparison", *ROW, "agreement", to=0.9901),
        OTHERWISE + r"variants\.onnx_int8\.agreement" + REMEDY,
    ),
    "as many images right, but others": (
        swap_images, r"comparison\.json " + OTHERWISE + r"variants\.onnx_int8\.",
    ),
    "a word on chance made up": (
        metric("comparison", "baseline_is_chance", to=True),
        r"comparison\.json " + OTHERWISE + "baseline_is_chance" + REMEDY,
    ),
    "another baseline": (
        metric("comparison", "baseline", to="onnx_fp32"), r"compare with keras_fp32",
    ),
    "a metric edited in what nothing else tells": (
        metric("comparison", *ROW, "kl_divergence", to=0.99),
        RECORDS + r"metrics/comparison\.json" + REMEDY,
    ),
    "a metric edited that DVC is to cache": (
        both(
            metric("comparison", *ROW, "kl_divergence", to=1.0),
            replaced("dvc.yaml", "comparison.json:\n        cache: false", "comparison.json"),
        ),
        RECORDS + r"metrics/comparison\.json" + REMEDY,
    ),
    "code changed since": (write("code.py", b"pass"), RECORDS + r"code\.py" + REMEDY),
    "code that is gone": (remove("code.py"), RECORDS + r"code\.py" + REMEDY),
    "a parameter changed since": (
        lambda folder: set_params(folder, calibrate={"size": 500}),
        RECORDS + r"calibrate\.size" + REMEDY,
    ),
    "a command changed since": (
        replaced("dvc.yaml", "cmd: y", "cmd: z"), RECORDS + "the command of report" + REMEDY,
    ),
    "a dependency added since": (
        replaced("dvc.yaml", "- code.py", "- params.yaml\n    - code.py"),
        RECORDS + r"params\.yaml" + REMEDY,
    ),
    "a dependency dropped since": (
        replaced("dvc.yaml", "    - data/labels.npy\n    params", "    params"), LABELS_IN_LOCK,
    ),
    "a parameter added since": (
        replaced("dvc.yaml", "- calibrate.size", "- calibrate.seed\n    - calibrate.size"),
        RECORDS + r"calibrate\.seed" + REMEDY,
    ),
    "a stage added since": (
        replaced("dvc.yaml", "  report:", "  more: {cmd: z}\n  report:"),
        RECORDS + "the command of more" + REMEDY,
    ),
    "a stage deleted": (
        delete_stage,
        r"dvc\.lock must record the stages of dvc\.yaml, got report, too\. .+`dvc remove`",
    ),
    "dependencies dropped from dvc.lock": (
        lock("compare", "deps", to=DROP), RECORDS + r"code\.py, data/labels\.npy" + REMEDY,
    ),
    "parameters dropped from dvc.lock": (
        lock("compare", "params", to=DROP), RECORDS + r"calibrate\.size, compare, gate" + REMEDY,
    ),
    "a checksum dropped from dvc.lock": (
        lock("compare", "deps", 1, "md5", to=DROP), LABELS_IN_LOCK,
    ),
    "an output dropped from dvc.lock": (lock("prepare", "outs", to=DROP), LABELS_IN_LOCK),
    "a checksum that is nothing in dvc.lock": (
        both(lock("prepare", "outs", 0, "md5", to=""), lock("compare", "deps", 1, "md5", to="")),
        LABELS_IN_LOCK,
    ),
    "a dependency twice in dvc.lock": (repeat_dependency, UNREADABLE),
    "a metric that another stage makes": (
        replaced("dvc.yaml", "    - metrics/onnx_int8.json:\n        cache: false\n", ""),
        RECORDS + r"metrics/onnx_int8\.json" + REMEDY,
    ),
    "a baseline that disagrees with itself": (
        metric("comparison", "variants", "keras_fp32", "agreement", to=0.95),
        OTHERWISE + r"variants\.keras_fp32\.agreement" + REMEDY,
    ),
    "no .dvc": (lambda folder: shutil.rmtree(folder / ".dvc"), UNREADABLE),
    "data that another run made": (lock("prepare", "outs", 0, "md5", to="3" * 32), LABELS_IN_LOCK),
    "a stage that was never run": (
        lock("report", to=DROP),
        RECORDS + r"code\.py, data/page\.html, the command of report" + REMEDY,
    ),
    "a key twice in dvc.lock": (
        replaced("dvc.lock", "  report:", "  report: {cmd: z}\n  report:"), UNREADABLE,
    ),
    "no dvc.lock": (remove("dvc.lock"), r"dvc\.lock must be there"),
    "no dvc.yaml": (remove("dvc.yaml"), r"dvc\.yaml must be there"),
    "a damaged dvc.lock": (write("dvc.lock", b"stages: [}"), UNREADABLE),
    "a dvc.lock of brackets": (
        write("dvc.lock", b"stages: " + b"[" * 100_000), r"dvc\.lock must be nested at most 100",
    ),
    "a dvc.yaml of dashes": (
        write("dvc.yaml", b"stages:\n  " + b"- " * 50_000), r"dvc\.yaml must be nested at most 100",
    ),
    "a dvc.lock of merges": (
        replaced("dvc.lock", "    cmd: x", "    <<: *a\n    cmd: x"), UNREADABLE,
    ),
    "an empty dvc.lock": (write("dvc.lock", b""), UNREADABLE),
    "a dvc.lock of other things": (
        write("dvc.lock", b"schema: '2.0'\nstages: {a: 1}"), UNREADABLE,
    ),
    "a dvc.lock without stages": (
        write("dvc.lock", b"schema: '2.0'\nstages: {}"), RECORDS + r".+metrics/comparison\.json",
    ),
    "no params.yaml": (remove("params.yaml"), r"params\.yaml must exist"),
    "a faulty parameter": (
        lambda folder: set_params(folder, gate={"significance": 2}), r"params\.yaml has 1 fault:",
    ),
    "a swapped label order": (
        lambda folder: write_metrics(folder, usual(), names=(NAMES[1], NAMES[0], *NAMES[2:])),
        r"The test set must be that of the base",
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
    damage, message = CLOSED[name]
    damage(project)
    ended = gate()
    assert ended.code == 2
    assert re.search(f"^error: .*{message}", ended.error, re.MULTILINE), ended.error
    assert ended.out == ""


# The base needs no comparison, and a variant that it lacks is new.
OF_THE_BASE = ("a missing metric", "missing bits", "NaN", "null", "a missing key",
               "missing bits of a class", "a metric cut off", "bits cut off")  # fmt: skip


@pytest.mark.parametrize("name", OF_THE_BASE)
def test_exit_code_is_2_when_the_base_has(name: str, project: Path, gate: Gate) -> None:
    damage, _ = CLOSED[name]
    damage(project)
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
    for name in ("correct", *usual(), "comparison"):
        path = project / "metrics" / f"{name}.json"
        path.write_text(path.read_text().replace('"cat"', '"lion"'))
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


def test_a_shallow_clone_has_its_own_commit_and_names_the_remedy_for_others(
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


def test_a_project_in_a_subfolder_of_its_repository_is_found(
    tmp_path: Path, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_project(tmp_path / "made")
    git(tmp_path, "init", "--quiet")
    shutil.rmtree(tmp_path / "made" / ".git")
    commit(tmp_path)
    monkeypatch.chdir(tmp_path / "made")
    assert gate().code == 0


def test_json_to_a_file_comes_beside_the_table(project: Path, gate: Gate) -> None:
    ended = gate("--json", "out/gate.json", "--markdown", "out/gate.md")
    assert "The gate passes" in ended.out
    content = json.loads((project / "out/gate.json").read_text())
    assert content["verdict"] == "pass"
    assert content["base"] == {
        "revision": "HEAD",
        "commit": git(project, "rev-parse", "HEAD").strip(),
    }
    assert "### ✅ The gate passes against HEAD" in (project / "out/gate.md").read_text()


def test_markdown_has_both_tables_and_the_reasons(project: Path, gate: Gate) -> None:
    write_metrics(project, usual() | {"onnx_int8": right(*range(200))})
    ended = gate("--markdown")
    assert ended.code == 1
    assert "### ❌ The gate fails against HEAD" in ended.out
    assert "- ❌ onnx\\_int8: worse than the base: 90.00% to 80.00%" in ended.out
    rows = [line for line in ended.out.splitlines() if line.startswith("| onnx\\_int8 |")]
    assert rows[0].endswith("| WORSE |")
    assert len(rows) == 3  # the change, and the two drops among the limits
