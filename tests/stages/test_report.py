"""The stages that draw results, on files of made-up ones: plots and report."""

import csv
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from resnet8.core.files import write_array, write_arrays, write_bytes, write_json
from resnet8.core.variants import Variant
from resnet8.report.thumbnails import png_uri
from resnet8.sweep.summary import CHOICE_COLUMNS, DRAW_COLUMNS
from stages import plots, report
from tests.parameters import TEST_PARAMS
from tests.pipeline.commands import ROOT
from tests.report_inputs import FLOAT, LABELS, make_inputs

QUANTIZED = ("onnx_int8",)
LAYERS = ("conv.0", "relu", "dense")
PIPELINE = yaml.safe_load((ROOT / "dvc.yaml").read_text())
ELSEWHERE = {
    "layers": "artifacts/inspection/layers.json",
    "verification": "artifacts/verification/quantized.json",
}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Everything that the stages read, in the working folder."""
    inputs = make_inputs(quantized=QUANTIZED, layers=LAYERS)
    write_params(tmp_path)
    shutil.copy(ROOT / "requirements.txt", tmp_path)
    for name, content in inputs.results.items():
        write_json(tmp_path / ELSEWHERE.get(name, f"metrics/{name}.json"), content)
    write_json(tmp_path / "data/cifar10/labels.json", {"label_names": LABELS})
    write_array(tmp_path / "data/cifar10/test_images.npy", inputs.test_set.images)
    write_array(tmp_path / "data/cifar10/test_labels.npy", inputs.test_set.labels)
    write_array(tmp_path / "data/calibration/images.npy", inputs.test_set.images[:50])
    write_bytes(tmp_path / "data/raw/model.h5", b"keras")
    artifacts = tmp_path / "artifacts"
    for name in (*FLOAT, *QUANTIZED):
        write_array(artifacts / f"predictions/{name}.npy", inputs.predictions[name])
        write_arrays(artifacts / f"inspection/{name}.npz", inputs.captures[name])
        path = Variant(name).path(artifacts / "models", raw=tmp_path / "data/raw")
        write_bytes(path, b"keras" if name == "keras_fp32" else name.encode())
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write_params(folder: Path, **inspect: str) -> None:
    params = yaml.safe_load(TEST_PARAMS.read_text())
    params["quantize_onnx"]["types"], params["quantize_torch"]["types"] = ["int8"], []
    params["inspect"] |= inspect
    (folder / "params.yaml").write_text(yaml.safe_dump(params))


def run(stage: Any) -> Path:
    """Runs a stage as dvc.yaml does, and returns what it wrote."""
    _python, _m, module, *arguments = PIPELINE["stages"][stage.__name__[7:]]["cmd"].split()
    assert module == stage.__name__
    stage.main(arguments)
    return Path(arguments[arguments.index("--out") + 1])


def test_plots_writes_pictures_and_a_table_for_each_plot_of_dvc_yaml(folder: Path) -> None:
    tables = {}
    pictures = [*run(plots).rglob("*.png")]
    assert len(pictures) == 8
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in pictures)
    for path in (folder / "metrics/plots").iterdir():
        with path.open(encoding="utf-8", newline="") as file:
            tables[path.stem] = list(csv.DictReader(file))
    columns: dict[str, set[str]] = {name: set(rows[0]) for name, rows in tables.items()}
    columns |= {"sweep_size": set(DRAW_COLUMNS), "sweep_front": set(CHOICE_COLUMNS)}
    drawn = set()
    for definition in PIPELINE["plots"]:
        for plot in definition.values():
            ((path, y),) = plot["y"].items()
            assert {plot["x"], y} <= columns[Path(path).stem], path
            drawn.add(Path(path).stem)
    assert drawn == set(columns)
    variants = [*FLOAT, *QUANTIZED]
    assert list(dict.fromkeys(row["variant"] for row in tables["confusion"])) == variants
    assert {row["variant"] for row in tables["sqnr"]} == set(QUANTIZED)


def test_report_writes_one_page_with_parameters_pins_and_hashes(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_params(folder, input="test:7")
    out = run(report)
    page = out.read_text()
    assert [path.name for path in out.parent.iterdir()] == ["index.html"]
    assert capsys.readouterr().out == f"{out}: {out.stat().st_size / 1e6:.1f} MB\n"
    pin = (ROOT / "requirements.txt").read_text().splitlines()[1]
    batch_size = yaml.safe_load(TEST_PARAMS.read_text())["evaluate"]["batch_size"]
    chosen = png_uri(make_inputs(quantized=QUANTIZED, layers=LAYERS).test_set.images[7])
    for words in (
        f"<li>{pin.replace('==', ' ')}</li>",
        f"<dd>{batch_size}</dd>",
        f'id="chosen" src="{chosen}"',
        # What coreutils' sha256sum gives for the bytes `keras`.
        "f6cc6ef8774556490a0c3c8ae01b67cf73b51e29fe00c9e2702bb0de1da538ab",
    ):
        assert words in page
    assert run(report).read_text() == page
