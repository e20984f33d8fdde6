"""Captures read back."""

from pathlib import Path

import numpy as np
import pytest

from resnet8.captures import read_captures
from resnet8.errors import ArtifactError
from resnet8.files import write_arrays


def test_read_captures_gives_back_what_was_written(tmp_path: Path) -> None:
    path = tmp_path / "onnx_int8.npz"
    values = np.arange(6, dtype=np.float32).reshape(2, 3)
    write_arrays(path, {"conv2d_3.0": values, "dense": values + 1})
    found = read_captures(path)
    assert list(found) == ["conv2d_3.0", "dense"]
    np.testing.assert_array_equal(found["dense"], values + 1)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut short", b"no archive"])
def test_read_captures_refuses_a_damaged_file(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "onnx_int8.npz"
    path.write_bytes(content)
    with pytest.raises(ArtifactError, match=r"onnx_int8\.npz must hold NumPy arrays"):
        read_captures(path)


def test_read_captures_refuses_a_file_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"must hold NumPy arrays.*Run `dvc repro`"):
        read_captures(tmp_path / "onnx_int8.npz")
