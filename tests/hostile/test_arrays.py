"""Arrays between the stages, as `calibrate` and `compare` read them."""

import io
from pathlib import Path

import numpy as np
import pytest

from stages import calibrate
from tests.hostile import payloads
from tests.hostile.harness import MARKER, Case, refuse, replaced, table, write_arrays, write_params

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


def test_numpy_itself_runs_the_payload(tmp_path: Path) -> None:
    (tmp_path / "x.npy").write_bytes(of_objects(tmp_path / MARKER))
    with (tmp_path / "x.npy").open("rb") as file:
        np.load(file, allow_pickle=True)
    assert (tmp_path / MARKER).exists()
