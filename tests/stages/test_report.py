"""The stage that writes the report, on files of made-up results."""

from pathlib import Path

import pytest
import yaml

from resnet8.core.errors import ArtifactError
from resnet8.core.files import write_array, write_arrays, write_json
from resnet8.report.thumbnails import png_uri
from stages import report
from tests.parameters import TEST_PARAMS
from tests.pipeline.commands import ROOT
from tests.report_inputs import FLOAT, LABELS, make_inputs

QUANTIZED = ("onnx_int8", "onnx_uint8", "torch_int8")  # as in the tests' parameters


@pytest.fixture(autouse=True)
def no_bundle(monkeypatch: pytest.MonkeyPatch) -> None:
    """Packing Vega takes two seconds and is tested elsewhere."""
    monkeypatch.setattr("resnet8.report.page.vl_convert.javascript_bundle", lambda snippet: snippet)


@pytest.fixture
def command(tmp_path: Path) -> list[str]:
    """Arguments for files of results in a folder."""
    evidence = make_inputs(quantized=QUANTIZED)
    content = yaml.safe_load(TEST_PARAMS.read_text())
    content["quantize_onnx"]["types"] = ["int8", "uint8"]
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(content))
    for name in (
        "comparison", "decision", "network", "parity", "sensitivity", "lint", "sweep",
    ):  # fmt: skip
        file = {"parity": "layer_parity", "lint": "quantization_lint"}.get(name, name)
        write_json(tmp_path / "metrics" / f"{file}.json", getattr(evidence, name))
    write_json(tmp_path / "inspection" / "layers.json", evidence.layers)
    write_json(tmp_path / "data" / "labels.json", {"label_names": LABELS})
    write_array(tmp_path / "data" / "test_images.npy", evidence.test_set.images)
    write_array(tmp_path / "data" / "test_labels.npy", evidence.test_set.labels)
    write_array(tmp_path / "calibration" / "images.npy", evidence.test_set.images[:50])
    for folder in ("raw", "models"):
        (tmp_path / folder).mkdir()
    (tmp_path / "raw" / "model.h5").write_bytes(b"keras")
    for name in (*FLOAT, *QUANTIZED):
        write_array(tmp_path / "predictions" / f"{name}.npy", evidence.predictions[name])
        write_arrays(tmp_path / "inspection" / f"{name}.npz", evidence.captures[name])
        suffix = "pt2" if name.startswith("torch") else "onnx"
        (tmp_path / "models" / f"{name}.{suffix}").write_bytes(name.encode())
    folders = ("metrics", "predictions", "inspection", "models", "raw", "data", "calibration")
    paths = {name: tmp_path / name for name in folders}
    write_json(tmp_path / "verification.json", evidence.verification)
    paths["verification"] = tmp_path / "verification.json"
    paths |= {"params": tmp_path / "params.yaml", "requirements": ROOT / "requirements.txt"}
    paths["out"] = tmp_path / "report" / "index.html"
    return [part for name, path in paths.items() for part in (f"--{name}", str(path))]


def test_report_writes_one_page_and_says_how_large(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report.main(command)
    (page,) = (tmp_path / "report").iterdir()
    assert page.name == "index.html"
    assert capsys.readouterr().out == f"{page}: {page.stat().st_size / 1e6:.1f} MB\n"


def test_report_shows_what_is_in_the_files(command: list[str], tmp_path: Path) -> None:
    report.main(command)
    page = (tmp_path / "report" / "index.html").read_text()
    pins = (ROOT / "requirements.txt").read_text().splitlines()[1:]
    batch_size = yaml.safe_load(TEST_PARAMS.read_text())["evaluate"]["batch_size"]
    assert f"<li>{pins[0].replace('==', ' ')}</li>" in page
    assert f"<dd>{batch_size}</dd>" in page
    # What coreutils' sha256sum says of the bytes `keras`.
    assert "f6cc6ef8774556490a0c3c8ae01b67cf73b51e29fe00c9e2702bb0de1da538ab" in page


def test_report_is_the_same_each_time(command: list[str], tmp_path: Path) -> None:
    out = tmp_path / "report" / "index.html"
    report.main(command)
    first = out.read_bytes()
    report.main(command)
    assert out.read_bytes() == first


def test_report_shows_the_image_that_parameters_choose(command: list[str], tmp_path: Path) -> None:
    params = yaml.safe_load((tmp_path / "params.yaml").read_text())
    params["inspect"]["input"] = "test:7"
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
    report.main(command)
    chosen = png_uri(make_inputs(quantized=QUANTIZED).test_set.images[7])
    assert f'id="chosen" src="{chosen}"' in (tmp_path / "report" / "index.html").read_text()


def test_report_names_a_file_that_is_missing(command: list[str], tmp_path: Path) -> None:
    (tmp_path / "inspection" / "onnx_int8.npz").unlink()
    with pytest.raises(ArtifactError, match=r"onnx_int8\.npz must be a file of NumPy arrays"):
        report.main(command)
    assert not (tmp_path / "report").exists()
