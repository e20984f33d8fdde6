"""Pickles in batch files, label names and arrays; tests/core has damaged ones of every kind."""

import io
import pickle
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest

from samples.dataset import SAMPLE_MODEL
from stages import fetch, prepare
from tests.hostile import payloads
from tests.hostile.harness import (
    Case,
    params,
    refuse,
    replaced,
    table,
    tree,
    write_batches,
    write_params,
)

MEMBERS = ("batches.meta", "test_batch", "data_batch_1")


def nested_tuples(depth: int) -> bytes:
    """Pickle of a key that is a tuple of twice the tuple before: its hash takes 2^depth steps."""
    levels = (b"h%ch%c\x86q%c0" % (n, n, n + 1) for n in range(depth))
    return b"\x80\x02})q\x000" + b"".join(levels) + b"h%cK\x01s." % depth


def no_batch(got: str, name: str = "test_batch") -> str:
    return rf"{name} must be a batch of CIFAR-10's python version, got {got}\. Fetch it again\."


NO_DATA = r"test_batch: data must .+ NoneType\."
NO_DICTIONARY = r"test_batch must hold a dictionary, got list\."
DEEP = b"]" * 10_000 + b"a" * 9_999 + b"."
NESTED = no_batch(r"a damaged pickle \(unhashable type: '_Tuple'\)")


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


@pytest.mark.parametrize("payload", payloads.LIVE, ids=lambda payload: payload.__name__)
def test_pickle_itself_runs_the_payload(tmp_path: Path, payload: Callable[[Path], bytes]) -> None:
    pickle.loads(payload(tmp_path / "ran"), encoding="bytes")
    assert (tmp_path / "ran").exists()


def test_numpy_itself_runs_the_payload(tmp_path: Path) -> None:
    np.load(io.BytesIO(payloads.as_array(tmp_path / "ran")), allow_pickle=True)
    assert (tmp_path / "ran").exists()
