"""The files behind a result."""

from pathlib import Path

import pytest

from resnet8.core.errors import ArtifactError
from resnet8.report.provenance import fingerprint, model_paths


def test_fingerprint_is_the_sha256_that_fips_180_gives(tmp_path: Path) -> None:
    path = tmp_path / "abc"
    path.write_bytes(b"abc")
    # Source: FIPS 180-4, example of SHA-256 for "abc".
    known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert fingerprint(path) == (path.as_posix(), 3, known)


def test_fingerprint_refuses_a_file_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"model\.onnx must exist\. Run `dvc repro`"):
        fingerprint(tmp_path / "model.onnx")


def test_model_paths_finds_each_runtimes_files(tmp_path: Path) -> None:
    (tmp_path / "model.keras").touch()
    found = model_paths(
        ("keras_fp32", "onnx_uint8_int8", "torch_int8"), Path("models"), raw=tmp_path
    )
    assert found == {
        "keras_fp32": tmp_path / "model.keras",
        "onnx_uint8_int8": Path("models/onnx_uint8_int8.onnx"),
        "torch_int8": Path("models/torch_int8.pt2"),
    }


def test_model_paths_refuses_a_folder_without_a_model(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"must hold one model, got"):
        model_paths(("keras_fp32",), Path("models"), raw=tmp_path)
