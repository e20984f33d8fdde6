"""Another model, or other parameters, in a project in which the pipeline has run."""

import importlib
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.faults.projects import copy, dvc_status, repro
from tests.pipeline.commands import read_metrics, set_params, stages_run

pytestmark = pytest.mark.faults


def build_other_model(path: Path, width: int) -> None:
    """Saves an untrained ResNet8 of another width with layer names of its own."""
    keras = importlib.import_module("keras")  # takes seconds, and one worker needs it
    build_resnet8 = importlib.import_module("samples.train").build_resnet8
    keras.utils.set_random_seed(0)

    def rename(layer: Any) -> Any:
        return type(layer).from_config({**layer.get_config(), "name": f"my-{layer.name}"})

    keras.models.clone_model(build_resnet8(width), clone_function=rename).save(path)


def test_another_model_goes_through_and_its_change_is_noticed(
    tmp_path: Path, finished: Path
) -> None:
    folder, model = copy(finished, tmp_path / "project"), tmp_path / "mine.keras"
    build_other_model(model, 6)
    set_params(folder, fetch={"model": str(model)})
    done = repro(folder, "inspect_layers")
    assert done.code == 0, done.output
    assert "prepare" not in stages_run(done.output)
    assert (folder / "data/raw/model.keras").read_bytes() == model.read_bytes()
    assert not (folder / "data/raw/model.h5").exists()
    layers = read_metrics(folder, "verify_onnx")["layers"]
    assert sum(name.startswith("my-conv2d") and x == "Conv" for name, x in layers.items()) == 9
    assert read_metrics(folder, "verify_onnx")["parity_with_keras"]["agreement"] == 1.0
    parity = read_metrics(folder, "layer_parity")["layers"]
    assert sum(re.fullmatch(r"my-conv2d(_\d+)?", name) is not None for name in parity) == 9
    assert "fetch" not in dvc_status(folder)

    build_other_model(model, 5)
    assert "fetch" in dvc_status(folder)


def test_size_and_types_rerun_only_the_stages_that_depend_on_them(
    tmp_path: Path, finished: Path
) -> None:
    folder = copy(finished, tmp_path / "project")
    set_params(folder, calibrate={"size": 50}, quantize_onnx={"types": ["uint8_int8"]})
    done = repro(folder, "compare")
    assert done.code == 0, done.output
    assert stages_run(done.output) == {
        "validate", "calibrate", "fit", "quantize_onnx@uint8_int8", "quantize_torch@int8",
        "evaluate_onnx@uint8_int8", "evaluate_torch@int8", "compare",
    }  # fmt: skip
    assert set(dvc_status(folder)) == {
        "decide", "inspect_layers", "lint_quantization", "plots", "report", "summarize_sweep",
    }  # fmt: skip
    assert len(np.load(folder / "data/calibration/indices.npy")) == 50
    rows = read_metrics(folder, "comparison")["variants"]
    assert set(rows) == {"keras_fp32", "onnx_fp32", "torch_fp32", "onnx_uint8_int8", "torch_int8"}
    # Files of a removed type are deleted, also from the folder that compare reads.
    for name in ("metrics/{}.json", "artifacts/predictions/{}.npy", "artifacts/models/{}.onnx"):
        assert not (folder / name.format("onnx_int8")).exists()
        assert (folder / name.format("onnx_uint8_int8")).exists()
