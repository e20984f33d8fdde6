"""The whole pipeline from nothing on CIFAR-10 and MLPerf Tiny's model, out of the mirror."""

import json
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from samples.demo import make_project
from tests.pipeline.commands import ROOT, mirror, needs_mirror, repro, run, stages_run

pytestmark = [
    pytest.mark.mirror,
    needs_mirror,
]
FLOATS = ("keras_fp32", "onnx_fp32", "torch_fp32")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project without Git in which the pipeline has run."""
    folder = tmp_path_factory.mktemp("cifar10") / "project"
    make_project(folder, ROOT / "params.yaml")
    done = repro(folder, RESNET8_MIRROR=mirror())
    assert done.returncode == 0, done.stdout
    assert "evaluate@keras_fp32" in stages_run(done.stdout)
    return folder


def variants(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "metrics/comparison.json").read_text())["variants"]


@pytest.mark.parametrize("name", FLOATS)
def test_float_accuracy_is_that_of_the_reference(folder: Path, name: str) -> None:
    assert variants(folder)[name]["top1_accuracy"] == 0.8719


@pytest.mark.parametrize(("one", "other"), list(combinations(FLOATS, 2)))
def test_float_variants_agree_on_every_test_image(folder: Path, one: str, other: str) -> None:
    a, b = (np.load(folder / f"artifacts/predictions/{name}.npy") for name in (one, other))
    assert a.shape == b.shape == (10_000, 10)
    assert np.array_equal(a.argmax(axis=1), b.argmax(axis=1))
    assert np.abs(a - b).max() <= 1e-5


# MLPerf Tiny's own int8 TFLite model has 0.8697; torchao's defaults give about 0.8669.
@pytest.mark.parametrize(
    ("name", "floor"), [("onnx_int8", 0.8697), ("onnx_uint8", 0.8697), ("torch_int8", 0.8660)]
)
def test_quantized_accuracy_is_at_least(folder: Path, name: str, floor: float) -> None:
    assert variants(folder)[name]["top1_accuracy"] >= floor


def test_committed_metrics_are_close_to_what_the_code_produces(folder: Path) -> None:
    # The same bytes on the machine that made them; another CPU rounds some images the other
    # way: 0.15 points is the sampling noise of two quantized models on 10,000 images.
    committed = json.loads((ROOT / "metrics/comparison.json").read_text())["variants"]
    produced = variants(folder)
    assert produced.keys() == committed.keys()
    for name, row in committed.items():
        assert produced[name]["top1_accuracy"] == pytest.approx(row["top1_accuracy"], abs=0.0015)


def test_no_file_of_the_mirror_is_in_git() -> None:
    tracked = run(ROOT, "git", "ls-files").stdout.split()
    assert tracked
    assert not [name for name in tracked if "batch_" in name or name.endswith(".onnx")]
