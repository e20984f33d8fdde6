"""Downloads, mirrors and archives, from a server in this process."""

import hashlib
import io
import os
import random
import re
import socket
import subprocess
import tarfile
import threading
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from resnet8.core import sources, transfer
from resnet8.core.errors import SourceError
from resnet8.core.sources import (
    CIFAR10_SHA256,
    MLPERF_TINY_SHA256,
    fetch_cifar10,
    fetch_file,
    fetch_model,
    link_source,
    remove_others,
)

FOLDER = "cifar-10-batches-py"
ARCHIVE = "cifar-10-python.tar.gz"
MEMBERS = {
    "batches.meta": b"the names",
    "data_batch_1": b"training images" * 500,
    "test_batch": b"test images" * 700,
}
MODEL = b"a model" * 1000
OFFICIAL = sources.CIFAR10_SHA256
OFFICIAL_MODEL = sources.MLPERF_TINY_SHA256


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@dataclass
class Reply:
    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    length: int | None = None  # announced instead of the right one


@dataclass
class Server:
    """Replies by path; a list is replied one after the other, the last again and again."""

    url: str
    replies: dict[str, Reply | list[Reply]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def put(self, path: str, *replies: Reply) -> str:
        self.replies[path] = list(replies)
        return self.url + path

    def reply(self, path: str) -> Reply:
        self.asked.append(path)
        found = self.replies.get(path, Reply(b"not here", 404))
        if isinstance(found, list):
            return found.pop(0) if len(found) > 1 else found[0]
        return found


@pytest.fixture
def server() -> Iterator[Server]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            reply = state.reply(self.path)
            self.send_response(reply.status)
            length = len(reply.body) if reply.length is None else reply.length
            for name, value in {"Content-Length": str(length), **reply.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(reply.body)

        def log_message(self, *_: Any) -> None:
            """Stays quiet."""

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state = Server(f"http://127.0.0.1:{http.server_address[1]}")
    thread = threading.Thread(target=http.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield state
    http.shutdown()
    thread.join()
    http.server_close()


@pytest.fixture(autouse=True)
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Small made-up files as the official ones, and seconds noted instead of waited."""
    found: list[float] = []
    checksums = {name: sha256(content) for name, content in MEMBERS.items()}
    monkeypatch.setattr(sources, "CIFAR10_SHA256", checksums)
    monkeypatch.setattr(sources, "MLPERF_TINY_SHA256", sha256(MODEL))
    monkeypatch.setattr(sources, "time", SimpleNamespace(sleep=found.append))
    monkeypatch.setattr(sources, "TIMEOUTS_SECONDS", (1800, 1800))  # as a busy machine may take
    monkeypatch.setattr(transfer, "WINDOW_SECONDS", 1800)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    return found


def entry(name: str, content: bytes = b"", **attributes: Any) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for key, value in attributes.items():
        setattr(info, key, value)
    return info, content


def tar_of(*entries: tuple[tarfile.TarInfo, bytes], mode: str = "w:gz") -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as tar:  # type: ignore[call-overload]
        for info, content in entries:
            tar.addfile(info, io.BytesIO(content))
    return out.getvalue()


def noise(count: int) -> bytes:
    """Random text that a compressor can make little of, the same each time."""
    return random.Random(0).randbytes(count // 2).hex().encode()


def official_entries(**other: bytes) -> list[tuple[tarfile.TarInfo, bytes]]:
    members = MEMBERS | other
    return [
        entry(FOLDER, type=tarfile.DIRTYPE),
        *(entry(f"{FOLDER}/{name}", content) for name, content in members.items()),
        entry(f"{FOLDER}/readme.html", b"<html>"),
    ]


def mirror_with_members(folder: Path, **other: bytes) -> str:
    (folder / FOLDER).mkdir(parents=True)
    for name, content in (MEMBERS | other).items():
        (folder / FOLDER / name).write_bytes(content)
    return str(folder)


def mirror_with_archive(folder: Path, content: bytes) -> str:
    folder.mkdir(parents=True)
    (folder / ARCHIVE).write_bytes(content)
    return str(folder)


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, hidden ones too."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def names(folder: Path) -> list[str]:
    """Everything in a folder, hidden entries too."""
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def closed_port() -> Iterator[str]:
    """An address where nobody listens, nor can begin to."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{unused.getsockname()[1]}"


# One file.


def test_fetch_file_copies_a_path(tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(b"content")
    fetch_file(str(tmp_path / "in"), tmp_path / "out", sha256=sha256(b"content"))
    assert (tmp_path / "out").read_bytes() == b"content"


def test_fetch_file_downloads_a_url(tmp_path: Path, server: Server) -> None:
    url = server.put("/in", Reply(b"content"))
    fetch_file(url, tmp_path / "out", sha256=sha256(b"content"))
    assert (tmp_path / "out").read_bytes() == b"content"


def test_fetch_file_shows_progress_on_stderr_only_when_asked(
    tmp_path: Path, server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    url = server.put("/in", Reply(b"content"))
    fetch_file(url, tmp_path / "out", sha256=None)
    assert capsys.readouterr() == ("", "")
    fetch_file(url, tmp_path / "out", sha256=None, progress=True)
    assert "100%" in capsys.readouterr().err


def test_fetch_file_takes_any_content_without_a_checksum(tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(b"whatever")
    fetch_file(str(tmp_path / "in"), tmp_path / "out", sha256=None)
    assert (tmp_path / "out").read_bytes() == b"whatever"


def test_fetch_file_tells_both_checksums_the_size_and_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(b"other")
    expected, found = sha256(b"content"), sha256(b"other")
    message = (
        f"{tmp_path / 'in'} must have SHA-256 {expected}, got {found} (5 bytes). "
        "The file is damaged or another one; get it anew."
    )
    with pytest.raises(SourceError, match=f"^{re.escape(message)}$"):
        fetch_file(str(tmp_path / "in"), tmp_path / "out", sha256=expected)


def test_fetch_file_leaves_the_old_file_and_nothing_else_when_the_checksum_is_wrong(
    tmp_path: Path,
) -> None:
    (tmp_path / "in").write_bytes(b"other")
    (tmp_path / "to").mkdir()
    (tmp_path / "to" / "out").write_bytes(b"old")
    with pytest.raises(SourceError, match="must have SHA-256"):
        fetch_file(str(tmp_path / "in"), tmp_path / "to" / "out", sha256=sha256(b"content"))
    assert contents(tmp_path / "to") == {"out": b"old"}


def test_fetch_file_names_a_missing_path(tmp_path: Path) -> None:
    with pytest.raises(
        SourceError, match=r"/none must be a file, got nothing there\. Correct fetch\.model"
    ):
        fetch_file(str(tmp_path / "none"), tmp_path / "out", sha256=None)


def test_fetch_file_tells_the_attempts_and_the_mirror_when_a_host_is_unreachable(
    tmp_path: Path, closed_port: str
) -> None:
    url = f"{closed_port}/in"
    expected = rf"^{url} must be reachable, got ConnectionError in 3 attempts: .+RESNET8_MIRROR"
    with pytest.raises(SourceError, match=expected):
        fetch_file(url, tmp_path / "out", sha256=None)


def test_fetch_file_waits_longer_before_each_attempt(
    tmp_path: Path, closed_port: str, waits: list[float]
) -> None:
    with pytest.raises(SourceError, match="must be reachable"):
        fetch_file(f"{closed_port}/in", tmp_path / "out", sha256=None)
    assert waits == [1, 2]


def test_fetch_file_leaves_the_old_file_and_nothing_else_when_a_host_is_unreachable(
    tmp_path: Path, closed_port: str
) -> None:
    (tmp_path / "out").write_bytes(b"old")
    with pytest.raises(SourceError, match="must be reachable"):
        fetch_file(f"{closed_port}/in", tmp_path / "out", sha256=None)
    assert contents(tmp_path) == {"out": b"old"}


def test_fetch_file_asks_three_times_when_a_server_is_broken(
    tmp_path: Path, server: Server
) -> None:
    url = server.put("/in", Reply(b"oh no", 500))
    with pytest.raises(SourceError, match=r"/in must be readable, got HTTP 500\. Check the conn"):
        fetch_file(url, tmp_path / "out", sha256=None)
    assert server.asked == ["/in"] * 3


def test_fetch_file_succeeds_when_a_server_recovers(tmp_path: Path, server: Server) -> None:
    url = server.put("/in", Reply(b"a longer reply", 503), Reply(b"content"))
    fetch_file(url, tmp_path / "out", sha256=sha256(b"content"))
    assert server.asked == ["/in"] * 2


@pytest.mark.parametrize("status", [404, 410])
def test_fetch_file_asks_once_for_what_is_not_there(
    tmp_path: Path, server: Server, status: int
) -> None:
    url = server.put("/in", Reply(b"not here", status))
    with pytest.raises(SourceError, match=rf"/in must be there, got HTTP status {status}\. Check"):
        fetch_file(url, tmp_path / "out", sha256=None)
    assert server.asked == ["/in"]


def test_fetch_file_asks_once_for_what_is_forbidden(tmp_path: Path, server: Server) -> None:
    url = server.put("/in", Reply(b"no", 403))
    with pytest.raises(SourceError, match=r"must be there, got HTTP status 403\. .+RESNET8_MIRROR"):
        fetch_file(url, tmp_path / "out", sha256=None)
    assert server.asked == ["/in"]


def test_fetch_file_refuses_a_page_in_place_of_the_file(tmp_path: Path, server: Server) -> None:
    page = b"<!DOCTYPE html><title>Sign in</title>"
    url = server.put("/in", Reply(page, headers={"Content-Type": "text/html"}))
    with pytest.raises(SourceError, match=rf"/in must have SHA-256 .+, got {sha256(page)}"):
        fetch_file(url, tmp_path / "out", sha256=sha256(b"content"))
    assert contents(tmp_path) == {}


def test_fetch_file_refuses_fewer_bytes_than_announced(tmp_path: Path, server: Server) -> None:
    url = server.put("/in", Reply(b"cont", length=7))
    with pytest.raises(SourceError, match=r"in 3 attempts: .*IncompleteRead\(4 bytes read, 3 more"):
        fetch_file(url, tmp_path / "out", sha256=None)
    assert contents(tmp_path) == {}


def test_fetch_file_starts_anew_after_an_incomplete_reply(tmp_path: Path, server: Server) -> None:
    url = server.put("/in", Reply(b"cont", length=7), Reply(b"content"))
    fetch_file(url, tmp_path / "out", sha256=None)
    assert (tmp_path / "out").read_bytes() == b"content"


def test_fetch_file_follows_a_redirect_to_a_url(tmp_path: Path, server: Server) -> None:
    url = server.put("/in", Reply(status=302, headers={"Location": "/elsewhere"}))
    server.put("/elsewhere", Reply(b"content"))
    fetch_file(url, tmp_path / "out", sha256=None)
    assert (tmp_path / "out").read_bytes() == b"content"


def test_fetch_file_refuses_a_redirect_to_a_local_file(tmp_path: Path, server: Server) -> None:
    url = server.put("/in", Reply(status=302, headers={"Location": "file:///etc/passwd"}))
    with pytest.raises(SourceError, match=r"got InvalidSchema in 1 attempts: .*file:///etc/passwd"):
        fetch_file(url, tmp_path / "out", sha256=None)
    assert contents(tmp_path) == {}


def test_fetch_file_asks_no_host_for_a_malformed_url(tmp_path: Path, waits: list[float]) -> None:
    with pytest.raises(SourceError, match="must be reachable, got InvalidURL in 1 attempts"):
        fetch_file("http://[::1/in", tmp_path / "out", sha256=None)
    assert waits == []


# CIFAR-10's members.


def test_fetch_cifar10_copies_members_from_a_mirror_folder(tmp_path: Path) -> None:
    mirror = mirror_with_members(tmp_path / "mirror")
    fetch_cifar10(list(MEMBERS), tmp_path / "out", mirror=mirror)
    assert contents(tmp_path / "out") == MEMBERS


def test_fetch_cifar10_brings_only_the_asked_members(tmp_path: Path) -> None:
    mirror = mirror_with_members(tmp_path / "mirror")
    fetch_cifar10(["test_batch"], tmp_path / "out", mirror=mirror)
    assert names(tmp_path / "out") == ["test_batch"]


def test_fetch_cifar10_takes_members_out_of_a_mirror_folders_archive(tmp_path: Path) -> None:
    mirror = mirror_with_archive(tmp_path / "mirror", tar_of(*official_entries()))
    fetch_cifar10(list(MEMBERS), tmp_path / "out", mirror=mirror)
    assert contents(tmp_path / "out") == MEMBERS


def test_fetch_cifar10_takes_only_the_asked_members_out_of_an_archive(tmp_path: Path) -> None:
    mirror = mirror_with_archive(tmp_path / "mirror", tar_of(*official_entries()))
    fetch_cifar10(["batches.meta"], tmp_path / "to" / "out", mirror=mirror)
    assert contents(tmp_path / "to") == {"out/batches.meta": MEMBERS["batches.meta"]}


def test_fetch_cifar10_leaves_no_temporary_file_beside_the_folder(tmp_path: Path) -> None:
    mirror = mirror_with_archive(tmp_path / "mirror", tar_of(*official_entries()))
    fetch_cifar10(list(MEMBERS), tmp_path / "to" / "out", mirror=mirror)
    assert names(tmp_path / "to") == ["out"]


def test_fetch_cifar10_downloads_members_from_a_mirror_url(tmp_path: Path, server: Server) -> None:
    for name, content in MEMBERS.items():
        server.put(f"/base/{FOLDER}/{name}", Reply(content))
    fetch_cifar10(list(MEMBERS), tmp_path / "out", mirror=f"{server.url}/base/")
    assert contents(tmp_path / "out") == MEMBERS


def test_fetch_cifar10_downloads_the_archive_of_a_mirror_url_without_members(
    tmp_path: Path, server: Server
) -> None:
    server.put(f"/{ARCHIVE}", Reply(tar_of(*official_entries())))
    fetch_cifar10(list(MEMBERS), tmp_path / "out", mirror=server.url)
    assert contents(tmp_path / "out") == MEMBERS


def test_fetch_cifar10_downloads_the_upstream_archive_without_a_mirror(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = server.put("/upstream.tar.gz", Reply(tar_of(*official_entries())))
    monkeypatch.setattr(sources, "CIFAR10_URL", url)
    fetch_cifar10(list(MEMBERS), tmp_path / "out")
    assert contents(tmp_path / "out") == MEMBERS


@pytest.mark.parametrize("mode", ["w", "w:bz2", "w:xz"])
def test_fetch_cifar10_reads_an_archive_that_is_packed_another_way(
    tmp_path: Path, mode: str
) -> None:
    mirror = mirror_with_archive(tmp_path / "mirror", tar_of(*official_entries(), mode=mode))
    fetch_cifar10(list(MEMBERS), tmp_path / "out", mirror=mirror)
    assert contents(tmp_path / "out") == MEMBERS


def test_fetch_cifar10_reads_an_archive_that_is_unpacked_on_the_way(
    tmp_path: Path, server: Server
) -> None:
    reply = Reply(tar_of(*official_entries()), headers={"Content-Encoding": "gzip"})
    server.put(f"/{ARCHIVE}", reply)
    fetch_cifar10(list(MEMBERS), tmp_path / "out", mirror=server.url)
    assert contents(tmp_path / "out") == MEMBERS


def test_fetch_cifar10_tells_both_places_when_a_mirror_folder_has_nothing(tmp_path: Path) -> None:
    (tmp_path / "mirror").mkdir()
    expected = rf"mirror must hold test_batch in a folder {FOLDER}, or {ARCHIVE}, got neither\."
    with pytest.raises(SourceError, match=expected):
        fetch_cifar10(["test_batch"], tmp_path / "out", mirror=str(tmp_path / "mirror"))


def test_fetch_cifar10_tells_both_places_when_a_mirror_url_has_nothing(
    tmp_path: Path, server: Server
) -> None:
    expected = rf"{server.url} must hold test_batch in a folder {FOLDER}, or {ARCHIVE}, got neither"
    with pytest.raises(SourceError, match=expected):
        fetch_cifar10(["test_batch"], tmp_path / "out", mirror=server.url)


def test_fetch_cifar10_refuses_a_wrong_member_of_a_mirror_folder(tmp_path: Path) -> None:
    mirror = mirror_with_members(tmp_path / "mirror", test_batch=b"other images")
    expected = rf"/{FOLDER}/test_batch must have SHA-256 .+, got {sha256(b'other images')}"
    with pytest.raises(SourceError, match=expected):
        fetch_cifar10(["test_batch"], tmp_path / "out", mirror=mirror)
    assert contents(tmp_path / "out") == {}


def test_fetch_cifar10_refuses_a_truncated_member_of_a_mirror_folder(tmp_path: Path) -> None:
    cut = MEMBERS["test_batch"][:100]
    mirror = mirror_with_members(tmp_path / "mirror", test_batch=cut)
    with pytest.raises(SourceError, match=r"/test_batch must have SHA-256 .+ \(100 bytes\)"):
        fetch_cifar10(["test_batch"], tmp_path / "out", mirror=mirror)


def test_fetch_cifar10_refuses_a_wrong_member_of_an_archive(tmp_path: Path) -> None:
    archive = tar_of(*official_entries(test_batch=b"other images"))
    mirror = mirror_with_archive(tmp_path / "mirror", archive)
    with pytest.raises(SourceError, match=rf"^test_batch in .+/{ARCHIVE} must have SHA-256"):
        fetch_cifar10(["test_batch"], tmp_path / "out", mirror=mirror)
    assert contents(tmp_path / "out") == {}


def test_fetch_cifar10_leaves_the_old_member_and_nothing_else_when_the_archive_is_wrong(
    tmp_path: Path,
) -> None:
    archive = tar_of(*official_entries(test_batch=b"other images"))
    mirror = mirror_with_archive(tmp_path / "mirror", archive)
    (tmp_path / "to" / "out").mkdir(parents=True)
    (tmp_path / "to" / "out" / "test_batch").write_bytes(b"old")
    with pytest.raises(SourceError, match="must have SHA-256"):
        fetch_cifar10(["test_batch"], tmp_path / "to" / "out", mirror=mirror)
    assert contents(tmp_path / "to") == {"out/test_batch": b"old"}


def test_fetch_cifar10_leaves_good_members_alone_when_another_cannot_be_fetched(
    tmp_path: Path, closed_port: str
) -> None:
    good = MEMBERS["batches.meta"]
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "batches.meta").write_bytes(good)
    with pytest.raises(SourceError, match="must be reachable"):
        fetch_cifar10(list(MEMBERS), tmp_path / "out", mirror=closed_port)
    assert contents(tmp_path / "out") == {"batches.meta": good}


def test_fetch_cifar10_does_not_fall_back_to_the_archive_of_a_broken_server(
    tmp_path: Path, server: Server
) -> None:
    server.put(f"/{FOLDER}/test_batch", Reply(b"oh no", 500))
    server.put(f"/{ARCHIVE}", Reply(tar_of(*official_entries())))
    with pytest.raises(SourceError, match="must be readable, got HTTP 500"):
        fetch_cifar10(["test_batch"], tmp_path / "out", mirror=server.url)


def test_fetch_cifar10_asks_only_for_members_that_are_not_there(
    tmp_path: Path, server: Server
) -> None:
    for name, content in MEMBERS.items():
        server.put(f"/{FOLDER}/{name}", Reply(content))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "test_batch").write_bytes(MEMBERS["test_batch"])
    fetch_cifar10(["test_batch", "data_batch_1"], tmp_path / "out", mirror=server.url)
    assert server.asked == [f"/{FOLDER}/data_batch_1"]


def test_fetch_cifar10_asks_for_a_member_that_is_there_but_damaged(
    tmp_path: Path, server: Server
) -> None:
    server.put(f"/{FOLDER}/test_batch", Reply(MEMBERS["test_batch"]))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "test_batch").write_bytes(MEMBERS["test_batch"][:-1])
    fetch_cifar10(["test_batch"], tmp_path / "out", mirror=server.url)
    assert contents(tmp_path / "out") == {"test_batch": MEMBERS["test_batch"]}


@pytest.mark.parametrize("with_mirror", [True, False])
def test_fetch_cifar10_asks_nobody_when_all_members_are_there(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch, with_mirror: bool
) -> None:
    monkeypatch.setattr(sources, "CIFAR10_URL", f"{server.url}/upstream.tar.gz")
    for name, content in MEMBERS.items():
        (tmp_path / name).write_bytes(content)
    fetch_cifar10(list(MEMBERS), tmp_path, mirror=server.url if with_mirror else None)
    assert server.asked == []


# Archives that are damaged or hostile.

TEST_BATCH = f"{FOLDER}/test_batch"


def fetch_from(archive: bytes, tmp_path: Path, members: Sequence[str] = ("test_batch",)) -> None:
    mirror = mirror_with_archive(tmp_path / "mirror", archive)
    fetch_cifar10(members, tmp_path / "to" / "out", mirror=mirror)


@pytest.mark.parametrize("content", [b"", b"<!DOCTYPE html>", b"\x1f\x8b\x08", b"x" * 600])
def test_fetch_cifar10_refuses_what_is_no_archive(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(SourceError, match=rf"/{ARCHIVE} must be a complete tar archive, got: \S"):
        fetch_from(content, tmp_path)


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_fetch_cifar10_refuses_a_truncated_archive(tmp_path: Path, mode: str) -> None:
    archive = tar_of(entry(TEST_BATCH, noise(9000)), mode=mode)
    with pytest.raises(SourceError, match="must be a complete tar archive, got: "):
        fetch_from(archive[: len(archive) // 3], tmp_path)
    assert contents(tmp_path / "to") == {}


@pytest.mark.parametrize("mode", ["w:gz", "w:bz2", "w:xz"])
def test_fetch_cifar10_refuses_an_archive_with_damaged_compression(
    tmp_path: Path, mode: str
) -> None:
    archive = tar_of(entry("padding", noise(200_000)), *official_entries(), mode=mode)
    middle = len(archive) // 2
    damaged = archive[:middle] + b"\xff" * 5000 + archive[middle + 5000 :]
    with pytest.raises(SourceError, match=rf"{ARCHIVE} must (be a complete|hold) .+, got"):
        fetch_from(damaged, tmp_path)


def test_fetch_cifar10_refuses_a_member_with_damaged_compression(tmp_path: Path) -> None:
    archive = tar_of(entry(TEST_BATCH, noise(200_000)), mode="w")
    compressor = zlib.compressobj(wbits=31)
    half = compressor.compress(archive[:100_000]) + compressor.flush(zlib.Z_FULL_FLUSH)
    with pytest.raises(SourceError, match="must be a complete tar archive, got: .*invalid block"):
        fetch_from(half + b"\x07" * 1000, tmp_path)  # a block of a kind that there is not
    assert contents(tmp_path / "to") == {}


def test_fetch_cifar10_names_the_members_that_an_archive_lacks(tmp_path: Path) -> None:
    archive = tar_of(entry(f"{FOLDER}/batches.meta", MEMBERS["batches.meta"]))
    expected = rf"{ARCHIVE} must hold {FOLDER}/data_batch_1, {TEST_BATCH}, got an archive without"
    with pytest.raises(SourceError, match=expected):
        fetch_from(archive, tmp_path, list(MEMBERS))


@pytest.mark.parametrize(
    "name",
    [
        "../escaped",
        f"{FOLDER}/../../escaped",
        f"../{TEST_BATCH}",
        f"/{TEST_BATCH}",
        f"{FOLDER}/x/../test_batch",
        "test_batch",
    ],
)
def test_fetch_cifar10_takes_no_member_with_another_path(tmp_path: Path, name: str) -> None:
    with pytest.raises(SourceError, match=r"must hold .+, got an archive without"):
        fetch_from(tar_of(entry(name, MEMBERS["test_batch"])), tmp_path)
    assert list(contents(tmp_path)) == [f"mirror/{ARCHIVE}"]


def test_fetch_cifar10_writes_nothing_for_an_absolute_path(tmp_path: Path) -> None:
    archive = tar_of(entry(str(tmp_path / "escaped"), b"x"), *official_entries())
    fetch_from(archive, tmp_path)
    assert sorted(contents(tmp_path)) == [f"mirror/{ARCHIVE}", "to/out/test_batch"]


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE])
def test_fetch_cifar10_does_not_follow_a_link_in_place_of_a_member(
    tmp_path: Path, kind: bytes
) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(MEMBERS["test_batch"])
    archive = tar_of(entry(TEST_BATCH, type=kind, linkname=str(secret)))
    with pytest.raises(SourceError, match=f"must hold {TEST_BATCH}, got an archive without"):
        fetch_from(archive, tmp_path)
    assert names(tmp_path / "to" / "out") == []


def test_fetch_cifar10_does_not_follow_a_link_within_the_archive(tmp_path: Path) -> None:
    archive = tar_of(
        entry("other", MEMBERS["test_batch"]),
        entry(TEST_BATCH, type=tarfile.LNKTYPE, linkname="other"),
    )
    with pytest.raises(SourceError, match=f"must hold {TEST_BATCH}, got an archive without"):
        fetch_from(archive, tmp_path)


def test_fetch_cifar10_does_not_write_through_a_linked_folder(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    archive = tar_of(
        entry(FOLDER, type=tarfile.SYMTYPE, linkname=str(tmp_path / "outside")),
        entry(TEST_BATCH, MEMBERS["test_batch"]),
    )
    fetch_from(archive, tmp_path)
    assert names(tmp_path / "outside") == []


@pytest.mark.parametrize("kind", [tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.DIRTYPE])
def test_fetch_cifar10_makes_no_device_pipe_or_folder(tmp_path: Path, kind: bytes) -> None:
    with pytest.raises(SourceError, match="got an archive without"):
        fetch_from(tar_of(entry(TEST_BATCH, type=kind)), tmp_path)
    assert names(tmp_path / "to" / "out") == []


def test_fetch_cifar10_refuses_an_oversized_member(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = len(MEMBERS["test_batch"])
    monkeypatch.setattr(sources, "MAX_MEMBER_BYTES", size - 1)
    expected = rf"{TEST_BATCH} in .+{ARCHIVE} must be at most {size - 1} bytes, got {size}\.$"
    with pytest.raises(SourceError, match=expected):
        fetch_from(tar_of(*official_entries()), tmp_path)
    assert contents(tmp_path / "to") == {}


def test_fetch_cifar10_takes_a_member_of_the_largest_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "MAX_MEMBER_BYTES", len(MEMBERS["test_batch"]))
    fetch_from(tar_of(*official_entries()), tmp_path)
    assert names(tmp_path / "to" / "out") == ["test_batch"]


def test_fetch_cifar10_leaves_a_later_member_of_the_same_name(tmp_path: Path) -> None:
    archive = tar_of(
        *(entry(TEST_BATCH, x) for x in (MEMBERS["test_batch"], b"later")),
        entry(f"{FOLDER}/batches.meta", MEMBERS["batches.meta"]),
    )
    fetch_from(archive, tmp_path, ["test_batch", "batches.meta"])
    assert (tmp_path / "to" / "out" / "test_batch").read_bytes() == MEMBERS["test_batch"]


# The model.


def test_fetch_model_copies_mlperf_tiny_from_a_mirror_folder(tmp_path: Path) -> None:
    (tmp_path / "pretrainedResnet.h5").write_bytes(MODEL)
    out = fetch_model("mlperf_tiny", tmp_path / "out", mirror=str(tmp_path))
    assert (out, out.read_bytes()) == (tmp_path / "out" / "model.h5", MODEL)


def test_fetch_model_downloads_mlperf_tiny_from_a_mirror_url(
    tmp_path: Path, server: Server
) -> None:
    server.put("/pretrainedResnet.h5", Reply(MODEL))
    out = fetch_model("mlperf_tiny", tmp_path / "out", mirror=server.url)
    assert out.read_bytes() == MODEL


def test_fetch_model_downloads_mlperf_tiny_from_upstream_without_a_mirror(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "MLPERF_TINY_URL", server.put("/m.h5", Reply(MODEL)))
    assert fetch_model("mlperf_tiny", tmp_path / "out").read_bytes() == MODEL


def test_fetch_model_checks_mlperf_tiny_whatever_the_mirror_gives(tmp_path: Path) -> None:
    (tmp_path / "pretrainedResnet.h5").write_bytes(b"other")
    with pytest.raises(SourceError, match=f"must have SHA-256 {sha256(MODEL)}, got "):
        fetch_model("mlperf_tiny", tmp_path / "out", mirror=str(tmp_path))


@pytest.mark.parametrize("mirror", ["http://[::1", "http://127.0.0.1:99999999"])
def test_fetch_model_names_a_mirror_that_is_no_url(tmp_path: Path, mirror: str) -> None:
    with pytest.raises(SourceError, match="must be reachable, got InvalidURL in 1 attempts"):
        fetch_model("mlperf_tiny", tmp_path / "out", mirror=mirror)


def test_fetch_model_copies_a_path_and_keeps_its_suffix(tmp_path: Path) -> None:
    (tmp_path / "mine.keras").write_bytes(MODEL)
    out = fetch_model(str(tmp_path / "mine.keras"), tmp_path / "out")
    assert (out.name, out.read_bytes()) == ("model.keras", MODEL)


def test_fetch_model_does_not_look_for_other_models_in_the_mirror(tmp_path: Path) -> None:
    (tmp_path / "mine.h5").write_bytes(MODEL)
    with pytest.raises(SourceError, match=r"^none/mine\.h5 must be a file"):
        fetch_model("none/mine.h5", tmp_path / "out", mirror=str(tmp_path))


def test_fetch_model_downloads_a_url_and_keeps_its_suffix(tmp_path: Path, server: Server) -> None:
    url = server.put("/mine.keras?download=1.zip", Reply(MODEL))
    out = fetch_model(url, tmp_path / "out", sha256=sha256(MODEL))
    assert (out.name, out.read_bytes()) == ("model.keras", MODEL)


def test_fetch_model_checks_the_given_checksum(tmp_path: Path) -> None:
    (tmp_path / "mine.h5").write_bytes(b"other")
    with pytest.raises(SourceError, match=r"mine\.h5 must have SHA-256 "):
        fetch_model(str(tmp_path / "mine.h5"), tmp_path / "out", sha256=sha256(MODEL))


def test_fetch_model_removes_a_model_with_the_other_suffix(tmp_path: Path) -> None:
    (tmp_path / "mine.h5").write_bytes(MODEL)
    (tmp_path / "out").mkdir()
    for name in ("model.keras", "model.h5", "notes.txt"):
        (tmp_path / "out" / name).write_bytes(b"old")
    fetch_model(str(tmp_path / "mine.h5"), tmp_path / "out")
    assert contents(tmp_path / "out") == {"model.h5": MODEL, "notes.txt": b"old"}


def test_fetch_model_leaves_the_old_model_when_the_new_one_cannot_be_fetched(
    tmp_path: Path,
) -> None:
    (tmp_path / "model.keras").write_bytes(b"old")
    with pytest.raises(SourceError, match="must be a file, got nothing there"):
        fetch_model("none.h5", tmp_path)
    assert contents(tmp_path) == {"model.keras": b"old"}


# The link that DVC follows, and the folder.


def test_link_source_links_to_the_absolute_path_of_a_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "linked").mkdir()
    monkeypatch.chdir(tmp_path)
    link_source("mine.h5", Path("linked"))
    assert (tmp_path / "linked" / "model").readlink() == tmp_path / "mine.h5"


def test_link_source_replaces_the_link_to_another_model(tmp_path: Path) -> None:
    link_source(str(tmp_path / "first.h5"), tmp_path)
    link_source(str(tmp_path / "second.h5"), tmp_path)
    assert (tmp_path / "model").readlink().name == "second.h5"


@pytest.mark.parametrize("model", ["mlperf_tiny", "sample", "https://host.example/mine.h5"])
def test_link_source_removes_the_link_for_a_model_that_is_no_local_file(
    tmp_path: Path, model: str
) -> None:
    (tmp_path / "mine.h5").write_bytes(MODEL)
    link_source(str(tmp_path / "mine.h5"), tmp_path)
    link_source(model, tmp_path)
    assert names(tmp_path) == ["mine.h5"]


def test_link_source_makes_no_link_for_a_built_in_model(tmp_path: Path) -> None:
    link_source("mlperf_tiny", tmp_path)
    assert names(tmp_path) == []


def test_remove_others_removes_all_but_the_files_to_keep(tmp_path: Path) -> None:
    for name in ("test_batch", "data_batch_1", ".left.tmp"):
        (tmp_path / name).write_bytes(b"x")
    remove_others(tmp_path, keep=["test_batch", "batches.meta"])
    assert contents(tmp_path) == {"test_batch": b"x"}


# The official files.


@pytest.mark.mirror
def test_fetch_cifar10_accepts_the_official_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror = os.environ.get("RESNET8_MIRROR") or pytest.skip("RESNET8_MIRROR is not set")
    monkeypatch.setattr(sources, "CIFAR10_SHA256", OFFICIAL)
    fetch_cifar10(["batches.meta", "test_batch"], tmp_path, mirror=mirror)
    assert names(tmp_path) == ["batches.meta", "test_batch"]


@pytest.mark.mirror
def test_fetch_model_accepts_the_official_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror = os.environ.get("RESNET8_MIRROR") or pytest.skip("RESNET8_MIRROR is not set")
    monkeypatch.setattr(sources, "MLPERF_TINY_SHA256", OFFICIAL_MODEL)
    assert fetch_model("mlperf_tiny", tmp_path, mirror=mirror).stat().st_size == 1_116_712


def test_no_file_of_the_data_set_or_the_model_is_in_git() -> None:
    root = Path(__file__).parents[2]
    command = ["git", "ls-files", "-z"]
    listed = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("the checkout is no Git repository")
    tracked = [root / name for name in listed.stdout.split("\0") if (root / name).is_file()]
    assert root / "README.md" in tracked
    known = {*CIFAR10_SHA256.values(), MLPERF_TINY_SHA256}
    assert not [path for path in tracked if sha256(path.read_bytes()) in known]
