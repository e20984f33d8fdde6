"""Arrays between the stages, as `calibrate`, `fit` and `compare` read them."""

import io
from pathlib import Path

import numpy as np
import onnx
import pytest

from resnet8.core.files import write_array
from resnet8.core.params import load_params
from stages import calibrate, compare, fit
from tests.hostile import payloads
from tests.hostile.harness import MARKER, Case, refuse, replaced, table, write_arrays, write_params
from tests.hostile.test_onnx import build

NONE = r"\S+/train_images\.npy must be a NumPy array file, got .+ Run `dvc repro` .+ again\."


def array(values: object) -> bytes:
    out = io.BytesIO()
    np.save(out, np.asarray(values), allow_pickle=True)
    return out.getvalue()


def announcing(shape: str) -> bytes:
    """A header alone."""
    text = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}"
    text = text.ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()


def of_objects(marker: Path) -> bytes:
    out = io.BytesIO()
    np.save(out, np.array([payloads.creating(marker)], dtype=object), allow_pickle=True)
    return out.getvalue()


def images(name: str, content: bytes) -> Case:
    return Case(name, replaced("train_images.npy", content), NONE)


@table(
    Case("an array of objects", replaced("train_images.npy", of_objects), NONE),
    Case("a pickle", replaced("train_images.npy", payloads.as_a_whole), NONE),
    images("empty", b""),
    images("a page", b"<!DOCTYPE html>"),
    images("cut", array(np.zeros((4, 32, 32, 3), np.uint8))[:5000]),
    images("an archive of arrays", b"PK\x03\x04" + bytes(100)),
    images("a shape of exabytes", announcing(f"({2**60},)")),
    images("a shape beyond 64 bits", announcing(f"({10**30},)")),
    images("a shape below zero", announcing("(-1, 32)")),
    images("a header that is code", announcing(f"__import__('pathlib').Path('{MARKER}').touch()")),
    images("a header of another language", b"\x93NUMPY\x01\x00\x10\x00" + b"(" * 16),
    images("a version of the future", b"\x93NUMPY\x09\x00\x10\x00" + bytes(16)),
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
    Case("an array of objects", replaced("train_images.npy", of_objects), NONE),
    images("cut", array(np.zeros((4, 32, 32, 3), np.uint8))[:5000]),
    images("a shape of exabytes", announcing(f"({2**60},)")),
)
def test_fit_refuses(tmp_path: Path, capfd: pytest.CaptureFixture[str], case: Case) -> None:
    folder = tmp_path / "data"
    write_arrays(folder)
    onnx.save(build(), tmp_path / "model.onnx")
    case.write(folder)
    arguments = {
        "params": write_params(tmp_path),
        "model": tmp_path / "model.onnx",
        "images": folder / "train_images.npy",
        "out": tmp_path / "out",
    }
    refuse(fit.main, arguments, capfd, folder=folder, message=case.message)


def of_images(name: str, values: object) -> Case:
    return Case(name, replaced("train_images.npy", array(values)), r"\S+/train_images\.npy must .+")


@table(
    of_images("float images", np.zeros((4, 32, 32, 3))),
    of_images("planes first", np.zeros((4, 3, 32, 32), np.uint8)),
    of_images("no images", np.zeros((0, 32, 32, 3), np.uint8)),
    of_images("a number", np.uint8(1)),
)
def test_calibrate_refuses_other_arrays(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], case: Case
) -> None:
    test_calibrate_refuses(tmp_path, capfd, case)


def of_labels(name: str, content: bytes) -> Case:
    return Case(name, replaced("data/labels.json", content), r"\S+/labels\.json must .+ again\.")


def predicting(name: str, values: object) -> Case:
    message = r"\S+/onnx_int8\.npy must hold finite float32 probabilities of shape \(4, 10\), .+"
    return Case(name, replaced("predictions/onnx_int8.npy", array(values)), message)


@table(
    of_labels("names that are a list", b"[]"),
    of_labels("no names", b"{}"),
    of_labels("a name that is a number", b'{"label_names": ["a", 1]}'),
    of_labels("a name that is a list", b'{"label_names": [["a"], ["b"]]}'),
    of_labels("names twice", b'{"label_names": ["a", "a"]}'),
    of_labels("names cut off", b'{"label_names": ["a"'),
    of_labels("nested without end", b"[" * 100_000),
    predicting("another number of images", np.zeros((3, 10), np.float32)),
    predicting("another number of classes", np.zeros((4, 9), np.float32)),
    predicting("predictions that are NaN", np.full((4, 10), np.nan, np.float32)),
    predicting("predictions in double precision", np.zeros((4, 10))),
)
def test_compare_refuses(tmp_path: Path, capfd: pytest.CaptureFixture[str], case: Case) -> None:
    folder = tmp_path / "inputs"
    write_arrays(folder / "data")
    chosen = load_params(write_params(tmp_path))
    for name in chosen.variants:
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
