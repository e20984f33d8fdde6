"""The whole pipeline on the sample: `make demo`, and what users change afterwards."""

import hashlib
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from resnet8.core.errors import PipelineError
from resnet8.core.params import load_params
from samples.demo import SAMPLE_PARAMS, make_project
from samples.shapes import LABEL_NAMES
from tests.parameters import TEST_PARAMS
from tests.pipeline.commands import ROOT, read_metrics, repro, run, set_params, stages_run

VARIANTS = {"keras_fp32", "onnx_fp32", "torch_fp32", "onnx_int8", "onnx_uint8", "torch_int8"}


def changed_stages(folder: Path) -> set[str]:
    """The stages of `dvc repro` that DVC says something they depend on changed for."""
    return set(yaml.safe_load(run(folder, "dvc", "status", "--json", "dvc.yaml").stdout))


def git_status() -> str:
    return run(ROOT, "git", "status", "--porcelain").stdout


class Demo:
    """A finished demo, made from nothing, and a copy that tests may change."""

    def __init__(self, folder: Path) -> None:
        self.status_before = git_status()
        self.folder, self.copy = folder / "first", folder / "copy"
        done = run(ROOT, sys.executable, "-m", "samples.demo", "--out", str(self.folder))
        self.code, self.output = done.returncode, done.stdout
        self.log = (self.folder / "demo.log").read_text()
        self.lock = (self.folder / "dvc.lock").read_bytes()
        shutil.copytree(self.folder, self.copy, symlinks=True)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    return Demo(tmp_path_factory.mktemp("demo"))


@pytest.fixture(scope="module")
def folder(demo: Demo) -> Path:
    return demo.folder


def test_demo_runs_every_stage(demo: Demo) -> None:
    assert demo.code == 0, demo.output
    run = {"fetch", "evaluate@keras_fp32", "evaluate_torch@int8", "compare"}
    assert run <= stages_run(demo.log)
    assert all(f" {name} " in demo.output for name in stages_run(demo.log))


def test_demo_prints_a_line_for_each_stage_and_no_escape_codes(demo: Demo) -> None:
    first, *rest = demo.output.splitlines()
    assert first.endswith(f"{demo.folder}/demo.log.")
    steps = rest[: rest.index("")]
    n = len(stages_run(demo.log))
    assert [line.split()[0] for line in steps] == [f"{i}/{n}" for i in range(1, n + 1)]
    assert not set("\r\033") & set(demo.output)


def test_demo_ends_with_the_table_and_where_everything_is(demo: Demo) -> None:
    end = demo.output.splitlines()[-17:]
    assert any("torch_int8" in line for line in end)
    assert "metrics/" in end[-2]
    assert "artifacts/models/" in end[-2]
    assert f"{demo.folder}/artifacts/report/index.html" in end[-1]
    assert (demo.folder / "artifacts/report/index.html").stat().st_size < 6e6


def test_demo_says_which_variant_to_ship_in_front_of_the_table(demo: Demo) -> None:
    lines = demo.output.splitlines()
    decision = lines[lines.index("") + 1 :]
    recommended = read_metrics(demo.folder, "decision")["recommended"]
    assert decision[0].startswith(f"Ship {recommended}.")
    assert "% of 2,000 test images correct" in decision[1]
    card = (demo.folder / "artifacts/model_card.md").read_text()
    assert f"`artifacts/models/{recommended}" in card


def test_demo_leaves_the_checkout_as_it_was(demo: Demo) -> None:
    assert git_status() == demo.status_before


def test_demo_shows_the_samples_own_class_names(demo: Demo, folder: Path) -> None:
    assert set(read_metrics(folder, "onnx_int8")["per_class_accuracy"]) == set(LABEL_NAMES)
    assert "hexagon" in demo.log


def test_sample_is_neither_trivial_nor_hopeless(folder: Path) -> None:
    assert 0.85 <= read_metrics(folder, "keras_fp32")["top1_accuracy"] <= 0.97


def test_float_variants_are_equivalent(folder: Path) -> None:
    rows = read_metrics(folder, "comparison")["variants"]
    for name in ("onnx_fp32", "torch_fp32"):
        assert rows[name]["agreement"] == 1.0
        assert rows[name]["max_abs_probability_diff"] <= 1e-5
        assert rows[name]["top1_accuracy"] == rows["keras_fp32"]["top1_accuracy"]


def test_quantization_visibly_moves_the_sample(folder: Path) -> None:
    rows = read_metrics(folder, "comparison")["variants"]
    for name in ("onnx_int8", "onnx_uint8", "torch_int8"):
        assert rows[name]["accuracy_delta_pp"] != 0 or any(
            rows[name]["per_class_delta_pp"].values()
        )
        assert 0.95 < rows[name]["agreement"] < 1.0


def test_metrics_are_what_the_predictions_say(folder: Path) -> None:
    labels = np.load(folder / "data/cifar10/test_labels.npy")
    for name in VARIANTS:
        predictions = np.load(folder / f"artifacts/predictions/{name}.npy")
        assert predictions.dtype == np.float32
        accuracy = np.mean(predictions.argmax(axis=1) == labels)
        assert read_metrics(folder, name)["top1_accuracy"] == pytest.approx(accuracy)


