"""The whole pipeline on the sample, by the code of `make demo`; what its stages wrote."""

import json
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
import pytest
import yaml

from resnet8.core.errors import ParityError
from resnet8.inspection.onnx_capture import watch
from samples.demo import SAMPLE_PARAMS
from samples.shapes import LABEL_NAMES
from stages import inspect_layers
from tests.pipeline.commands import ROOT, read_metrics, repro, run, set_params, stages_run

QUANTIZED = {"onnx_int8", "torch_int8"}
VARIANTS = {"keras_fp32", "onnx_fp32", "torch_fp32"} | QUANTIZED
# Few images and types, to be quick.
FEW: dict[str, Any] = {
    "calibrate": {"size": 100},
    "fit": {"weight_rounding": "nearest"},
    "quantize_onnx": {"types": ["int8"]},
    "inspect": {"images": 10, "sensitivity_images": 5, "verified_images": 25},
}
DEMO = """
import sys
from pathlib import Path
from samples import demo
demo.SAMPLE_PARAMS = Path(sys.argv.pop(1))
demo.run_stage(demo.main)
"""


def git_status() -> str:
    return run(ROOT, "git", "status", "--porcelain").stdout


class Demo(NamedTuple):
    """A finished demo, made from nothing; tests leave it as it is."""

    folder: Path
    output: str
    log: str

    def read(self, name: str) -> Any:
        return json.loads((self.folder / name).read_text())


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    folder, before = tmp_path_factory.mktemp("demo"), git_status()
    (folder / "params.yaml").write_text(SAMPLE_PARAMS.read_text())
    set_params(folder, **FEW)
    out = folder / "project"
    params = str(folder / "params.yaml")
    done = run(ROOT, sys.executable, "-c", DEMO, params, "--out", str(out))
    assert done.returncode == 0, done.stdout
    assert git_status() == before
    return Demo(out, done.stdout, (out / "demo.log").read_text())


def test_demo_prints_a_line_for_each_stage_and_then_what_came_out(demo: Demo) -> None:
    stages = stages_run(demo.log)
    assert {"fetch", "evaluate@keras_fp32", "evaluate_torch@int8", "report"} <= stages
    first, *lines = demo.output.splitlines()
    assert first.endswith(f"{demo.folder}/demo.log.")
    steps, end = lines[: lines.index("")], lines[lines.index("") + 1 :]
    assert {line.split()[1] for line in steps} == stages
    assert len(steps) == len(stages)
    recommended = read_metrics(demo.folder, "decision")["recommended"]
    assert end[0].startswith(f"Ship {recommended}.")
    assert "% of 2,000 test images correct" in end[1]
    assert any("torch_int8" in line for line in end)
    assert f"{demo.folder}/artifacts/report/index.html" in end[-1]
    assert (demo.folder / "artifacts/report/index.html").stat().st_size < 6e6
    card = (demo.folder / "artifacts/model_card.md").read_text()
    assert f"`artifacts/models/{recommended}" in card


def test_float_variants_are_equivalent_and_quantization_visibly_moves_the_sample(
    demo: Demo,
) -> None:
    rows = read_metrics(demo.folder, "comparison")["variants"]
    assert rows.keys() == VARIANTS
    assert 0.85 <= rows["keras_fp32"]["top1_accuracy"] <= 0.97
    # Lower, if labels and shapes did not belong together.
    assert min(read_metrics(demo.folder, "keras_fp32")["per_class_accuracy"].values()) > 0.7
    for name in VARIANTS - QUANTIZED:
        assert rows[name]["agreement"] == 1.0
        assert rows[name]["max_abs_probability_diff"] <= 1e-5
    for name in QUANTIZED:
        assert any(rows[name]["per_class_delta_pp"].values())
        assert 0.95 < rows[name]["agreement"] < 1.0


@pytest.mark.parametrize("name", sorted(VARIANTS))
def test_metrics_are_what_the_predictions_say(demo: Demo, name: str) -> None:
    labels = np.load(demo.folder / "data/cifar10/test_labels.npy")
    predictions = np.load(demo.folder / f"artifacts/predictions/{name}.npy")
    assert predictions.dtype == np.float32
    metrics = read_metrics(demo.folder, name)
    assert metrics["top1_accuracy"] == pytest.approx(np.mean(predictions.argmax(axis=1) == labels))
    assert set(metrics["per_class_accuracy"]) == set(LABEL_NAMES)


