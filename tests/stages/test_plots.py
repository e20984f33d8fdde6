"""The stage that draws the pictures."""

import json
from pathlib import Path

import numpy as np
import pytest
import yaml

from resnet8.core.errors import ArtifactError
from stages import plots
from tests.parameters import TEST_PARAMS
from tests.report_inputs import make_inputs

QUANTIZED = ("onnx_int8",)


def write_inputs(folder: Path) -> list[str]:
    """All that the stage reads; its arguments."""
    found = make_inputs(quantized=QUANTIZED, layers=("conv.0", "relu", "dense"))
    params = yaml.safe_load(TEST_PARAMS.read_text())
    params["quantize_onnx"]["types"], params["quantize_torch"]["types"] = ["int8"], []
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    for name in ("inspection", "metrics", "predictions", "data"):
        (folder / name).mkdir(parents=True)
    for path, content in {
        "inspection/layers.json": found.layers,
        "metrics/sensitivity.json": found.sensitivity,
        "metrics/comparison.json": found.comparison,
        "data/labels.json": {"label_names": found.test_set.label_names},
    }.items():
        (folder / path).write_text(json.dumps(content))
    for name, probabilities in found.predictions.items():
        np.save(folder / "predictions" / f"{name}.npy", probabilities)
        np.savez(folder / "inspection" / f"{name}.npz", **found.captures[name])
    np.save(folder / "data" / "test_images.npy", found.test_set.images)
    np.save(folder / "data" / "test_labels.npy", found.test_set.labels)
    paths = {name: name for name in ("inspection", "metrics", "predictions", "data", "out")}
    paths["params"] = "params.yaml"
    return [part for key, name in paths.items() for part in (f"--{key}", str(folder / name))]


def pictures(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_plots_writes_every_picture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = write_inputs(tmp_path)
    plots.main(command)
    found = pictures(tmp_path / "out")
    assert set(found) == {
        "layers.png", "sqnr.png", "channel_ranges.png", "sensitivity_onnx_int8.png",
        "histograms/conv.0.png", "histograms/relu.png", "histograms/dense.png",
        "feature_maps/conv.0.png", "feature_maps/relu.png", "per_class_accuracy.png",
        "per_class_delta.png", "confusion_onnx_int8.png", "flips_onnx_int8.png",
    }  # fmt: skip
    assert all(content.startswith(b"\x89PNG") for content in found.values())
    assert capsys.readouterr().out == f"13 pictures in {tmp_path / 'out'}\n"


def test_plots_names_a_file_that_is_missing(tmp_path: Path) -> None:
    command = write_inputs(tmp_path)
    (tmp_path / "inspection" / "onnx_int8.npz").unlink()
    with pytest.raises(ArtifactError, match=r"onnx_int8\.npz must"):
        plots.main(command)
