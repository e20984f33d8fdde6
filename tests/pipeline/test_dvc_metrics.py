"""`dvc metrics diff` and `dvc exp show`, which people read in a terminal."""

import re
import shlex
import shutil
from pathlib import Path

import pytest

from resnet8.compare.tables import summarize
from resnet8.core.files import write_json
from tests.parameters import TEST_PARAMS
from tests.pipeline.commands import GIT, ROOT, run, set_params

FLOAT = ("keras_fp32", "onnx_fp32", "torch_fp32")
QUANTIZED = ("onnx_int8", "onnx_uint8", "torch_int8")
SHOWN = re.compile("^    (dvc exp show .+)$", re.MULTILINE)


def write_metrics(folder: Path, lost: int) -> None:
    """Writes what `compare` and `evaluate` do when quantizing loses some of 10,000 images."""
    for name in (*FLOAT, *QUANTIZED):
        n = lost if name in QUANTIZED else 0
        row = {
            "top1_accuracy": 0.8719 - n / 10_000,
            "accuracy_delta_pp": -n / 100,
            "agreement": 1 - 2 * n / 10_000,
            "kl_divergence": n / 10_000,
        }
        write_json(folder / f"metrics/summary/{name}.json", summarize(name, row))
        scores = {"top1_accuracy": row["top1_accuracy"], "per_class_accuracy": {"cat": 1 - n / 100}}
        write_json(folder / f"metrics/{name}.json", scores)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with committed metrics, and others after a change of `calibrate.size`."""
    folder = tmp_path_factory.mktemp("project")
    run(folder, *GIT, "init", "--quiet")
    (folder / ".dvc").mkdir()
    shutil.copy(ROOT / ".dvc" / "config", folder / ".dvc")
    shutil.copy(ROOT / "dvc.yaml", folder)
    shutil.copy(TEST_PARAMS, folder)
    write_metrics(folder, 11)
    shutil.copy(folder / "metrics/summary/keras_fp32.json", folder / "metrics/candidate.json")
    run(folder, *GIT, "add", "--all")
    run(folder, *GIT, "commit", "--quiet", "--message", "metrics")
    set_params(folder, calibrate={"size": 7})
    write_metrics(folder, 23)
    return folder


def shown(folder: Path, *command: str) -> list[list[str]]:
    """The cells of a table that DVC prints, which must fit a terminal."""
    done = run(folder, *command)
    assert done.returncode == 0, done.stdout
    lines = done.stdout.splitlines()
    assert len(lines) < 30
    assert max(map(len, lines)) <= 120
    return [line.split() for line in lines]


def test_diff_has_the_headline_of_changed_variants_first_and_each_fact_once(folder: Path) -> None:
    header, *rows = shown(folder, "dvc", "metrics", "diff")
    assert header == ["Path", "Metric", "HEAD", "workspace", "Change"]
    assert {row[0] for row in rows} == {f"metrics/summary/{name}.json" for name in QUANTIZED}
    figures = ["accuracy_delta_pp", "agreement", "kl_divergence", "top1_accuracy"]
    assert [row[1] for row in rows] == 3 * figures
    assert [row[2:] for row in rows[::4]] == 3 * [["-0.11", "-0.23", "-0.12"]]


def test_accuracies_per_class_are_compared_on_demand(folder: Path) -> None:
    path = "metrics/onnx_int8.json"
    _header, *rows = shown(folder, "dvc", "metrics", "diff", "--targets", path)
    assert rows == [
        [path, "per_class_accuracy.cat", "0.89", "0.77", "-0.12"],
        [path, "top1_accuracy", "0.8708", "0.8696", "-0.0012"],
    ]


@pytest.mark.parametrize("name", ["README.md", "docs/sweeps.md"])
def test_experiments_are_shown_as_documented(folder: Path, name: str) -> None:
    (command,) = SHOWN.findall((ROOT / name).read_text())
    _line, header, _line, *rows, _line = shown(folder, *shlex.split(command))
    assert header == [
        "Experiment",
        "metrics/summary/onnx_int8.json:top1_accuracy",
        "calibrate.size",
    ]
    assert [row[1:] for row in rows] == [["0.8696", "7"], ["0.8708", "1000"]]