def test_calibration_images_are_training_images_with_their_labels_and_no_test_images(
    demo: Demo,
) -> None:
    calibration, train, test = (
        np.load(demo.folder / f"data/{name}images.npy")
        for name in ("calibration/", "cifar10/train_", "cifar10/test_")
    )
    indices = np.load(demo.folder / "data/calibration/indices.npy")
    np.testing.assert_array_equal(train[indices], calibration)
    labels, train_labels = (
        np.load(demo.folder / f"data/{name}labels.npy")
        for name in ("calibration/", "cifar10/train_")
    )
    np.testing.assert_array_equal(train_labels[indices], labels)
    tested = {image.tobytes() for image in test}
    assert not [image for image in calibration if image.tobytes() in tested]


def test_fit_records_its_settings_and_the_number_of_calibration_images(demo: Demo) -> None:
    settings = demo.read("artifacts/quantization/quantization.json")["settings"]
    assert (settings["images"], settings["weight_rounding"]) == (100, "nearest")


def test_results_name_no_folder_of_the_run(demo: Demo) -> None:
    paths = [x for part in ("artifacts", "metrics") for x in (demo.folder / part).rglob("*")]
    name = str(demo.folder).encode()
    assert not [path for path in paths if path.is_file() and name in path.read_bytes()]


def test_inspect_layers_has_the_layers_of_every_variant_and_the_chosen_image(demo: Demo) -> None:
    inspection = demo.read("artifacts/inspection/layers.json")
    assert inspection["n_images"] == {"calibration": 10, "input": 1}
    assert inspection["input"] == "test image 0"
    for over in ("calibration", "input"):
        for layer in inspection["layers"]:
            absent = {name for name in VARIANTS if layer in inspection["absent"][name]}
            assert set(inspection["activations"][over][layer]) == VARIANTS - absent, layer
    image = np.load(demo.folder / "data/cifar10/test_images.npy")[:1].astype(np.float32)
    expected = watch(onnx.load(demo.folder / "artifacts/models/onnx_fp32.onnx")).run(image)
    with np.load(demo.folder / "artifacts/inspection/onnx_fp32.npz") as saved:
        assert np.array_equal(saved["conv2d_4"], expected.outputs["conv2d_4"])
        assert np.array_equal(saved["probabilities"], expected.probabilities)


def test_inspect_layers_says_what_clips_on_purpose(demo: Demo) -> None:
    layers = read_metrics(demo.folder, "layers")["activations"]
    marked = {x: row for x, row in layers["onnx_int8"].items() if "clips_on_purpose" in row}
    aware = demo.read("artifacts/quantization/quantization.json")["relu_aware"]
    assert set(marked) == {x for x in aware if not x.startswith("add")} != set()
    assert layers["torch_int8"]["add_1"]["clips_on_purpose"] == "below zero"
    for row in marked.values():
        # Without what is clipped on purpose, the error is that of rounding.
        assert row["sqnr_db"] > 25
        assert row["clipped_low_share"] > 0


def test_inspect_layers_ranks_the_layers_of_quantized_variants(demo: Demo) -> None:
    sensitivity = read_metrics(demo.folder, "sensitivity")
    assert sensitivity["n_images"] == 5
    assert set(sensitivity["variants"]) == QUANTIZED
    for ranking in sensitivity["variants"].values():
        rows = sorted(ranking["layers"].values(), key=lambda row: row["rank"])
        assert [row["rank"] for row in rows] == list(range(1, len(rows) + 1))
        assert rows[0]["alone"]["kl_divergence"] > 0


def test_inspect_layers_compares_the_codes_of_every_variant(demo: Demo) -> None:
    variants = read_metrics(demo.folder, "verify_quantized")["variants"]
    tensors = {name: row["tensors"] for name, row in variants.items()}
    assert tensors == {"onnx_int8": 15, "torch_int8": 13}
    described = demo.read("artifacts/verification/quantized.json")["variants"]
    for name, row in variants.items():
        assert row["largest_difference"] <= 1
        codes = sum(x["compared"] for x in described[name]["tensors"] if x["in_codes"])
        assert codes == row["codes"] == described[name]["end_to_end"]["codes"]
    assert demo.log.count("codes differ from exact arithmetic") == 2


