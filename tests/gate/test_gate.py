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
    edit,
    git,
    make_project,
    predictions,
    right,
    usual,
    write_lock,
    write_metrics,
)
from tests.pipeline.commands import ROOT, set_params


def test_what_is_committed_passes(project: Path, gate: Gate) -> None:
    ended = gate()
    assert (ended.code, ended.error) == (0, "")
    assert "The gate passes against HEAD (" in ended.out
    assert ended.out.count("unchanged") == 6


def test_a_narrow_log_cuts_no_name(
    project: Path, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "30")
    out = gate().out
    assert "…" not in out
    assert out.count("unchanged") == 6


def test_the_working_tree_is_left_as_it_was(project: Path, gate: Gate) -> None:
    gate()
    # DVC's own scratch folder, as of each of its commands.
    assert git(project, "status", "--porcelain", "--ignored") == "!! .dvc/tmp/\n"


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


def test_a_cpu_with_other_products_is_told(project: Path, gate: Gate) -> None:
    edit(project / "metrics/onnx_int8.json", set_key("saturating_products", to=True))
    write_lock(project)
    ended = gate()
    assert ended.code == 0
    assert "note: onnx_int8: 8-bit products saturate on one of both CPUs only" in ended.out
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


def test_results_of_versions_before_kl_errors_and_chance_serve_as_base(
    project: Path, gate: Gate
) -> None:
    for key in ("baseline_is_chance", "chance_accuracy"):
        edit(project / "metrics/comparison.json", drop_key(key))
    edit(project / "metrics/verify_onnx.json", drop_key("model_sha256"))
    commit(project)
    write_metrics(project, usual())
    ended = gate("--json")
    assert ended.code == 0
    told = json.loads(ended.out)
    assert {x["verdict"] for x in told["changes"].values()} == {"unchanged"}
    assert told["moved"] == []


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
NO_JSON = r"onnx_int8\.json must be a JSON file, got .+ Run `dvc repro`"
OTHERWISE = r"must fit the images that metrics/correct\.json says were right, got another value of "
RECORDS = r"got another state than dvc\.lock records of: "
REMEDY = r"\. Run `dvc repro`"
UNREADABLE = r"dvc\.yaml, dvc\.lock and \.dvc must be readable for DVC, got: .+ `git restore`"


def edit_lock(edited: Callable[[Any], None]) -> Callable[[Path], None]:
    """Edits dvc.lock by hand."""

    def damage(folder: Path) -> None:
        content = yaml.safe_load((folder / "dvc.lock").read_text())
        edited(content["stages"])
        (folder / "dvc.lock").write_text(yaml.safe_dump(content, sort_keys=False))

    return damage


def replaced(name: str, old: str, new: str) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        text = (folder / name).read_text()
        assert old in text
        (folder / name).write_text(text.replace(old, new, 1))

    return damage


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


def edit_metric_and_cache_it(folder: Path) -> None:
    edit(
        folder / "metrics/comparison.json",
        set_key("variants", "onnx_int8", "kl_divergence", to=1.0),
    )
    replaced(
        "dvc.yaml", "- metrics/comparison.json:\n        cache: false", "- metrics/comparison.json"
    )(folder)


