"""Batch files and label names, as `prepare` reads them."""

import pickle
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
from tests.hostile.payloads import PIXELS, batch, names

MEMBERS = ("batches.meta", "test_batch", "data_batch_1")
NO_BATCH = r" must be a batch of CIFAR-10's python version, got {}\. Fetch it again\."


def no_batch(found: str, name: str = "test_batch") -> str:
    return name + NO_BATCH.format(found)


def in_test_batch(name: str, content: bytes, message: str) -> Case:
    return Case(name, replaced("test_batch", content), message)


def in_names(name: str, value: object, message: str) -> Case:
    return Case(name, replaced("batches.meta", names(value)), f"batches.meta: {message}")


def nested_tuples(depth: int) -> bytes:
    """A tuple of two of the tuple before, as a key: its hash takes 2^depth steps."""
    levels = (b"h%ch%c\x86q%c" % (n, n, n + 1) for n in range(depth))
    return b"\x80\x02}(]\x85q\x00" + b"".join(levels) + b"K\x01s."


def hostile_state(dtype_state: bytes) -> bytes:
    """A batch whose type is changed after it was made."""
    valid = pickle.dumps({b"data": np.zeros((1, PIXELS), np.uint8), b"labels": [0]}, protocol=3)
    assert valid.count(b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00t") == 1
    return valid.replace(b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00t", dtype_state)


RIGHT = batch()
LOOP = b"\x80\x02]q\x00h\x00a."
HUGE_SHAPE = batch(data=np.zeros((1, PIXELS), np.uint8), labels=[0]).replace(
    b"K\x01M\x00\x0c\x86", b"\x8a\x05\xff\xff\xff\xff\x7fM\x00\x0c\x86"
)
ONE_PER_IMAGE = r"test_batch: labels must be a list of 2 numbers, one per image\."
OTHER_TYPE = "an array of type '{}' instead of uint8"
OTHER_SIZE = "an array with another number of bytes than its shape"


@table(
    # Code.
    *(
        Case(
            f"{payload.__name__} in {member}",
            replaced(member, payload),
            no_batch(r"a call of \S+", member),
        )
        for member in MEMBERS
        for payload in payloads.LIVE
    ),
    in_test_batch("a call of what only NumPy has", b"cnumpy\nload\n(tR.", no_batch(".+numpy.load")),
    in_test_batch(
        "a name of 10,000 letters", b"c%s\nx\n." % (b"a" * 9999), no_batch("a call of '.+")
    ),
    in_test_batch(
        "a name with a terminal's commands", b"c\x1b[2J\nx\n.", no_batch(r"a .+x1b\[2J.x'")
    ),
    in_test_batch("a persistent reference", b"Pfile:///etc/passwd\n.", no_batch(".+persistent.+")),
    in_test_batch("an extension code", b"\x80\x02\x82\x01.", no_batch("unregistered extension.+")),
    in_test_batch(
        "a change of an allowed name",
        b"\x80\x02cnumpy\ndtype\n}X\x05\x00\x00\x00_callNsb.",
        no_batch("a change of what it may call"),
    ),
    # Few bytes, much memory or time.
    in_test_batch(
        "a memo of two billion",
        b"\x80\x02}r\xff\xff\xff\x7f.",
        no_batch("a memo of 2147483647 obj.+"),
    ),
    in_test_batch("tuples in tuples as a key", nested_tuples(90), no_batch("a tuple within .+")),
    in_test_batch("a duplicated stack", b"\x80\x02)2\x86.", no_batch("the operation DUP")),
    in_test_batch(
        "lists nested ten thousand deep",
        b"]" * 10_000 + b"a" * 9_999 + b".",
        r"test_batch must hold a dictionary, got list\.",
    ),
    in_test_batch(
        "text that announces four gigabytes", b"X\xff\xff\xff\xff", no_batch("exp.+remain")
    ),
    in_test_batch(
        "a number of 10,000 digits", b"I" + b"9" * 10_000 + b"\n.", no_batch("Exceeds.+")
    ),
    in_test_batch("a shape of half a billion images", HUGE_SHAPE, no_batch(OTHER_SIZE)),
    # Damaged.
    in_test_batch("empty", b"", no_batch("pickle exhausted before seeing STOP")),
    in_test_batch("cut in half", RIGHT[: len(RIGHT) // 2], no_batch(r"expected 6144 bytes .+")),
    in_test_batch("without its last byte", RIGHT[:-1], no_batch("pickle exhausted .+")),
    in_test_batch(
        "a web page", b"<!DOCTYPE html><title>Sign in</title>", no_batch("at position 0.+")
    ),
    in_test_batch("a future protocol", b"\x80\x7f}.", no_batch("unsupported pickle protocol: 127")),
    in_test_batch("zeros", bytes(1000), no_batch("at position 0, opcode .+ unknown")),
    in_test_batch("a list", pickle.dumps([1]), r"test_batch must hold a dictionary, got list\."),
    in_test_batch("a list within itself", LOOP, r"test_batch must hold a dictionary, got list\."),
    # Length, type, shape.
    in_test_batch("fewer labels than images", batch(labels=[3]), ONE_PER_IMAGE),
    in_test_batch("more labels than images", batch(labels=[3, 8, 1]), ONE_PER_IMAGE),
    in_test_batch("labels as a tuple", batch(labels=(3, 8)), ONE_PER_IMAGE),
    in_test_batch(
        "no data", batch(data=None), r"test_batch: data must be a uint8 array, got NoneType\."
    ),
    in_test_batch(
        "data as a list", batch(data=[0]), r"test_batch: data must be a uint8 array, got list\."
    ),
    *(
        in_test_batch(
            f"data of type {dtype}",
            batch(data=np.zeros((2, PIXELS), dtype)),
            no_batch(OTHER_TYPE.format(code)),
        )
        for dtype, code in {"int8": "i1", "float64": "f8", "uint16": "u2", "object": "O8"}.items()
    ),
    in_test_batch(
        "structured data", batch(data=np.zeros(2, [("a", "u1")])), no_batch(OTHER_TYPE.format("V1"))
    ),
    *(
        in_test_batch(
            f"data of shape {shape}",
            batch(data=np.zeros(shape, np.uint8)),
            rf"test_batch: data must have shape \(N, 3072\), got \({shape[0]},.*\)\.",
        )
        for shape in [(2, 3071), (0, PIXELS), (2 * PIXELS,), (2, 3, 32, 32)]
    ),
    # Labels and their names.
    *(
        in_test_batch(
            f"a label of {shown}",
            batch(labels=[3, label]),
            rf"test_batch: labels must be from 0 to 9, got {shown}\.",
        )
        for label, shown in [
            (10, "10"),
            (-1, "-1"),
            (2**70, "1180591620717411303424"),
            (True, "True"),
            (1.0, r"1\.0"),
            (b"1", "b'1'"),
            (10**5000, "a huge int"),
        ]
    ),
    in_names("a name twice", ["cat", "cat"], r"label_names must be two or more different names\."),
    in_names("one name", ["cat"], r"label_names must be two or more different names\."),
    in_names("an empty name", ["cat", ""], r"label_names must be two or more different names\."),
    in_names("no names", None, r"label_names must be a list of names\."),
    in_names("names as text", "cat, dog", r"label_names must be a list of names\."),
    in_names("numbers as names", [1, 2], r"label_names must be a list of names\."),
    in_names("Latin-1", [b"cat", b"caf\xe9"], r"label_names must be UTF-8, got b'caf.+'\."),
    Case(
        "a missing batch",
        lambda folder: (folder / "test_batch").unlink(),
        r"\S+/test_batch must exist\. Run `dvc repro` to make it\.",
    ),
    Case(
        "fewer names than classes",
        replaced("batches.meta", names(["cat", "dog"])),
        r"test_batch: labels must be from 0 to 1, got 3\.",
    ),
)
def test_prepare_refuses(tmp_path: Path, capfd: pytest.CaptureFixture[str], case: Case) -> None:
    folder = tmp_path / "raw"
    write_batches(folder)
    case.write(folder)
    arguments = {"params": write_params(tmp_path), "raw": folder, "out": tmp_path / "out"}
    refuse(prepare.main, arguments, capfd, folder=folder, message=case.message)


@pytest.mark.parametrize("member", MEMBERS)
def test_a_checksum_that_was_made_to_match_runs_nothing(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    member: str,
) -> None:
    mirror, raw, linked = tmp_path / "mirror", tmp_path / "raw", tmp_path / "linked"
    linked.mkdir()
    batches = mirror / "cifar-10-batches-py"
    write_batches(batches)
    replaced(member, payloads.as_a_whole)(batches)
    sums = {path.name: sha256(path.read_bytes()).hexdigest() for path in batches.iterdir()}
    monkeypatch.setattr("resnet8.core.sources.CIFAR10_SHA256", sums)
    monkeypatch.setenv("RESNET8_MIRROR", str(mirror))
    path = write_params(tmp_path, fetch=params()["fetch"] | {"dataset": "cifar10"})
    fetch.main(["--params", str(path), "--linked", str(linked), "--out", str(raw)])
    assert tree(raw)[f"cifar-10-batches-py/{member}"] == (batches / member).read_bytes()
    assert (raw / "model.h5").read_bytes() == SAMPLE_MODEL.read_bytes()

    folder = raw / "cifar-10-batches-py"
    arguments = {"params": path, "raw": folder, "out": tmp_path / "out"}
    message = no_batch(r"a call of \w+\.system", member)
    refuse(prepare.main, arguments, capfd, folder=folder, message=message)


def test_a_batch_that_changes_numpys_type_has_no_effect(tmp_path: Path) -> None:
    # NumPy's own unpickling would take the flags from the file and follow bytes as pointers.
    flags = b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x3ft"
    write_batches(tmp_path / "raw")
    (tmp_path / "raw" / "test_batch").write_bytes(hostile_state(flags))
    out = tmp_path / "out"
    prepare.main(
        ["--params", str(write_params(tmp_path)), "--raw", str(tmp_path / "raw"), "--out", str(out)]
    )
    assert np.load(out / "test_images.npy").dtype.flags == 0
