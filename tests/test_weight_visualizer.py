"""Looking into one model by hand."""

import json
import shutil
from collections.abc import Collection
from io import StringIO
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import yaml
from rich.console import Console

from resnet8.compare import tables
from resnet8.core.errors import ArtifactError, PipelineError
from resnet8.core.names import OnnxType
from resnet8.core.variants import QUANTIZED_VARIANTS, Variant
from resnet8.inside import look
from resnet8.inspection.units import read_equalization
from resnet8.models.onnx_graph import read_parameters
from resnet8.weight_visualizer import look_beside, main
from samples.dataset import SAMPLE_MODEL
from samples.demo import SAMPLE_PARAMS
from samples.shapes import LABEL_NAMES
from stages import inspect_layers

ONNX_TYPES: tuple[OnnxType, ...] = ("int8", "uint8", "uint8_int8")
CALIBRATION_IMAGES, TEST_IMAGES = 100, [3, 8]  # that the stage looks at


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


@pytest.fixture(scope="module")
def inspected(
    folder: Path, tmp_path_factory: pytest.TempPathFactory, test_set: Any, calibration_images: Any
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Files of the stage inspect_layers: artifacts/inspection/ and metrics/layers.json."""
    project = tmp_path_factory.mktemp("project")
    for name in ("raw", "data", "calibration", "out", "metrics"):
        (project / name).mkdir()
    (project / "raw" / "model.h5").symlink_to(SAMPLE_MODEL)
    for name, array in zip(("images", "labels"), test_set, strict=True):
        np.save(project / "data" / f"test_{name}.npy", array)
    (project / "data" / "labels.json").write_text(json.dumps({"label_names": list(LABEL_NAMES)}))
    np.save(project / "calibration" / "images.npy", calibration_images)
    content = yaml.safe_load(SAMPLE_PARAMS.read_text())
    content["quantize_onnx"]["types"] = list(ONNX_TYPES)
    numbers = ",".join(map(str, TEST_IMAGES))
    content["inspect"] |= {"input": f"test:{numbers}", "images": CALIBRATION_IMAGES}
    (project / "params.yaml").write_text(yaml.safe_dump(content))
    inspect_layers.main([
        f"--params={project / 'params.yaml'}", f"--models={folder}",
        *(f"--{x}={project / x}" for x in ("raw", "data", "calibration", "out", "metrics")),
    ])  # fmt: skip
    inspection, metrics = (
        json.loads((project / name / "layers.json").read_text()) for name in ("out", "metrics")
    )
    return inspection, metrics


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


def test_main_looks_at_a_quantized_model_without_its_original(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = folder / "alone" / "mine.pt2"
    main([str(model), "--layers=activation", "--input=random:1", f"--out={tmp_path}"])
    assert "torch_int8 over random pixels with seed 1" in capsys.readouterr().out
    assert "histograms/activation.png" in pictures(tmp_path)


def names(path: Path, reference: Path | None = None) -> list[str]:
    return list(look_beside(path, "random:0", reference=reference, data=path.parent).models)


def test_look_beside_takes_the_float_model_in_the_same_folder(folder: Path) -> None:
    assert names(folder / "torch_int8.pt2") == ["torch_fp32", "torch_int8"]
    assert names(folder / "torch_fp32.pt2") == ["torch_fp32"]


@pytest.mark.parametrize("name", ["onnx_fp32.onnx", "torch_int8.pt2"])
def test_look_beside_refuses_a_reference_of_another_kind(folder: Path, name: str) -> None:
    with pytest.raises(ArtifactError, match="must be a float model of the same runtime"):
        names(folder / "alone" / "mine.pt2", folder / name)


def test_a_keras_file_has_its_folded_weights(onnx_fp32: Any) -> None:
    inside = look(SAMPLE_MODEL, "random:0")
    assert [node.name for node in onnx_fp32.graph.node] == inside.layers
    expected = read_parameters(onnx_fp32)["conv2d_5"]
    for kind, values in inside.parameters("conv2d_5").items():
        assert np.array_equal(values, expected[kind].values)


def model_of(folder: Path, variant: Variant) -> Path:
    """Its file, in which channels are equalized."""
    path = variant.path(folder)
    factors = read_equalization(path).outputs
    assert min(x.min() for x in factors.values()) < 0.5  # other units show
    return path


def printed(inspection: dict[str, Any], variants: Collection[str]) -> str:
    """The tables of some variants, as people see them."""
    rows = {
        layer: {name: row for name, row in by_variant.items() if name in variants}
        for layer, by_variant in inspection["activations"]["input"].items()
    }
    shown = inspection | {"activations": {"input": rows}}
    console = Console(file=StringIO(), width=200)
    tables.print_layers(shown, console=console)
    return cast("StringIO", console.file).getvalue()


@pytest.mark.parametrize("variant", QUANTIZED_VARIANTS)
def test_look_gives_the_table_of_the_stage(
    folder: Path, inspected: Any, test_set: Any, variant: Variant
) -> None:
    text = f"test:{','.join(map(str, TEST_IMAGES))}"
    view = look_beside(model_of(folder, variant), text, reference=None, data=folder)
    assert list(view.models) == [variant.original, variant]
    assert printed(view.inspection, view.models) == printed(inspected[0], view.models)


@pytest.mark.parametrize("variant", QUANTIZED_VARIANTS)
def test_look_gives_the_metrics_of_the_stage(
    folder: Path, inspected: Any, calibration_images: Any, variant: Variant
) -> None:
    images = calibration_images[:CALIBRATION_IMAGES]
    found = look_beside(model_of(folder, variant), images, reference=None, data=folder).inspection
    activations = {
        layer: rows[variant]["statistics"]
        for layer, rows in found["activations"]["input"].items()
        if variant in rows
    }
    parameters = {
        f"{layer}.{kind}": rows[variant]["statistics"]
        for layer, kinds in found["parameters"].items()
        for kind, rows in kinds.items()
    }
    metrics = inspected[1]
    assert activations == metrics["activations"][variant]
    assert parameters == metrics["parameters"][variant]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--layers=pool*"], r"--layers: .* got 'pool\*'\. Layers: conv2d_permute, conv2d, "),
        (["--input=test:500"], "--input: test numbers must be from 0 to 499, got 500"),
        (["--input=image"], "--input: the input must be test:<index>"),
        (
            ["--data=nowhere"],
            "test_images.npy must be .* such as build/demo/data, or choose random:0",
        ),
        (["--input=x.png"], "^no such file: x.png$"),
        (["--input=x.png,y.JPG"], "^no such file: x.png$"),
    ],
)
def test_main_refuses_what_does_not_exist_and_saves_nothing(
    folder: Path, tmp_path: Path, arguments: list[str], message: str
) -> None:
    model = str(folder / "onnx_fp32.onnx")
    with pytest.raises(PipelineError, match=message):
        main([model, f"--data={folder}", f"--out={tmp_path}", *arguments])
    assert not pictures(tmp_path)


@pytest.mark.parametrize("name", ["model.tflite", "none.onnx", "none.pt2", "none.h5"])
def test_main_refuses_a_file_that_is_no_model(tmp_path: Path, name: str) -> None:
    with pytest.raises(ArtifactError, match=name):
        main([str(tmp_path / name), "--input=random:0"])
