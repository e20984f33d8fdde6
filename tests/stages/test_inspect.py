"""The stages that look inside the models, on the sample."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import yaml
from numpy.typing import NDArray

from resnet8.core.errors import ParityError
from resnet8.inspection.onnx_capture import watch
from resnet8.quantize import storage
from samples.dataset import SAMPLE_MODEL
from samples.shapes import LABEL_NAMES
from stages import inspect_layers, inspect_sensitivity, verify_quantized
from tests.pipeline.commands import ROOT

VARIANTS = {"keras_fp32", "onnx_fp32", "onnx_int8", "torch_fp32", "torch_int8"}


class Project:
    """A folder with the outputs of earlier stages."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        content = yaml.safe_load((ROOT / "samples" / "params.yaml").read_text())
        content["quantize_onnx"]["types"] = ["int8"]
        self.params: dict[str, Any] = content

    def run(self, module: Any, **changes: Any) -> None:
        params = {**self.params, "inspect": {**self.params["inspect"], **changes}}
        (self.folder / "params.yaml").write_text(yaml.safe_dump(params))
        paths = {
            inspect_layers: ("raw", "models", "data", "calibration", "metrics"),
            inspect_sensitivity: ("models",),
            verify_quantized: ("models", "quantization", "data", "metrics"),
        }[module]
        arguments = [f"--params={self.folder / 'params.yaml'}"]
        arguments += [f"--{name}={self.folder / name}" for name in paths]
        if module is inspect_layers:
            arguments += [f"--out={self.folder / 'inspection'}"]
        elif module is verify_quantized:
            arguments[-1] += "/verify_quantized.json"
            arguments += [f"--out={self.folder / 'quantized.json'}", "--images=10"]
        else:
            arguments += [f"--images={self.folder / 'calibration' / 'images.npy'}"]
            arguments += [f"--out={self.folder / 'metrics' / 'sensitivity.json'}"]
        module.main(arguments)

    def read(self, name: str) -> Any:
        return json.loads((self.folder / name).read_text())


@pytest.fixture(scope="module")
def project(
    tmp_path_factory: pytest.TempPathFactory,
    models_folder: Path,
    quantization: Any,
    calibration_images: Any,
    test_set: Any,
) -> Project:
    folder = tmp_path_factory.mktemp("project")
    for name in ("raw", "data", "calibration", "metrics"):
        (folder / name).mkdir()
    (folder / "raw" / "model.h5").symlink_to(SAMPLE_MODEL)
    shutil.copytree(models_folder, folder / "models")
    storage.write(folder / "quantization", quantization, {})
    (folder / "data" / "labels.json").write_text(json.dumps({"label_names": list(LABEL_NAMES)}))
    np.save(folder / "data" / "test_images.npy", test_set[0])
    np.save(folder / "data" / "test_labels.npy", test_set[1])
    np.save(folder / "calibration" / "images.npy", calibration_images)
    made = Project(folder)
    made.run(inspect_layers, input="test:3", images=10)
    return made


def test_inspect_layers_sees_the_layers_of_every_variant(project: Project) -> None:
    found = project.read("inspection/layers.json")
    assert found["n_images"] == {"calibration": 10, "input": 1}
    assert found["input"] == "test image 3"
    for over in ("calibration", "input"):
        for layer in found["layers"]:
            seen = set(found["activations"][over][layer])
            absent = {name for name in VARIANTS if layer in found["absent"][name]}
            assert seen == VARIANTS - absent, layer


def test_inspect_layers_finds_conversions_equal_in_every_layer(project: Project) -> None:
    found = project.read("metrics/layer_parity.json")
    assert found["rtol"] == 1e-4
    # The bound of noise.
    assert max(row["relative"] for row in found["layers"].values()) == 1e-5
    assert {"keras_onnx", "keras_torch", "onnx_torch"} <= set(found["layers"]["conv2d"])


