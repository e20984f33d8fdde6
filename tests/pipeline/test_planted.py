"""Regressions planted into the pipeline on CIFAR-10, and the gate's verdicts on them."""

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.gate.project import commit, git
from tests.pipeline.commands import mirror, needs_mirror, repro, run, set_params

pytestmark = [pytest.mark.faults, pytest.mark.mirror, needs_mirror]
# Faults in code, as an edit could bring them, behind the check of what was written
# (tests/quantize/test_checks.py): the stage goes on with other numbers than it was given.
PLANT = """
import numpy as np

_checked_quantize = quantize


def quantize(*args, **options):
    made = _checked_quantize(*args, **options)
    constants = {x.name: x for x in made.graph.initializer}
    numbers = {name: onnx.numpy_helper.to_array(x).copy() for name, x in constants.items()}
    for name in damage(numbers):
        constants[name].CopyFrom(onnx.numpy_helper.from_array(numbers[name], name))
    return made


"""
PERTURBED_LAYER = """
def damage(numbers):
    numbers["conv2d_3.weight_scale"] *= np.float32(1.5)
    return ["conv2d_3.weight_scale"]
"""
BROKEN_CLASS = """
def damage(numbers):
    if numbers["dense.weight_quantized"].dtype != np.uint8:
        return []
    numbers["dense.bias_quantized"][3] -= 2**20
    return ["dense.bias_quantized"]
"""


@pytest.fixture(scope="module")
def committed(tmp_path_factory: pytest.TempPathFactory, cifar10: Path) -> Path:
    """A repository with committed results on CIFAR-10."""
    folder = tmp_path_factory.mktemp("planted") / "project"
    shutil.copytree(cifar10, folder, symlinks=True)
    (folder / ".gitignore").write_text("/data\n/artifacts\n/.dvc/cache\n/.dvc/tmp\n__pycache__\n")
    git(folder, "init", "--quiet")
    commit(folder)
    return folder


@pytest.fixture
def project(committed: Path) -> Iterator[Path]:
    yield committed
    git(committed, "restore", ".")


def plant(project: Path, damage: str) -> None:
    """Makes `quantize_onnx` damage the models that it writes."""
    path = project / "stages" / "quantize_onnx.py"
    script = path.read_text()
    assert script.count("\n\ndef main(") == 1
    planted = f"import onnx\n{PLANT}{damage}"
    path.write_text(script.replace("\n\ndef main(", f"\n{planted}\n\ndef main("))


def judge(project: Path) -> tuple[int, dict[str, Any]]:
    """Runs the pipeline again, and the gate."""
    done = repro(project, "compare", RESNET8_MIRROR=mirror())
    assert done.returncode == 0, done.stdout
    return judge_as_it_is(project)


def judge_as_it_is(project: Path) -> tuple[int, dict[str, Any]]:
    """Runs the gate."""
    ended = run(project, sys.executable, "-m", "resnet8.gate", "--base=HEAD", "--json=gate.json")
    assert "Traceback" not in ended.stdout
    return ended.returncode, json.loads((project / "gate.json").read_text())


def verdicts(answer: dict[str, Any]) -> dict[str, str]:
    return {name: change["verdict"] for name, change in answer["changes"].items()}


def test_what_is_committed_passes_unchanged(project: Path) -> None:
    code, answer = judge(project)
    assert (code, answer["failures"]) == (0, [])
    assert set(verdicts(answer).values()) == {"unchanged"}


def test_another_seed_is_noise(project: Path) -> None:
    set_params(project, calibrate={"seed": 1})
    code, answer = judge(project)
    assert (code, answer["failures"]) == (0, [])
    quantized = {x for name, x in verdicts(answer).items() if not name.endswith("fp32")}
    assert quantized == {"noise"}


def test_a_perturbed_layer_fails_by_the_names_of_the_variants_and_classes(project: Path) -> None:
    plant(project, PERTURBED_LAYER)
    code, answer = judge(project)
    assert code == 1
    by_variant = verdicts(answer)
    assert (by_variant["onnx_int8"], by_variant["onnx_uint8"]) == ("worse", "worse")
    assert (by_variant["torch_int8"], by_variant["keras_fp32"]) == ("unchanged", "unchanged")
    assert any("onnx_int8: worse than the base" in x for x in answer["failures"])
    assert all("Classes that lost: " in x for x in answer["failures"] if "worse" in x)


def test_a_broken_class_fails_by_its_name(project: Path) -> None:
    plant(project, BROKEN_CLASS)
    code, answer = judge(project)
    assert code == 1
    assert verdicts(answer)["onnx_uint8"] == "worse"
    assert verdicts(answer)["onnx_int8"] == "unchanged"
    assert "cat" in answer["changes"]["onnx_uint8"]["classes_worse"]
    assert any(x.startswith("onnx_uint8: below keras_fp32, cat") for x in answer["failures"])


def test_calibration_on_eight_images_fails_by_its_name(project: Path) -> None:
    set_params(project, calibrate={"size": 8})
    code, answer = judge(project)
    assert code == 1
    assert "calibration: training images: 8, must be at least 100" in answer["failures"][0]
