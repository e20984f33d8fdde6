"""Archives in place of CIFAR-10's, as `fetch` reads them out of a mirror."""

import gzip
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from samples.dataset import SAMPLE_MODEL
from stages import fetch
from tests.hostile.harness import Case, params, refuse, table, write_params
from tests.upstream import ARCHIVE, FOLDER, entry, tar

TEST_BATCH = f"{FOLDER}/test_batch"
META = f"{FOLDER}/batches.meta"
WITHOUT = r"\S+/" + ARCHIVE + r" must hold .*" + TEST_BATCH + r", got an archive without\."
DAMAGED = r"\S+/" + ARCHIVE + r" must be a complete tar archive, got: {}\."
TOO_LONG = r"\S+/" + ARCHIVE + r", unpacked, must have at most \d+ bytes, got more\."


def header(name: str, size: int, kind: bytes = tarfile.REGTYPE) -> bytes:
    """An entry's header that announces any size."""
    info = tarfile.TarInfo(name)
    info.size, info.type = size, kind
    return info.tobuf(tarfile.GNU_FORMAT)


def zeros(mebibytes: int) -> bytes:
    """A gzip stream of zeros, a thousandth of their length."""
    compressor = zlib.compressobj(9, wbits=31)
    block = bytes(2**20)
    return b"".join([*(compressor.compress(block) for _ in range(mebibytes)), compressor.flush()])


def archive(name: str, content: bytes | Callable[[Path], bytes], message: str = WITHOUT) -> Case:
    def write(mirror: Path) -> None:
        made = content if isinstance(content, bytes) else content(mirror.parent)
        (mirror / ARCHIVE).write_bytes(made)

    return Case(name, write, message)


def single(name: str, entry_name: str, content: bytes = b"x", **attributes: Any) -> Case:
    return archive(name, tar(entry(entry_name, content, **attributes)))


@table(
    # Paths that lead elsewhere.
    single("a path upwards", "../escaped"),
    single("a path upwards from the folder", "cifar-10-batches-py/../../escaped"),
    single("a path upwards to the right name", f"../{TEST_BATCH}"),
    single("an absolute path to the right name", f"/{TEST_BATCH}"),
    single("a detour to the right name", "cifar-10-batches-py/./test_batch"),
    single(
        "a name with a zero byte", f"{TEST_BATCH}\0.txt", pax_headers={"path": f"{TEST_BATCH}\0"}
    ),
    archive("an absolute path", lambda folder: tar(entry(str(folder / "escaped")))),
    # Links and what is no file.
    archive(
        "a symbolic link to a file outside",
        lambda folder: tar(entry(TEST_BATCH, b"", type=tarfile.SYMTYPE, linkname=str(folder))),
    ),
    single(
        "a hard link to a system file",
        TEST_BATCH,
        b"",
        type=tarfile.LNKTYPE,
        linkname="/etc/passwd",
    ),
    single("a link to itself", TEST_BATCH, b"", type=tarfile.SYMTYPE, linkname=TEST_BATCH),
    archive(
        "a file below a linked folder",
        lambda folder: tar(
            entry("cifar-10-batches-py", b"", type=tarfile.SYMTYPE, linkname=str(folder)),
            entry("cifar-10-batches-py/escaped"),
        ),
    ),
    single("a pipe", TEST_BATCH, b"", type=tarfile.FIFOTYPE),
    single("a device", TEST_BATCH, b"", type=tarfile.CHRTYPE, devmajor=1, devminor=5),
    single("a folder", TEST_BATCH, b"", type=tarfile.DIRTYPE),
    # Bombs.
    archive(
        "a member of two gigabytes",
        gzip.compress(header(META, 2**31) + bytes(2**20)),
        rf"{META} in \S+ must be at most \d+ bytes, got 2147483648\.",
    ),
    archive(
        "zeros without end behind a header", gzip.compress(header("x", 2**40)) + zeros(9), TOO_LONG
    ),
    archive(
        "a long name of a terabyte",
        gzip.compress(header("x", 2**40, tarfile.GNUTYPE_LONGNAME)) + zeros(9),
        TOO_LONG,
    ),
    archive(
        "attributes of a terabyte",
        gzip.compress(header("x", 2**40, tarfile.XHDTYPE)) + zeros(9),
        TOO_LONG,
    ),
    archive("entries without end", gzip.compress(header("x", 0) * 9_000), WITHOUT),
    archive(
        "a size below zero, which leads back to the same entry",
        gzip.compress(header("x", -1024) + bytes(10_240)),
        DAMAGED.format(".+"),
    ),
    archive(
        "a size below zero in the attributes",
        tar(entry("x", pax_headers={"size": "-1024"})),
        DAMAGED.format(".+"),
    ),
    # Damaged.
    archive("empty", b"", DAMAGED.format("empty file")),
    archive("a web page", b"<!DOCTYPE html><title>Sign in</title>", DAMAGED.format(".+")),
    archive(
        "noise behind gzip's first bytes", b"\x1f\x8b\x08" + b"\xa5" * 600, DAMAGED.format(".+")
    ),
    archive("cut", tar(entry(TEST_BATCH, bytes(range(256)) * 40))[:200], DAMAGED.format(".+")),
    archive("another tar", tar(entry("readme.txt"))),
    archive(
        "another batch",
        tar(entry(META), entry(TEST_BATCH)),
        r"batches\.meta in \S+ must have SHA-256 \w+, got \w+ \(1 bytes\)\. The file is .+anew\.",
    ),
    archive("packed twice", gzip.compress(tar(entry(TEST_BATCH))), DAMAGED.format(".+")),
)
def test_fetch_refuses(
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    case: Case,
) -> None:
    monkeypatch.setattr("resnet8.core.sources.MAX_UNPACKED_BYTES", 8 * 2**20)
    mirror, out, linked = (tmp_path / name for name in ("mirror", "raw", "linked"))
    for folder in (mirror, out / "cifar-10-batches-py", linked):
        folder.mkdir(parents=True)
    (out / "model.h5").write_bytes(SAMPLE_MODEL.read_bytes())  # what is right stays
    case.write(mirror)
    monkeypatch.setenv("RESNET8_MIRROR", str(mirror))
    path = write_params(tmp_path, fetch=params()["fetch"] | {"dataset": "cifar10"})
    arguments = {"params": path, "linked": linked, "out": out}
    refuse(fetch.main, arguments, capfd, folder=mirror, message=case.message)
