"""Pickles in batch files, label names and arrays; tests/core has damaged ones of every kind."""

import io
import pickle
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest

from resnet8.core.files import write_array
from resnet8.core.params import load_params
from samples.dataset import SAMPLE_MODEL
from stages import calibrate, compare, fetch, prepare
from tests.hostile import payloads
from tests.hostile.harness import (
    Case,
    params,
    refuse,
    replaced,
    table,
    tree,
    write_arrays,
    write_batches,
    write_params,
)

MEMBERS = ("batches.meta", "test_batch", "data_batch_1")
NO_ARRAY = r"\S+/train_images\.npy must be a NumPy array file, got .+ Run `dvc repro` .+ again\."
NAN = io.BytesIO()
np.save(NAN, np.full((4, 10), np.nan, np.float32))


def nested_tuples(depth: int) -> bytes:
    """Pickle of a key that is a tuple of twice the tuple before: its hash takes 2^depth steps."""
    levels = (b"h%ch%c\x86q%c0" % (n, n, n + 1) for n in range(depth))
    return b"\x80\x02})q\x000" + b"".join(levels) + b"h%cK\x01s." % depth


def no_batch(found: str, name: str = "test_batch") -> str:
    return rf"{name} must be a batch of CIFAR-10's python version, got {found}\. Fetch it again\."


NO_DATA = r"test_batch: data must .+ NoneType\."
NO_DICTIONARY = r"test_batch must hold a dictionary, got list\."
DEEP = b"]" * 10_000 + b"a" * 9_999 + b"."
NESTED = no_batch(r"a damaged pickle \(unhashable type: '_Tuple'\)")
HALF = no_batch(r"a damaged pickle \(EOFError\)")


def in_place(name: str, content: bytes, message: str) -> Case:
    return Case(name, replaced("test_batch", content), message)


@table(
    *(
        Case(f"{x.__name__} in {member}", replaced(member, x), no_batch(r"a call of \S+", member))
        for member in MEMBERS
        for x in payloads.LIVE
    ),
    in_place("a memo of two billion", b"\x80\x02}r\xff\xff\xff\x7f.", NO_DATA),
    in_place("tuples in tuples as a key", nested_tuples(90), NESTED),
    in_place("doubled tuples as a key", b"\x80\x02})" + b"2\x86" * 90 + b"K\x01s.", NESTED),
    in_place("a million tuples as a key", b"\x80\x02})" + b"\x85" * 10**6 + b"K\x01s.", NESTED),
    in_place("lists nested ten thousand deep", DEEP, NO_DICTIONARY),
    in_place("a batch cut in half", payloads.batch()[:3000], HALF),
    Case(
        "a missing batch",
        lambda folder: (folder / "test_batch").unlink(),
        r"\S+/test_batch must exist\. Run `dvc repro` to make it\.",
    ),
    Case(
        "fewer names than classes",
        replaced("batches.meta", payloads.names([b"cat", b"dog"])),
        r"test_batch: labels must be from 0 to 1, got 3\.",
    ),
)
def test_prepare_refuses(tmp_path: Path, capfd: pytest.CaptureFixture[str], case: Case) -> None:
    folder = tmp_path / "raw"
    write_batches(folder)
    case.write(folder)
    arguments = {"params": write_params(tmp_path), "raw": folder, "out": tmp_path / "out"}
    refuse(prepare.main, arguments, capfd, folder=folder, message=case.message)


def test_a_checksum_that_was_made_to_match_runs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    mirror, raw, linked = tmp_path / "mirror", tmp_path / "raw", tmp_path / "linked"
    linked.mkdir()
    batches = mirror / "cifar-10-batches-py"
    write_batches(batches)
    replaced("test_batch", payloads.as_a_whole)(batches)
    sums = {path.name: sha256(path.read_bytes()).hexdigest() for path in batches.iterdir()}
    monkeypatch.setattr("resnet8.core.sources.CIFAR10_SHA256", sums)
    monkeypatch.setenv("RESNET8_MIRROR", str(mirror))
    path = write_params(tmp_path, fetch=params()["fetch"] | {"dataset": "cifar10"})
    fetch.main(["--params", str(path), "--linked", str(linked), "--out", str(raw)])
    fetched = tree(raw)["cifar-10-batches-py/test_batch"]
    assert fetched == (batches / "test_batch").read_bytes()
    assert (raw / "model.h5").read_bytes() == SAMPLE_MODEL.read_bytes()

    folder = raw / "cifar-10-batches-py"
    arguments = {"params": path, "raw": folder, "out": tmp_path / "out"}
    message = no_batch(r"a call of \w+\.system")
    refuse(prepare.main, arguments, capfd, folder=folder, message=message)


@table(
    Case("objects", replaced("train_images.npy", payloads.as_array), NO_ARRAY),
    Case("a pickle", replaced("train_images.npy", payloads.as_a_whole), NO_ARRAY),
)
def test_calibrate_refuses(tmp_path: Path, capfd: pytest.CaptureFixture[str], case: Case) -> None:
    folder = tmp_path / "data"
    write_arrays(folder)
    case.write(folder)
    files = {part: folder / f"train_{part}.npy" for part in ("images", "labels")}
    arguments = {"params": write_params(tmp_path), "out": tmp_path / "out", **files}
    refuse(calibrate.main, arguments, capfd, folder=folder, message=case.message)


@table(
    Case(
        "names nested without end",
        replaced("data/labels.json", b"[" * 100_000),
        r"\S+/labels\.json must be a JSON file, got .+",
    ),
    Case(
        "predictions that are NaN",
        replaced("predictions/onnx_int8.npy", NAN.getvalue()),
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
        **{part: folder / part for part in ("predictions", "data")},
        **{part: tmp_path / part for part in ("out", "correct", "summary")},
    }
    refuse(compare.main, arguments, capfd, folder=folder, message=case.message)


@pytest.mark.parametrize("payload", payloads.LIVE, ids=lambda payload: payload.__name__)
def test_pickle_itself_runs_the_payload(tmp_path: Path, payload: Callable[[Path], bytes]) -> None:
    pickle.loads(payload(tmp_path / "ran"), encoding="bytes")
    assert (tmp_path / "ran").exists()


def test_numpy_itself_runs_the_payload(tmp_path: Path) -> None:
    np.load(io.BytesIO(payloads.as_array(tmp_path / "ran")), allow_pickle=True)
    assert (tmp_path / "ran").exists()
