"""The command: exit codes, sentences, and its three forms of output."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from resnet8.gate.__main__ import main
from tests.gate.project import (
    IMAGES,
    commit,
    edit,
    git,
    make_project,
    right,
    usual,
    write_lock,
    write_metrics,
)
from tests.pipeline.commands import ROOT, set_params


class Ended(NamedTuple):
    """How the gate ended."""

    code: int
    out: str
    error: str


Gate = Callable[..., Ended]


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_project(tmp_path_factory.mktemp("gate") / "project")


@pytest.fixture
def project(original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project whose working tree is as committed, and the current folder."""
    folder = tmp_path / "project"
    shutil.copytree(original, folder)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("COLUMNS", "160")
    return folder


@pytest.fixture
def gate(capsys: pytest.CaptureFixture[str]) -> Gate:
    def run(*arguments: str, base: str = "HEAD") -> Ended:
        try:
            code = main([f"--base={base}", *arguments])
        except SystemExit as end:
            code = end.code
        return Ended(code, *capsys.readouterr())

    return run


def test_what_is_committed_passes(project: Path, gate: Gate) -> None:
    ended = gate()
    assert (ended.code, ended.error) == (0, "")
    assert "The gate passes against HEAD (" in ended.out
    assert ended.out.count("unchanged") == 6


def test_the_working_tree_is_left_as_it_was(project: Path, gate: Gate) -> None:
    gate()
    assert git(project, "status", "--porcelain", "--ignored") == ""


def test_a_loss_within_noise_passes_and_is_called_so(project: Path, gate: Gate) -> None:
    write_metrics(project, usual() | {"onnx_int8": right(*range(8, 110))})
    ended = gate("--json")
    assert ended.code == 0
    change = json.loads(ended.out)["changes"]["onnx_int8"]
    assert change["verdict"] == "noise"
    assert change["accuracy_delta_pp"] == pytest.approx(-0.2)


def test_a_perturbed_model_fails_by_its_name_with_the_classes_that_lost(
    project: Path, gate: Gate
) -> None:
    write_metrics(project, usual() | {"onnx_int8": right(*range(200))})
    ended = gate()
    assert ended.code == 1
    assert re.search(
        r"^FAIL onnx_int8: worse than the base: 90\.00% to 80\.00% \(-10\.00 pp, 100 images lost "
        r"and 0 won.+Classes that lost: .*cat -10\.0 pp", ended.out, re.MULTILINE,
    )  # fmt: skip
    assert "FAIL onnx_int8: below keras_fp32, all images: 10.00 pp, must be at" in ended.out
    assert "The gate fails against HEAD" in ended.out
    assert "FAIL onnx_uint8" not in ended.out


def test_one_broken_class_fails_by_its_name(project: Path, gate: Gate) -> None:
    cats = [i for i in range(105, 505) if i % 10 == 3]
    write_metrics(project, usual() | {"torch_int8": right(*range(5, 105), *cats)})
    ended = gate()
    assert ended.code == 1
    assert "Classes that lost: cat -40.0 pp (certain by itself)." in ended.out


def test_calibration_on_eight_images_fails_by_its_name(project: Path, gate: Gate) -> None:
    set_params(project, calibrate={"size": 8})
    write_lock(project)
    ended = gate()
    assert ended.code == 1
    assert "FAIL calibration: training images: 8, must be at least 100 (gate.calib" in ended.out


def test_a_variant_without_a_base_is_new(project: Path, gate: Gate) -> None:
    set_params(project, quantize_onnx={"types": ["int8", "uint8", "uint8_int8"]})
    write_metrics(project, usual() | {"onnx_uint8_int8": right(*range(102))})
    ended = gate()
    assert ended.code == 0
    assert re.search(r"onnx_uint8_int8 +new", ended.out)


def test_a_variant_that_is_not_asked_for_any_more_is_removed(project: Path, gate: Gate) -> None:
    set_params(project, quantize_onnx={"types": ["int8"]})
    write_metrics(project, {k: v for k, v in usual().items() if k != "onnx_uint8"})
    ended = gate()
    assert ended.code == 0
    assert re.search(r"onnx_uint8 +removed", ended.out)