def test_inspect_layers_saves_what_the_chosen_image_causes(
    project: Project, onnx_fp32: Any, test_set: tuple[NDArray[np.uint8], NDArray[np.int64]]
) -> None:
    expected = watch(onnx_fp32).run(test_set[0][[3]].astype(np.float32))
    with np.load(project.folder / "inspection" / "onnx_fp32.npz") as saved:
        assert np.array_equal(saved["conv2d_4"], expected.outputs["conv2d_4"])
        assert np.array_equal(saved["probabilities"], expected.probabilities)


def test_inspect_layers_captures_another_image_when_asked(project: Project) -> None:
    files = ["inspection/torch_int8.npz", "metrics/layers.json"]
    before = [(project.folder / name).read_bytes() for name in files]
    project.run(inspect_layers, input="random:4", images=10)
    other = [(project.folder / name).read_bytes() for name in files]
    assert other[0] != before[0]
    assert other[1] == before[1]  # of the calibration images, whatever is chosen


def test_inspect_sensitivity_ranks_the_layers_of_quantized_variants(project: Project) -> None:
    project.run(inspect_sensitivity, sensitivity_images=20)
    found = project.read("metrics/sensitivity.json")
    assert found["n_images"] == 20
    assert set(found["variants"]) == {"onnx_int8", "torch_int8"}
    for ranking in found["variants"].values():
        ranks = sorted(row["rank"] for row in ranking["layers"].values())
        assert ranks == list(range(1, len(ranks) + 1))
        first = min(ranking["layers"].values(), key=lambda row: row["rank"])
        assert first["alone"]["kl_divergence"] > 0


def test_inspect_layers_says_what_clips_on_purpose(project: Project, quantization: Any) -> None:
    rows = project.read("metrics/layers.json")["activations"]["onnx_int8"]
    marked = {layer for layer, row in rows.items() if "clips_on_purpose" in row}
    assert marked == {x for x in quantization.relu_aware if not x.startswith("add")}
    sums = project.read("metrics/layers.json")["activations"]["torch_int8"]
    assert sums["add_1"]["clips_on_purpose"] == "below zero"
    assert sums["add_1"]["sqnr_db"] > 20
    assert marked
    for layer in marked:
        # Without what is clipped on purpose, the error is that of rounding.
        assert rows[layer]["sqnr_db"] > 25
        assert rows[layer]["clipped_low_share"] > 0


def test_verify_quantized_compares_every_variant(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    project.run(verify_quantized)
    found = project.read("metrics/verify_quantized.json")
    assert found["n_images"] == 10
    assert {name: row["tensors"] for name, row in found["variants"].items()} == {
        "onnx_int8": 15,
        "torch_int8": 13,
    }
    assert all(row["largest_difference"] <= 1 for row in found["variants"].values())
    shown = project.read("quantized.json")["variants"]
    for name, row in found["variants"].items():
        codes = sum(x["compared"] for x in shown[name]["tensors"] if x["in_codes"])
        assert codes == row["codes"] == shown[name]["end_to_end"]["codes"]
    assert capsys.readouterr().out.count("not those of exact arithmetic") == 2


def test_verify_quantized_names_a_wrong_layer_and_writes_nothing(project: Project) -> None:
    project.run(verify_quantized)
    before = (project.folder / "quantized.json").read_bytes()
    path = project.folder / "models" / "onnx_int8.onnx"
    right = path.read_bytes()
    model = onnx.load_from_string(right)
    (bias,) = (x for x in model.graph.initializer if x.name == "conv2d_3.bias_quantized")
    steps = onnx.numpy_helper.to_array(bias) + 3000
    bias.CopyFrom(onnx.numpy_helper.from_array(steps, bias.name))
    path.write_bytes(model.SerializeToString())
    try:
        with pytest.raises(ParityError, match="^conv2d_3 of onnx_int8 must give what exact"):
            project.run(verify_quantized)
    finally:
        path.write_bytes(right)
    assert (project.folder / "quantized.json").read_bytes() == before
