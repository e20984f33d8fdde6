"""Stages in processes of their own refuse as they do within the tests' process."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.hostile import payloads, test_onnx, test_torch
from tests.hostile.harness import (
    MARKER,
    ROOT,
    assert_refusal,
    options,
    replaced,
    tree,
    write_arrays,
    write_batches,
    write_params,
)
from tests.pipeline.commands import environment


def prepare(folder: Path) -> dict[str, object]:
    write_batches(folder / "raw")
    replaced("test_batch", payloads.beside_a_valid_batch)(folder / "raw")
    return {"params": write_params(folder), "raw": folder / "raw", "out": folder / "out"}


def convert_onnx(folder: Path) -> dict[str, object]:
    (folder / "raw").mkdir()
    (folder / "raw" / "model.h5").write_bytes(b"<!DOCTYPE html>")
    write_arrays(folder / "data")
    return {
        "params": write_params(folder),
        "raw": folder / "raw",
        "data": folder / "data",
        "out": folder / "out.onnx",
        "verification": folder / "out.json",
    }


def evaluate(folder: Path, model: str) -> dict[str, object]:
    write_arrays(folder / "data")
    return {
        "params": write_params(folder),
        "model": folder / "models" / model,
        "data": folder / "data",
        "predictions": folder / "out.npy",
        "metrics": folder / "out.json",
    }


def evaluate_onnx(folder: Path) -> dict[str, object]:
    # What fails while it runs: ONNX Runtime would say so on stderr, too.
    model = test_onnx.build()
    test_onnx.constant_shape(7, -1)(model)
    replaced("model.onnx", model.SerializeToString())(folder / "models")
    return {"variant": "onnx_int8", **evaluate(folder, "model.onnx")}


def evaluate_torch(folder: Path) -> dict[str, object]:
    replaced("model.pt2", test_torch.pickled)(folder / "models")
    return {"variant": "torch_int8", **evaluate(folder, "model.pt2")}


@pytest.mark.parametrize(
    ("stage", "prepared", "message"),
    [
        ("prepare", prepare, r"test_batch must be a batch .+, got a call of posix\.system\..+"),
        (
            "convert_onnx",
            convert_onnx,
            r"\S+ must be a Keras model .+ Choose another fetch\.model\.",
        ),
        ("evaluate", evaluate_onnx, r"\S+ must be an ONNX model, got: .+ to make it again\."),
        ("evaluate", evaluate_torch, r"\S+ must be an exported PyTorch program, got: an entry .+"),
    ],
)
def test_a_process_refuses(
    tmp_path: Path, stage: str, prepared: Callable[[Path], dict[str, object]], message: str
) -> None:
    arguments = options(**prepared(tmp_path))
    before = tree(tmp_path)
    done = subprocess.run(
        [sys.executable, "-m", f"stages.{stage}", *arguments],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert_refusal(done.returncode, done.stderr, message)
    assert done.stdout == ""
    assert tree(tmp_path) == before
    assert not (tmp_path / MARKER).exists()