def test_a_loosened_limit_is_told(project: Path, gate: Gate) -> None:
    set_params(project, gate={"drop_max_pp": {"default": 50.0}})
    ended = gate()
    assert ended.code == 0
    assert "note: gate.drop_max_pp was {'default': 0.5} in the base, is {'default': 50.0}." in (
        ended.out
    )


def test_a_cpu_with_other_products_is_told(project: Path, gate: Gate) -> None:
    edit(project / "metrics/onnx_int8.json", set_key("saturating_products", to=True))
    write_lock(project)
    ended = gate()
    assert ended.code == 0
    assert "note: onnx_int8: 8-bit products saturate on the CPU of one of both" in ended.out
    assert ended.out.count("products saturate") == 1


def at_chance() -> Any:
    """Every variant is right on 11% of 1,000 images of ten classes."""
    return dict.fromkeys(usual(), right(*range(110, 1000)))


def test_a_baseline_that_is_chance_passes_with_a_warning_first(project: Path, gate: Gate) -> None:
    set_params(project, gate={"float_accuracy_min": 0.0})
    write_metrics(project, at_chance())
    commit(project)
    ended = gate()
    assert ended.code == 0
    assert ended.out.startswith("WARNING: keras_fp32 is not measurably better than chance: it is")
    last = ended.out.splitlines()[-1]
    assert re.search(r"passes .+, but the baseline is not better than chance\.$", last)
    markdown = gate("--markdown").out
    assert markdown.startswith("### ⚠️ The gate passes")
    assert "✅" not in markdown
    assert "keras\\_fp32 is not measurably better than chance" in markdown
    told = json.loads(gate("--json").out)
    assert told["warning"].startswith("keras_fp32 is not measurably better than chance")


def test_a_baseline_that_is_better_than_chance_gets_no_warning(project: Path, gate: Gate) -> None:
    assert json.loads(gate("--json").out)["warning"] == ""
    assert gate("--markdown").out.startswith("### ✅")
    assert "WARNING" not in gate().out


@pytest.mark.parametrize(
    ("correct", "warns"), [(usual(), False), (at_chance(), True)], ids=["better", "chance"]
)
def test_comparisons_of_versions_before_kl_errors_and_chance_are_read(
    project: Path, gate: Gate, correct: Any, warns: bool
) -> None:
    set_params(project, gate={"float_accuracy_min": 0.0})
    write_metrics(project, correct)
    comparison = project / "metrics/comparison.json"
    for key in ("baseline_is_chance", "chance_accuracy"):
        edit(comparison, drop_key(key))
    for name in usual():
        for key in ("kl_standard_error", "kl_top10_share"):
            edit(comparison, drop_key("variants", name, key))
    write_lock(project)
    commit(project)  # the old form in the base and in the working tree
    old = gate("--json")
    write_metrics(project, correct)  # the new form against the old one
    for ended in (old, gate("--json")):
        assert ended.code == 0
        told = json.loads(ended.out)
        assert {x["verdict"] for x in told["changes"].values()} == {"unchanged"}
        assert bool(told["warning"]) is warns


def remove(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def write(name: str, content: bytes) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_bytes(content)


def change(name: str, edited: Callable[[Any], None]) -> Callable[[Path], None]:
    return lambda folder: edit(folder / "metrics" / name, edited)


def set_key(*keys: str, to: Any) -> Callable[[Any], None]:
    def edited(content: Any) -> None:
        for key in keys[:-1]:
            content = content[key]
        content[keys[-1]] = to

    return edited


def drop_key(*keys: str) -> Callable[[Any], None]:
    def edited(content: Any) -> None:
        for key in keys[:-1]:
            content = content[key]
        del content[keys[-1]]

    return edited


def cut(name: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:-40])