def test_inspect_layers_names_a_layer_with_wrong_codes_and_writes_nothing(
    demo: Demo, tmp_path: Path
) -> None:
    artifacts = demo.folder / "artifacts"
    model = onnx.load(artifacts / "models/onnx_int8.onnx")
    (bias,) = (x for x in model.graph.initializer if x.name == "conv2d_3.bias_quantized")
    steps = onnx.numpy_helper.to_array(bias) + 3000
    bias.CopyFrom(onnx.numpy_helper.from_array(steps, bias.name))
    (tmp_path / "models").mkdir()
    onnx.save(model, tmp_path / "models/onnx_int8.onnx")
    for name in ("onnx_fp32.onnx", "torch_fp32.pt2"):
        (tmp_path / "models" / name).symlink_to(artifacts / "models" / name)
    (tmp_path / "params.yaml").write_text((demo.folder / "params.yaml").read_text())
    set_params(tmp_path, quantize_torch={"types": []})
    data = demo.folder / "data"
    paths = {
        "params": tmp_path / "params.yaml", "models": tmp_path / "models", "out": tmp_path / "a",
        "metrics": tmp_path / "b", "verification": tmp_path / "c",
        "quantization": artifacts / "quantization", "raw": data / "raw", "data": data / "cifar10",
        "calibration": data / "calibration",
    }  # fmt: skip
    with pytest.raises(ParityError, match="^conv2d_3 of onnx_int8 must give what exact"):
        inspect_layers.main([f"--{name}={path}" for name, path in paths.items()])
    assert {path.name for path in tmp_path.iterdir()} == {"models", "params.yaml"}


def test_the_command_again_does_nothing(demo: Demo) -> None:
    before = (demo.folder / "dvc.lock").read_bytes()
    again = repro(demo.folder)
    assert (again.returncode, stages_run(again.stdout)) == (0, set())
    assert (demo.folder / "dvc.lock").read_bytes() == before


def test_another_candidate_changes_what_depends_on_it_and_nothing_else(demo: Demo) -> None:
    path = demo.folder / "params.yaml"
    before = path.read_text()
    set_params(demo.folder, candidate="torch_int8")
    changed = yaml.safe_load(run(demo.folder, "dvc", "status", "--json", "dvc.yaml").stdout)
    path.write_text(before)
    assert set(changed) == {"validate", "candidate", "decide"}
    summary = read_metrics(demo.folder, "summary/keras_fp32")
    assert read_metrics(demo.folder, "candidate") == summary


def test_dvc_shows_a_row_of_figures_for_each_variant(demo: Demo) -> None:
    lines = run(demo.folder, "dvc", "metrics", "show").stdout.splitlines()
    assert max(map(len, lines)) <= 140
    header, *rows = (line.split() for line in lines)
    figures = ["accuracy_delta_pp", "agreement", "kl_divergence", "top1_accuracy", "variant"]
    assert header == ["Path", *figures]
    paths = {f"metrics/summary/{name}.json" for name in VARIANTS} | {"metrics/candidate.json"}
    assert {row[0] for row in rows} == paths
    assert all(len(row) == len(header) and "-" not in row for row in rows)


def test_bad_parameters_are_refused_together_and_nothing_is_touched(demo: Demo) -> None:
    def contents() -> dict[Path, tuple[bytes, int]]:
        """Contents and modification times of all files but DVC's scratch."""
        files = [path for path in demo.folder.rglob("*") if path.is_file()]
        scratch = demo.folder / ".dvc" / "tmp"
        kept = [path for path in files if not path.is_relative_to(scratch)]
        return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in kept}

    path = demo.folder / "params.yaml"
    valid = path.read_text()
    set_params(demo.folder, calibrate={"sede": 1}, evaluate={"batch_size": 0})
    before = contents()
    refused = repro(demo.folder)
    assert contents() == before
    path.write_text(valid)
    assert refused.returncode != 0
    assert "Traceback" not in refused.stdout
    assert "calibrate.sede is not a parameter. Did you mean seed?" in refused.stdout
    assert "evaluate.batch_size must be a number of images from 1 to 10000" in refused.stdout
