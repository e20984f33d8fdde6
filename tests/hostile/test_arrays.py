"""Arrays between the stages; tests/core/test_files.py has damaged ones of every kind."""

import io
from pathlib import Path

import numpy as np
import pytest

from resnet8.core.files import write_array
from resnet8.core.params import load_params
from stages import calibrate, compare
from tests.hostile import payloads
from tests.hostile.harness import MARKER, Case, refuse, replaced, table, write_arrays, write_params

NO_ARRAY = r"\S+/train_images\.npy must be a NumPy array file, got .+ Run `dvc repro` .+ again\."


def array(values: object) -> bytes:
    out = io.BytesIO()
    np.save(out, np.asarray(values), allow_pickle=True)
    return out.getvalue()


def of_objects(marker: Path) -> bytes:
    return array(np.array([payloads.creating(marker)], dtype=object))


@table(
    Case("an array of objects", replaced("train_images.npy", of_objects), NO_ARRAY),
    Case("a pickle", replaced("train_images.npy", payloads.as_a_whole), NO_ARRAY),
    Case("a page", replaced("train_images.npy", b"<!DOCTYPE html>"), NO_ARRAY),
    Case(
        "float images",
        replaced("train_images.npy", array(np.zeros((4, 32, 32, 3)))),
        r"\S+/train_images\.npy must hold uint8 images of shape .+",
    ),
)
def test_calibrate_refuses(tmp_path: Path, capfd: pytest.CaptureFixture[str], case: Case) -> None:
    folder = tmp_path / "data"
    write_arrays(folder)
    case.write(folder)
    arguments = {
        "params": write_params(tmp_path),
        "images": folder / "train_images.npy",
        "labels": folder / "train_labels.npy",
        "out": tmp_path / "out",
    }
    refuse(calibrate.main, arguments, capfd, folder=folder, message=case.message)


@table(
    Case(
        "names nested without end",
        replaced("data/labels.json", b"[" * 100_000),
        r"\S+/labels\.json must be a JSON file, got .+",
    ),
    Case(
        "predictions that are NaN",
        replaced("predictions/onnx_int8.npy", array(np.full((4, 10), np.nan, np.float32))),
        r"\S+/onnx_int8\.npy must hold finite float32 probabilities of shape \(4, 10\), .+",
    ),
)
def test_compare_refuses(tmp_path: Path, capfd: pytest.CaptureFixture[str], case: Case) -> None:
    folder = tmp_path / "inputs"
    write_arrays(folder / "data")
    for name in load_params(write_params(tmp_path)).variants:
        write_array(folder / f"predictions/{name}.npy", np.full((4, 10), 0.1, np.float32))
    case.write(folder)
    arguments = {
        "params": tmp_path / "params.yaml",
        "predictions": folder / "predictions",
        "data": folder / "data",
        "out": tmp_path / "comparison.json",
        "correct": tmp_path / "correct.json",
        "summary": tmp_path / "summary",
    }
    refuse(compare.main, arguments, capfd, folder=folder, message=case.message)


def test_numpy_itself_runs_the_payload(tmp_path: Path) -> None:
    (tmp_path / "x.npy").write_bytes(of_objects(tmp_path / MARKER))
    with (tmp_path / "x.npy").open("rb") as file:
        np.load(file, allow_pickle=True)
    assert (tmp_path / MARKER).exists()
