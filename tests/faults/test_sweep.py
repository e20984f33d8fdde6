"""A sweep in a finished project, and its runs after a change of code or model."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.faults.projects import copy
from tests.pipeline.commands import read_metrics, repro, run, set_params, stages_run

pytestmark = pytest.mark.faults


@pytest.fixture(scope="module")
def swept(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project in which two runs of a sweep are finished and summed up."""
    folder = copy(finished, tmp_path_factory.mktemp("sweep") / "swept")
    size = yaml.safe_load((folder / "params.yaml").read_text())["calibrate"]["size"]
    variants = ["onnx_int8", "torch_int8"]
    set_params(folder, sweep={"grid": [{"calibrate.size": [size], "variant": variants}]})
    done = repro(folder, "sweep/dvc.yaml")
    assert done.returncode == 0, done.stdout
    assert stages_run(done.stdout) == {"validate", "sweep/dvc.yaml:sweep"}
    assert "2 runs: 0 finished before, 2 to make" in done.stdout
    after = repro(folder)
    assert stages_run(after.stdout) == {"summarize_sweep", "decide", "report"}
    return folder


def test_sweep_gives_the_rows_of_the_pipeline_and_then_has_nothing_to_do(
    swept: Path, tmp_path: Path
) -> None:
    folder = copy(swept, tmp_path / "swept")
    pipeline = read_metrics(folder, "comparison")["variants"]
    rows = read_metrics(folder, "sweep")["settings"]
    defaults = {row["variant"]: row for row in rows if row["is_default"]}
    suffixes = {"onnx_int8": ".onnx", "torch_int8": ".pt2"}
    assert set(defaults) == set(suffixes)
    for name, suffix in suffixes.items():
        for figure in ("top1_accuracy", "agreement", "kl_divergence"):
            assert defaults[name][figure]["mean"] == pytest.approx(pipeline[name][figure], abs=1e-8)
        model = folder / f"artifacts/models/{name}{suffix}"
        assert defaults[name]["file_bytes"] == model.stat().st_size

    record = (folder / "sweep/runs.csv").read_bytes()
    for target in ([], ["sweep/dvc.yaml"]):
        again = repro(folder, *target)
        assert (again.returncode, stages_run(again.stdout)) == (0, set()), again.stdout
    assert (folder / "sweep/runs.csv").read_bytes() == record
    assert "Data and pipelines are up to date." in run(folder, "dvc", "status").stdout


@pytest.mark.parametrize(
    ("path", "addition", "counts", "note"),
    [
        ("resnet8/quantize/fit.py", b"# A comment.\n", (2, 0, 0), ""),
        (
            "resnet8/quantize/fit.py",
            b"CHANGED = True\n",
            (2, 2, 0),
            "Measured with an earlier version: 2 of 2 finished runs; `make sweep` renews them.",
        ),
        (
            "data/raw/model.h5",
            b"another",
            (0, 0, 2),
            "No run of the grid is finished for this model and these data; `make sweep` makes all "
            "2. Runs of another model in the record, not shown: 2.",
        ),
    ],
    ids=["comment", "code", "model"],
)
def test_finished_runs_are_counted_by_code_and_model_after_a_change(
    swept: Path, tmp_path: Path, *, path: str, addition: bytes, counts: Any, note: str
) -> None:
    folder = copy(swept, tmp_path / "swept")
    content = (folder / path).read_bytes()
    (folder / path).unlink()  # DVC's cache may be behind a link
    (folder / path).write_bytes(content + addition)
    command = yaml.safe_load((folder / "dvc.yaml").read_text())["stages"]["summarize_sweep"]["cmd"]
    done = run(folder, *command.split())
    assert done.returncode == 0, done.stdout
    metrics = read_metrics(folder, "sweep")
    assert (metrics["n_finished"], metrics["n_earlier"], metrics["n_other_model"]) == counts
    assert metrics["note"] == note