CLOSED = {
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
    "NaN": (change("onnx_int8.json", set_key("top1_accuracy", to=NAN)), r"got NaN, which is no"),
    "an infinite KL": (
        change("comparison.json", set_key("variants", "torch_int8", "kl_divergence", to=INFINITE)),
        r"comparison\.json must be a JSON file, got Infinity, which is no number",
    ),
    "a negative KL": (
        change("comparison.json", set_key("variants", "torch_int8", "kl_divergence", to=-1.0)),
        r"comparison\.json must be whole, got: variants\.torch_int8\.kl_divergence = -1\.0",
    ),
    "a huge number": (
        replaced("metrics/verify_torch.json", "1e-06", "1e999"),
        r"verify_torch\.json must be whole, got: parity_with_onnx\.max_abs_prob\S+ = inf",
    ),
    "null": (
        change("onnx_int8.json", set_key("top1_accuracy", to=None)), OTHERWISE + "top1_accuracy",
    ),
    "a word": (
        change("verify_torch.json", set_key("parity_with_onnx", to={DIFFERENCE: "0.9"})),
        r"verify_torch\.json must be whole, got: .+ = '0\.9'",
    ),
    "a missing key": (
        change("onnx_int8.json", drop_key("n_images")),
        r"onnx_int8\.json " + OTHERWISE + "n_images" + REMEDY,
    ),
    "a missing variant": (
        change("comparison.json", drop_key("variants", "onnx_int8")),
        r"comparison\.json must hold the variants keras_fp32, .+onnx_int8.+, got \['keras_fp32'",
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
    "a class with an escape": (
        lambda folder: rename_class(folder, "\\u001b[2J"),
        r"correct\.json must be whole, got: n_images",
    ),
    "an accuracy made up": (
        change("onnx_int8.json", set_key("top1_accuracy", to=0.95)),
        r"onnx_int8\.json " + OTHERWISE + "top1_accuracy" + REMEDY,
    ),
    "an accuracy of a class made up": (
        change("onnx_int8.json", set_key("per_class_accuracy", "cat", to=1.0)),
        OTHERWISE + r"per_class_accuracy\.cat" + REMEDY,
    ),
    "a class made up": (
        change("onnx_int8.json", set_key("per_class_accuracy", "lion", to=1.0)),
        OTHERWISE + r"per_class_accuracy\.lion" + REMEDY,
    ),
    "another variant's metric": (
        change("onnx_int8.json", set_key("variant", to="torch_int8")),
        r"onnx_int8\.json " + OTHERWISE + "variant" + REMEDY,
    ),
    "a delta made up": (
        change("comparison.json", set_key("variants", "onnx_int8", "accuracy_delta_pp", to=5.0)),
        r"comparison\.json " + OTHERWISE + r"variants\.onnx_int8\.accuracy_delta_pp" + REMEDY,
    ),
    "an agreement that right answers exclude": (
        change("comparison.json", set_key("variants", "onnx_int8", "agreement", to=0.9901)),
        OTHERWISE + r"variants\.onnx_int8\.agreement" + REMEDY,
    ),
    "as many images right, but others": (
        swap_images, r"comparison\.json " + OTHERWISE + r"variants\.onnx_int8\.",
    ),
    "a word on chance made up": (
        change("comparison.json", set_key("baseline_is_chance", to=True)),
        r"comparison\.json " + OTHERWISE + "baseline_is_chance" + REMEDY,
    ),
    "another baseline": (
        change("comparison.json", set_key("baseline", to="onnx_fp32")), r"compare with keras_fp32",
    ),
    "a metric edited in what nothing else tells": (
        change("comparison.json", set_key("variants", "onnx_int8", "kl_divergence", to=0.99)),
        RECORDS + r"metrics/comparison\.json" + REMEDY,
    ),
    "a metric edited that DVC is to cache": (
        edit_metric_and_cache_it, RECORDS + r"metrics/comparison\.json" + REMEDY,
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
        replaced("dvc.yaml", "    - data/labels.npy\n    params", "    params"),
        RECORDS + r"data/labels\.npy" + REMEDY,
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
        lambda folder: (folder / "dvc.yaml").write_text(
            (folder / "dvc.yaml").read_text().partition("  report:")[0]
        ),
        r"dvc\.lock must record the stages of dvc\.yaml, got report, too\. .+`dvc remove`",
    ),
    "dependencies dropped from dvc.lock": (
        edit_lock(lambda stages: stages["compare"].pop("deps")),
        RECORDS + r"code\.py, data/labels\.npy" + REMEDY,
    ),
    "parameters dropped from dvc.lock": (
        edit_lock(lambda stages: stages["compare"].pop("params")),
        RECORDS + r"calibrate\.size, compare, gate" + REMEDY,
    ),
    "a checksum dropped from dvc.lock": (
        edit_lock(lambda stages: stages["compare"]["deps"][1].pop("md5")),
        RECORDS + r"data/labels\.npy" + REMEDY,
    ),
    "an output dropped from dvc.lock": (
        edit_lock(lambda stages: stages["prepare"].pop("outs")),
        RECORDS + r"data/labels\.npy" + REMEDY,
    ),
    "a checksum that is nothing in dvc.lock": (
        edit_lock(
            lambda stages: [
                stages["prepare"]["outs"][0].update(md5=""),
                stages["compare"]["deps"][1].update(md5=""),
            ]
        ),
        RECORDS + r"data/labels\.npy" + REMEDY,
    ),
    "a dependency twice in dvc.lock": (
        edit_lock(lambda stages: stages["compare"]["deps"].append(stages["compare"]["deps"][0])),
        UNREADABLE,
    ),
    "a metric that another stage makes": (
        replaced("dvc.yaml", "    - metrics/onnx_int8.json:\n        cache: false\n", ""),
        RECORDS + r"metrics/onnx_int8\.json" + REMEDY,
    ),
    "a baseline that disagrees with itself": (
        change("comparison.json", set_key("variants", "keras_fp32", "agreement", to=0.95)),
        OTHERWISE + r"variants\.keras_fp32\.agreement" + REMEDY,
    ),
    "no .dvc": (lambda folder: shutil.rmtree(folder / ".dvc"), UNREADABLE),
    "data that another run made": (
        edit_lock(lambda stages: stages["prepare"]["outs"][0].update(md5="3" * 32)),
        RECORDS + r"data/labels\.npy" + REMEDY,
    ),
    "a stage that was never run": (
        edit_lock(lambda stages: stages.pop("report")),
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


@pytest.mark.parametrize(
    "base", ["", "-all", "HEAD:params.yaml", "HEAD~1", "a\nb", "; true", "origin/nowhere"]
)
def test_exit_code_is_2_for_what_is_no_commit(base: str, project: Path, gate: Gate) -> None:
    ended = gate(base=base)
    assert ended.code == 2
    assert "The base must be a Git revision" in ended.error


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


def test_json_and_markdown_tell_an_error(project: Path, gate: Gate) -> None:
    ended = gate("--json", base="nope")
    assert ended.code == 2
    content = json.loads(ended.out)
    assert content["verdict"] == "error"
    assert "got 'nope'" in content["error"]
    assert "### ⚠️ The gate could not compare" in gate("--markdown", base="nope").out


def test_markdown_has_both_tables_and_the_reasons(project: Path, gate: Gate) -> None:
    write_metrics(project, usual() | {"onnx_int8": right(*range(200))})
    ended = gate("--markdown")
    assert ended.code == 1
    assert "### ❌ The gate fails against HEAD" in ended.out
    assert "- ❌ onnx\\_int8: worse than the base: 90.00% to 80.00%" in ended.out
    rows = [line for line in ended.out.splitlines() if line.startswith("| onnx\\_int8 |")]
    assert rows[0].endswith("| WORSE |")
    assert len(rows) == 3  # the change, and the two drops among the limits