NAN, INFINITE = float("nan"), float("inf")
DIFFERENCE = "max_abs_probability_diff"
CLOSED = {
    "a missing metric": (remove("metrics/onnx_int8.json"), r"onnx_int8\.json must be there"),
    "a missing comparison": (remove("metrics/comparison.json"), r"comparison\.json must be there"),
    "missing bits": (remove("metrics/correct.json"), r"correct\.json must be there.+`dvc repro`"),
    "a missing proof": (remove("metrics/verify_onnx.json"), r"verify_onnx\.json must be there"),
    "a metric cut off": (cut("metrics/onnx_int8.json"), r"onnx_int8\.json must be whole, got: no"),
    "an empty metric": (write("metrics/onnx_int8.json", b""), r"must be whole, got: no JSON"),
    "a metric of zeros": (write("metrics/onnx_int8.json", bytes(50)), r"whole, got: no JSON"),
    "a list for a metric": (write("metrics/onnx_int8.json", b"[1]"), r"got: all of it = \[1\]"),
    "NaN": (change("onnx_int8.json", set_key("top1_accuracy", to=NAN)), r"top1_accuracy = nan \("),
    "NaN of a class": (
        change("onnx_int8.json", set_key("per_class_accuracy", "cat", to=NAN)),
        r"onnx_int8\.json must be whole, got: per_class_accuracy\.cat = nan",
    ),
    "NaN of the baseline": (
        change("keras_fp32.json", set_key("top1_accuracy", to=NAN)), r"keras_fp32\.json must be",
    ),
    "NaN compared": (
        change("comparison.json", set_key("variants", "onnx_int8", "accuracy_delta_pp", to=NAN)),
        r"comparison\.json must be whole, got: variants\.onnx_int8\.accuracy_delta_pp = nan",
    ),
    "an infinite KL": (
        change("comparison.json", set_key("variants", "torch_int8", "kl_divergence", to=INFINITE)),
        r"kl_divergence = inf",
    ),
    "NaN in a proof": (
        change("verify_torch.json", set_key("parity_with_onnx", to={DIFFERENCE: NAN})),
        r"verify_torch\.json must be whole",
    ),
    "null": (change("onnx_int8.json", set_key("top1_accuracy", to=None)), r"accuracy = None"),
    "a word": (change("onnx_int8.json", set_key("top1_accuracy", to="0.9")), r"accuracy = '0"),
    "more than all": (change("onnx_int8.json", set_key("top1_accuracy", to=1.1)), r" = 1\.1"),
    "a missing key": (
        change("onnx_int8.json", drop_key("top1_accuracy")), r"onnx_int8\.json .+ no top1_acc",
    ),
    "a missing variant": (
        change("comparison.json", drop_key("variants", "onnx_int8")),
        r"comparison\.json must hold the variants keras_fp32, .+onnx_int8.+, got keras_fp32",
    ),
    "missing bits of a variant": (
        change("correct.json", drop_key("correct", "onnx_int8")),
        r"correct\.json must hold the variants",
    ),
    "missing bits of a class": (
        change("correct.json", drop_key("correct", "onnx_int8", "cat")), r"must have the classes",
    ),
    "bits cut off": (
        change("correct.json", set_key("correct", "onnx_int8", "cat", to="AAAA")),
        r"correct\.json must be whole, got: bits must be 100, got 3 bytes",
    ),
    "bits of another model": (
        change("correct.json", set_key("correct", "onnx_int8", "cat", to="A" * 17 + "=")),
        r"correct\.json must be whole",
    ),
    "an accuracy made up": (
        change("onnx_int8.json", set_key("top1_accuracy", to=0.95)),
        r"onnx_int8\.json must fit the images that .+ were right, got another value of all images",
    ),
    "an accuracy of a class made up": (
        change("onnx_int8.json", set_key("per_class_accuracy", "cat", to=1.0)),
        r"got another value of cat",
    ),
    "a delta made up": (
        change("comparison.json", set_key("variants", "onnx_int8", "accuracy_delta_pp", to=5.0)),
        r"comparison\.json, onnx_int8 must fit the images",
    ),
    "a word on chance made up": (
        change("comparison.json", set_key("baseline_is_chance", to=True)),
        r"comparison\.json, baseline_is_chance must fit the images that .+ were right, got True",
    ),
    "another baseline": (
        change("comparison.json", set_key("baseline", to="onnx_fp32")), r"compare with keras_fp32",
    ),
    "a metric edited in what nothing else tells": (
        change("comparison.json", set_key("variants", "onnx_int8", "agreement", to=0.99)),
        r"another state than dvc\.lock records of: metrics/comparison\.json\. Run `dvc repro`",
    ),
    "code changed since": (write("code.py", b"pass"), r"dvc\.lock records of: code\.py\."),
    "a parameter changed since": (
        lambda folder: set_params(folder, calibrate={"size": 500}), r"of: calibrate\.size\.",
    ),
    "no dvc.lock": (remove("dvc.lock"), r"dvc\.lock must be there"),
    "a damaged dvc.lock": (write("dvc.lock", b"stages: [}"), r"dvc\.lock must be what DVC wrote"),
    "an empty dvc.lock": (write("dvc.lock", b""), r"dvc\.lock must be what DVC wrote"),
    "a dvc.lock of other things": (write("dvc.lock", b"stages: {a: 1}"), r"dvc\.lock must be what"),
    "a dvc.lock without metrics": (write("dvc.lock", b"stages: {}"), r"records of: metrics/comp"),
    "no params.yaml": (remove("params.yaml"), r"params\.yaml must exist"),
    "a faulty parameter": (
        lambda folder: set_params(folder, gate={"significance": 2}), r"gate\.significance must be",
    ),
    "another test set": (
        lambda folder: write_metrics(folder, usual(), images=255 - IMAGES),
        r"The test set must be that of the base .+ BASE=HEAD",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CLOSED)
def test_exit_code_is_2_with_a_remedy_for(name: str, project: Path, gate: Gate) -> None:
    damage, message = CLOSED[name]
    damage(project)
    ended = gate()
    assert ended.code == 2
    assert re.match("error: ", ended.error)
    assert re.search(message, ended.error), ended.error
    assert ended.out == ""


# The base needs no comparison and no proofs, and a variant that it lacks is new.
OF_THE_BASE = ("a missing metric", "missing bits", "NaN", "NaN of a class", "a missing key",
               "missing bits of a class", "a metric cut off", "bits cut off")  # fmt: skip


@pytest.mark.parametrize("name", OF_THE_BASE)
def test_exit_code_is_2_when_the_base_has(name: str, project: Path, gate: Gate) -> None:
    damage, _ = CLOSED[name]
    damage(project)
    commit(project)
    write_metrics(project, usual())
    ended = gate()
    assert ended.code == 2
    assert re.match("error: metrics/", ended.error)


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


def test_exit_code_is_2_for_an_unknown_revision(project: Path, gate: Gate) -> None:
    ended = gate(base="origin/nowhere")
    assert ended.code == 2
    assert "The base must be a Git revision, got 'origin/nowhere'" in ended.error
    assert "git fetch origin" in ended.error


@pytest.mark.parametrize("base", ["", "-all", "HEAD:params.yaml", "HEAD~1", "a\nb", "; true"])
def test_exit_code_is_2_for_what_is_no_commit(base: str, project: Path, gate: Gate) -> None:
    ended = gate(base=base)
    assert ended.code == 2
    assert "The base must be a Git revision" in ended.error


def test_exit_code_is_2_in_a_shallow_clone(
    project: Path, gate: Gate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    git(project, "commit", "--quiet", "--allow-empty", "--message", "more")
    git(tmp_path, "clone", "--quiet", "--depth=1", f"file://{project}", "shallow")
    monkeypatch.chdir(tmp_path / "shallow")
    ended = gate()
    assert ended.code == 2
    assert "got a shallow one. Complete it with `git fetch --unshallow`" in ended.error


def test_exit_code_is_2_outside_of_a_repository(project: Path, gate: Gate) -> None:
    shutil.rmtree(project / ".git")
    ended = gate()
    assert ended.code == 2
    assert "must be in a Git repository" in ended.error


def test_exit_code_is_2_without_git(
    project: Path, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    ended = gate()
    assert (ended.code, "git must be installed" in ended.error) == (2, True)


def test_exit_code_is_2_for_a_base_from_before_the_gate(project: Path, gate: Gate) -> None:
    git(project, "rm", "--quiet", "metrics/correct.json")
    commit(project)
    write_metrics(project, usual())
    ended = gate()
    assert ended.code == 2
    assert "metrics/correct.json must be in the base" in ended.error
    assert "Name a base whose results are committed." in ended.error


def test_exit_code_is_2_without_a_base(gate: Gate, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main([])


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


def test_exit_code_is_2_where_the_answer_cannot_be_written(project: Path, gate: Gate) -> None:
    ended = gate("--json", "params.yaml/gate.json")
    assert ended.code == 2
    assert re.match("error: .+params.yaml", ended.error)


def test_json_tells_an_error(project: Path, gate: Gate) -> None:
    ended = gate("--json", base="nope")
    assert ended.code == 2
    content = json.loads(ended.out)
    assert content["verdict"] == "error"
    assert "got 'nope'" in content["error"]


def test_markdown_tells_an_error(project: Path, gate: Gate) -> None:
    ended = gate("--markdown", base="nope")
    assert "### ⚠️ The gate could not compare" in ended.out


def test_markdown_has_both_tables_and_the_reasons(project: Path, gate: Gate) -> None:
    write_metrics(project, usual() | {"onnx_int8": right(*range(200))})
    ended = gate("--markdown")
    assert ended.code == 1
    assert "### ❌ The gate fails against HEAD" in ended.out
    assert "- ❌ onnx\\_int8: worse than the base: 90.00% to 80.00%" in ended.out
    rows = [line for line in ended.out.splitlines() if line.startswith("| onnx\\_int8 |")]
    assert rows[0].endswith("| WORSE |")
    assert len(rows) == 3  # the change, and the two drops among the limits


def test_text_from_outside_becomes_no_markdown(project: Path, gate: Gate) -> None:
    for name in ("correct", *usual(), "comparison"):
        path = project / "metrics" / f"{name}.json"
        path.write_text(path.read_text().replace('"cat"', '"<b>|[x](y)"'))
    write_lock(project)
    commit(project)
    cats = [i for i in range(105, 505) if i % 10 == 3]
    ended = gate("--markdown")
    assert ended.code == 0, ended.error
    write_metrics(project, usual() | {"torch_int8": right(*range(5, 105), *cats)})
    for name in ("correct", *usual(), "comparison"):
        path = project / "metrics" / f"{name}.json"
        path.write_text(path.read_text().replace('"cat"', '"<b>|[x](y)"'))
    write_lock(project)
    ended = gate("--markdown")
    assert ended.code == 1, ended.error
    assert "<b>" not in ended.out
    assert "&lt;b&gt;\\|\\[x\\](y) -40.0 pp" in ended.out


def test_make_gate_ends_with_the_same_codes_and_no_traceback(project: Path) -> None:
    # The Makefile's rule with an environment that is already there.
    (project / ".venv").symlink_to(Path(sys.executable).parents[1])
    makefile = (ROOT / "Makefile").read_text()
    (project / "Makefile").write_text(re.sub(r"setup: .*", "setup:", makefile))

    def run(*arguments: str) -> int:
        command, environment = ["make", "gate", *arguments], {**os.environ, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(command, env=environment, capture_output=True, check=False)
        assert b"Traceback" not in done.stderr
        return done.returncode

    assert run("BASE=HEAD") == 0
    assert run("BASE=nope") == 2
    set_params(project, calibrate={"size": 8})
    write_lock(project)
    assert run("BASE=HEAD", "-s", "-j2") == 1
