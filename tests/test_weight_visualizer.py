"""Looking into one model by hand."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from resnet8.core.errors import ArtifactError, PipelineError
from resnet8.weight_visualizer import look_beside, main


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, models_folder: Path, test_set: Any) -> Path:
    """All models, a quantized one alone, and test images."""
    folder = tmp_path_factory.mktemp("project") / "models"
    shutil.copytree(models_folder, folder)
    (folder / "alone").mkdir()
    shutil.copy(folder / "torch_int8.pt2", folder / "alone" / "mine.pt2")
    (folder / "cifar10").mkdir()
    np.save(folder / "cifar10" / "test_images.npy", test_set[0])
    return folder


def pictures(out: Path) -> set[str]:
    return {str(path.relative_to(out)) for path in out.rglob("*.png")}


def test_main_prints_statistics_and_saves_pictures_of_the_chosen_layers(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main([
        str(folder / "onnx_uint8.onnx"), "--layers=conv2d_2,dense", "--input=test:3",
        f"--data={folder}", f"--out={tmp_path}",
    ])  # fmt: skip
    assert pictures(tmp_path) == {
        "layers.png", "sqnr.png", "channel_ranges.png", "histograms/conv2d_2.png",
        "histograms/dense.png", "feature_maps/conv2d_2.png",
    }  # fmt: skip
    printed = capsys.readouterr().out
    assert "onnx_fp32 over test image 3" in printed
    rows = [line.split()[0] for line in printed.splitlines() if line.startswith(" conv2d_2 ")]
    assert rows == ["conv2d_2", "conv2d_2"]  # of the float and of the quantized model
    assert str(tmp_path / "sqnr.png") in printed


def test_look_beside_takes_the_float_model_in_the_same_folder(folder: Path) -> None:
    for name, expected in (
        ("torch_int8.pt2", ["torch_fp32", "torch_int8"]),
        ("torch_fp32.pt2", ["torch_fp32"]),
        ("alone/mine.pt2", ["torch_int8"]),
    ):
        view = look_beside(folder / name, "random:0", reference=None, data=folder)
        assert list(view.models) == expected


def test_look_beside_refuses_a_reference_of_another_kind(folder: Path) -> None:
    model, reference = folder / "alone" / "mine.pt2", folder / "onnx_fp32.onnx"
    with pytest.raises(ArtifactError, match="must be a float model of the same runtime"):
        look_beside(model, "random:0", reference=reference, data=folder)


@pytest.mark.parametrize(
    ("model", "arguments", "message"),
    [
        (
            "onnx_fp32.onnx",
            ["--layers=pool*"],
            r"--layers: .* got 'pool\*'\. Layers: conv2d_permute,",
        ),
        ("onnx_fp32.onnx", ["--input=test:500"], "--input: test numbers must be .* 499, got 500"),
        ("onnx_fp32.onnx", ["--input=image"], "--input: the input must be test:<index>"),
        ("onnx_fp32.onnx", ["--data=nowhere"], "images.npy must be .* build/demo/data, or choose"),
        ("onnx_fp32.onnx", ["--input=x.png,y.JPG"], "^The picture must be a file, got x.png"),
        ("notes.tflite", ["--input=random:0"], r"type \.h5, .*\.pt2, got .*notes\.tflite"),
        *((f"none.{x}", [], rf"must be a file, got .*none\.{x}\.") for x in ("onnx", "pt2", "h5")),
    ],
)
def test_main_refuses(
    folder: Path, tmp_path: Path, model: str, arguments: list[str], message: str
) -> None:
    (folder / "notes.tflite").touch()
    with pytest.raises(PipelineError, match=message):
        main([str(folder / model), f"--data={folder}", f"--out={tmp_path}", *arguments])
    assert not pictures(tmp_path)
