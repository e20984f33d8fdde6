"""Batch files and label names, as `prepare` reads them; tests/core/test_batches.py has the rest."""

from hashlib import sha256
from pathlib import Path

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
    levels = (b"h%ch%c\x86q%c" % (n, n, n + 1) for n in range(depth))
    return b"\x80\x02}(]\x85q\x00" + b"".join(levels) + b"K\x01s."


def no_batch(found: str, name: str = "test_batch") -> str:
    return rf"{name} must be a batch of CIFAR-10's python version, got {found}\. Fetch it again\."


@table(
    *(
        Case(f"{payload.__name__} in {member}", replaced(member, payload), no_batch(found, member))
        for member in MEMBERS
        for payload in payloads.LIVE
        for found in [r"a call of \S+"]
    ),
    Case(
        "a memo of two billion",
        replaced("test_batch", b"\x80\x02}r\xff\xff\xff\x7f."),
        r"test_batch: data must .+ NoneType\.",
    ),
    Case(
        "tuples in tuples as a key",
        replaced("test_batch", nested_tuples(90)),
        no_batch("a tuple within several others"),
    ),
    Case(
        "lists nested ten thousand deep",
        replaced("test_batch", b"]" * 10_000 + b"a" * 9_999 + b"."),
        r"test_batch must hold a dictionary, got list\.",
    ),
    Case(
        "a batch cut in half",
        replaced("test_batch", payloads.batch()[:3000]),
        no_batch(r"a damaged pickle \(ValueError: expected .*\)"),
    ),
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
