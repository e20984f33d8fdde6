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
from tests.hostile.harness import params, refuse, write_params
from tests.upstream import ARCHIVE, FOLDER, entry, tar

TEST_BATCH = f"{FOLDER}/test_batch"
META = f"{FOLDER}/batches.meta"
WITHOUT = r"\S+/" + ARCHIVE + r" must hold .*" + TEST_BATCH + r", got an archive without them\."
DAMAGED = r"\S+/" + ARCHIVE + r" must be a complete tar archive, got: .+\."
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


def single(name: str, content: bytes = b"x", **attributes: Any) -> bytes:
    return tar(entry(name, content, **attributes))


def bomb(first: bytes) -> bytes:
    return gzip.compress(first) + zeros(9)


def linked(folder: Path) -> bytes:
    """A file below a link to a folder outside."""
    link = entry(FOLDER, b"", type=tarfile.SYMTYPE, linkname=str(folder))
    return tar(link, entry(f"{FOLDER}/escaped"))


WRONG = r"batches\.meta in \S+ must have SHA-256 \w+, got \w+ \(1 bytes\)\. The file is .+again\."
# Archives, or functions that make them for the folder outside, and the stage's message.
ARCHIVES: dict[str, tuple[bytes | Callable[[Path], bytes], str]] = {
    # Paths that lead elsewhere.
    "a path upwards": (single("../escaped"), WITHOUT),
    "a path upwards from the folder": (single(f"{FOLDER}/../../escaped"), WITHOUT),
    "a path upwards to the right name": (single(f"../{TEST_BATCH}"), WITHOUT),
    "an absolute path to the right name": (single(f"/{TEST_BATCH}"), WITHOUT),
    "an absolute path": (lambda folder: single(str(folder / "escaped")), WITHOUT),
    "a detour to the right name": (single(f"{FOLDER}/./test_batch"), WITHOUT),
    "a name with a zero byte": (
        single(f"{TEST_BATCH}\0.txt", pax_headers={"path": f"{TEST_BATCH}\0"}), WITHOUT,
    ),
    # Links and what is no file.
    "a symbolic link to a file outside": (
        lambda folder: single(TEST_BATCH, b"", type=tarfile.SYMTYPE, linkname=str(folder)), WITHOUT,
    ),
    "a hard link to a system file": (
        single(TEST_BATCH, b"", type=tarfile.LNKTYPE, linkname="/etc/passwd"), WITHOUT,
    ),
    "a link to itself": (
        single(TEST_BATCH, b"", type=tarfile.SYMTYPE, linkname=TEST_BATCH), WITHOUT,
    ),
    "a file below a linked folder": (linked, WITHOUT),
    "a pipe": (single(TEST_BATCH, b"", type=tarfile.FIFOTYPE), WITHOUT),
    "a device": (single(TEST_BATCH, b"", type=tarfile.CHRTYPE, devmajor=1, devminor=5), WITHOUT),
    "a folder": (single(TEST_BATCH, b"", type=tarfile.DIRTYPE), WITHOUT),
    # Bombs.
    "a member of two gigabytes": (
        gzip.compress(header(META, 2**31) + bytes(2**20)),
        rf"{META} in \S+ must be at most \d+ bytes, got 2147483648\.",
    ),
    "zeros without end behind a header": (bomb(header("x", 2**40)), TOO_LONG),
    "a long name of a terabyte": (bomb(header("x", 2**40, tarfile.GNUTYPE_LONGNAME)), TOO_LONG),
    "attributes of a terabyte": (bomb(header("x", 2**40, tarfile.XHDTYPE)), TOO_LONG),
    "entries without end": (gzip.compress(header("x", 0) * 9_000), WITHOUT),
    "a size below zero, which leads back to the same entry": (
        gzip.compress(header("x", -1024) + bytes(10_240)), DAMAGED,
    ),
    "a size below zero in the attributes": (single("x", pax_headers={"size": "-1024"}), DAMAGED),
    # Damaged.
    "empty": (b"", DAMAGED),
    "a web page": (b"<!DOCTYPE html><title>Sign in</title>", DAMAGED),
    "noise behind gzip's first bytes": (b"\x1f\x8b\x08" + b"\xa5" * 600, DAMAGED),
    "cut": (single(TEST_BATCH, bytes(range(256)) * 40)[:200], DAMAGED),
    "packed twice": (gzip.compress(single(TEST_BATCH)), DAMAGED),
    "another tar": (single("readme.txt"), WITHOUT),
    "another batch": (tar(entry(META), entry(TEST_BATCH)), WRONG),
}  # fmt: skip


@pytest.mark.parametrize("name", ARCHIVES)
def test_fetch_refuses(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr("resnet8.core.sources.MAX_UNPACKED_BYTES", 8 * 2**20)
    mirror, out, links = (tmp_path / name for name in ("mirror", "raw", "linked"))
    for folder in (mirror, out / FOLDER, links):
        folder.mkdir(parents=True)
    (out / "model.h5").write_bytes(SAMPLE_MODEL.read_bytes())  # what is right stays
    content, message = ARCHIVES[name]
    made = content if isinstance(content, bytes) else content(tmp_path)
    (mirror / ARCHIVE).write_bytes(made)
    monkeypatch.setenv("RESNET8_MIRROR", str(mirror))
    path = write_params(tmp_path, fetch=params()["fetch"] | {"dataset": "cifar10"})
    arguments = {"params": path, "linked": links, "out": out}
    refuse(fetch.main, arguments, capfd, folder=mirror, message=message)