def test_calibration_images_are_training_images_and_no_test_images(folder: Path) -> None:
    calibration, train, test = (
        np.load(folder / f"data/{name}images.npy")
        for name in ("calibration/", "cifar10/train_", "cifar10/test_")
    )
    indices = np.load(folder / "data/calibration/indices.npy")
    np.testing.assert_array_equal(train[indices], calibration)
    shown = {image.tobytes() for image in test}
    assert not [image for image in calibration if image.tobytes() in shown]


def names_of_the_folder(made: Path, name: Path) -> list[Path]:
    """The results that have a folder's path in them."""
    paths = [path for part in ("artifacts", "metrics") for path in (made / part).rglob("*")]
    return [path for path in paths if path.is_file() and str(name).encode() in path.read_bytes()]


def test_results_name_no_folder_of_the_run(demo: Demo) -> None:
    assert names_of_the_folder(demo.folder, demo.folder) == []


def test_the_same_command_again_does_nothing(demo: Demo) -> None:
    again = repro(demo.copy)
    assert (again.returncode, stages_run(again.stdout)) == (0, set())
    assert (demo.copy / "dvc.lock").read_bytes() == demo.lock


def test_plain_repro_runs_no_sweep(demo: Demo, folder: Path) -> None:
    assert not any("sweep/dvc.yaml" in name for name in stages_run(demo.output))
    found = read_metrics(folder, "sweep")
    assert (found["n_finished"], found["n_runs"]) == (0, 8)
    page = (folder / "artifacts/report/index.html").read_text()
    assert "<code>make sweep</code> makes all 8." in page


def test_a_colour_reruns_figures_and_report_only(folder: Path) -> None:
    palette = folder / "resnet8" / "report" / "figures" / "palette.py"
    before = palette.read_text()
    palette.write_text(before.replace('ORANGE = "#E69F00"', 'ORANGE = "#E69F01"'))
    assert palette.read_text() != before
    found = changed_stages(folder)
    palette.write_text(before)
    assert found == {"plots", "report"}


def test_another_input_reruns_the_inspection_and_the_report_only(folder: Path) -> None:
    before = (folder / "params.yaml").read_text()
    set_params(folder, inspect={"input": "random:1"})
    found = changed_stages(folder)
    (folder / "params.yaml").write_text(before)
    assert found == {"validate", "inspect_layers", "report"}


def test_conversions_are_equal_in_every_layer(folder: Path) -> None:
    layers = read_metrics(folder, "layer_parity")["layers"]
    assert {"conv2d", "add_2", "average_pooling2d", "dense"} <= set(layers)
    assert max(row["relative"] for row in layers.values()) == 1e-5  # the bound of noise


def test_candidate_republishes_the_chosen_variant(folder: Path) -> None:
    set_params(folder, candidate="torch_int8")
    changed = repro(folder)
    assert stages_run(changed.stdout) == {"validate", "candidate", "decide"}
    assert read_metrics(folder, "candidate") == read_metrics(folder, "summary/torch_int8")


def test_dvc_shows_a_row_of_figures_for_each_variant(folder: Path) -> None:
    shown = run(folder, "dvc", "metrics", "show").stdout.splitlines()
    assert max(map(len, shown)) <= 140
    header, *rows = (line.split() for line in shown)
    figures = ["accuracy_delta_pp", "agreement", "kl_divergence", "top1_accuracy", "variant"]
    assert header == ["Path", *figures]
    paths = {f"metrics/summary/{name}.json" for name in VARIANTS} | {"metrics/candidate.json"}
    assert {row[0] for row in rows} == paths
    assert all(len(row) == len(header) and "-" not in row for row in rows)


def snapshot(folder: Path) -> dict[str, tuple[str, int]]:
    """Digest and modification time of every file but DVC's own scratch."""
    return {
        str(path.relative_to(folder)): (
            hashlib.sha256(path.read_bytes()).hexdigest(),
            path.stat().st_mtime_ns,
        )
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.is_relative_to(folder / ".dvc" / "tmp")
    }


def test_bad_parameters_are_refused_together_and_nothing_is_touched(folder: Path) -> None:
    good = (folder / "params.yaml").read_text()
    set_params(
        folder,
        calibrate={"size": "many", "sede": 1},
        quantize_onnx={"types": ["int8", "int7"]},
        evaluate={"batch_size": 0},
        candidate="onnx_int4",
    )
    before = snapshot(folder)
    refused = repro(folder)
    after = snapshot(folder)
    (folder / "params.yaml").write_text(good)
    assert refused.returncode != 0
    assert "Traceback" not in refused.stdout
    for text in (
        "calibrate.size must be a number from 1 to 50000, got 'many'",
        "calibrate.sede is not a parameter. Did you mean seed?",
        "quantize_onnx.types[1] must be",
        "evaluate.batch_size must be a number of images from 1 to 10000, got 0",
    ):
        assert text in refused.stdout
    assert after == before


def test_demo_refuses_a_folder_with_something_else_in_it(tmp_path: Path) -> None:
    (tmp_path / "stages").mkdir()
    (tmp_path / "stages" / "mine.py").touch()
    for folder in (tmp_path, ROOT, ROOT.parent):
        with pytest.raises(PipelineError, match="must be empty or an earlier demo"):
            make_project(folder, SAMPLE_PARAMS)
    assert (tmp_path / "stages" / "mine.py").exists()


def test_demo_parameters_fit_as_those_of_the_reference_do() -> None:
    sample, reference = load_params(SAMPLE_PARAMS), load_params(TEST_PARAMS)
    assert sample.settings == reference.settings
    assert sample.variants == reference.variants
