"""Stages in processes of their own refuse as they do within the tests' process."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.hostile import test_onnx
from tests.hostile.harness import (
    ROOT,
    assert_refusal,
    evaluate_arguments,
    options,
    replaced,
    tree,
    write_arrays,
    write_params,
)
from tests.pipeline.commands import environment


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


def evaluate(folder: Path) -> dict[str, object]:
    # What fails while it runs: ONNX Runtime would say so on stderr, too.
    model = test_onnx.build()
    test_onnx.misshape(model)
    path = folder / "models" / "model.onnx"
    replaced(path.name, model.SerializeToString())(path.parent)
    return evaluate_arguments(folder, "onnx", path)


@pytest.mark.parametrize(
    ("stage", "prepared", "message"),
    [
        (
            "convert_onnx",
            convert_onnx,
            r"\S+ must be a Keras model .+ Choose another fetch\.model\.",
        ),
        ("evaluate", evaluate, r"\S+ must be an ONNX model, got: .+ to make it again\."),
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
