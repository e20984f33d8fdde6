"""Stages in processes of their own refuse as they do within the tests' process."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.hostile import test_keras, test_onnx
from tests.hostile.harness import ROOT, assert_refusal, evaluate_arguments, options, replaced, tree
from tests.pipeline.commands import environment


def convert_onnx(folder: Path) -> dict[str, object]:
    replaced("model.h5", b"<!DOCTYPE html>")(folder / "raw")
    return test_keras.arguments(folder)


def evaluate(folder: Path) -> dict[str, object]:
    # Fails at run time: ONNX Runtime would log it on stderr, too.
    model = test_onnx.build()
    test_onnx.misshape(model)
    replaced("model.onnx", model.SerializeToString())(folder / "models")
    return evaluate_arguments(folder, "onnx", folder / "models" / "model.onnx")


@pytest.mark.parametrize(
    ("prepared", "message"),
    [
        (convert_onnx, r"\S+ must be a Keras model .+ Choose another fetch\.model\."),
        (evaluate, r"\S+ must be an ONNX model, got: .+ to make it again\."),
    ],
)
def test_a_process_refuses(
    tmp_path: Path, prepared: Callable[[Path], dict[str, object]], message: str
) -> None:
    command = [sys.executable, "-m", f"stages.{prepared.__name__}", *options(**prepared(tmp_path))]
    before = tree(tmp_path)
    done = subprocess.run(
        command, cwd=ROOT, env=environment(), capture_output=True, text=True, check=False
    )
    assert_refusal(done.returncode, done.stderr, message)
    assert done.stdout == ""
    assert tree(tmp_path) == before
