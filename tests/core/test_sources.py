"""Downloads, mirrors and archives, from a server in this process."""

import hashlib
import io
import os
import socket
import subprocess
import tarfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from resnet8.core import sources
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
    monkeypatch.setattr(sources, "WINDOW_SECONDS", 1800)
    monkeypatch.setattr(sources, "TIMEOUTS_SECONDS", (1800, 1800))  # as a busy machine may take
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


@pytest.mark.parametrize("checksum", [sha256(b"content"), None])
@pytest.mark.parametrize("source", ["path", "url", "redirect"])
def test_fetch_file_copies_a_path_and_downloads_a_url(
    tmp_path: Path, server: Server, source: str, checksum: str | None
) -> None:
    (tmp_path / "in").write_bytes(b"content")
    server.put("/redirect", Reply(status=302, headers={"Location": "/url"}))
    server.put("/url", Reply(b"content"))
    place = str(tmp_path / "in") if source == "path" else f"{server.url}/{source}"
    fetch_file(place, tmp_path / "out", sha256=checksum)
    assert (tmp_path / "out").read_bytes() == b"content"


def test_fetch_file_tells_both_checksums_the_size_and_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(b"other")
    (tmp_path / "out").write_bytes(b"old")
    with pytest.raises(SourceError, match="must have SHA-256") as raised:
        fetch_file(str(tmp_path / "in"), tmp_path / "out", sha256=sha256(b"content"))
    assert str(raised.value) == (
        f"{tmp_path / 'in'} must have SHA-256 {sha256(b'content')}, got {sha256(b'other')} "
        "(5 bytes). The file is damaged or another one; get it anew."
    )
    assert contents(tmp_path) == {"in": b"other", "out": b"old"}


def test_fetch_file_names_a_missing_path(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"/none must be a file, got nothing there\. Correct fet"):
        fetch_file(str(tmp_path / "none"), tmp_path / "out", sha256=None)


def test_fetch_file_tries_an_unreachable_host_three_times_and_leaves_the_old_file(
    tmp_path: Path, closed_port: str, waits: list[float]
) -> None:
    (tmp_path / "out").write_bytes(b"old")
    url = f"{closed_port}/in"
    expected = rf"^{url} must be reachable, got ConnectionError in 3 attempts: .+RESNET8_MIRROR"
    with pytest.raises(SourceError, match=expected):
        fetch_file(url, tmp_path / "out", sha256=None)
    assert waits == [1, 2]
    assert contents(tmp_path) == {"out": b"old"}


@pytest.mark.parametrize("first", [Reply(b"a longer reply", 503), Reply(b"cont", length=7)])
def test_fetch_file_succeeds_when_a_server_recovers(
    tmp_path: Path, server: Server, first: Reply
) -> None:
    url = server.put("/in", first, Reply(b"content"))
    fetch_file(url, tmp_path / "out", sha256=sha256(b"content"))
    assert server.asked == ["/in"] * 2


@pytest.mark.parametrize(
    ("reply", "attempts", "expected"),
    [
        (Reply(status=500), 3, r"must be reachable, got HTTPError in 3 attempts: 500 .+ Check the"),
        (Reply(status=401), 1, "must be reachable, got HTTPError in 1 attempts: 401 "),
        (
            Reply(status=403),
            1,
            "must be reachable, got HTTPError in 1 attempts: 403 .+RESNET8_MIRROR",
        ),
        (Reply(status=404), 1, "must be reachable, got HTTPError in 1 attempts: 404 "),
        (Reply(b"cont", length=7), 3, r"in 3 attempts: .*IncompleteRead\(4 bytes read, 3 more"),
        (Reply(b"<!DOCTYPE html>"), 1, "must have SHA-256 .+, got .+ 15 bytes"),
        (Reply(status=302, headers={"Location": "file:///etc/passwd"}), 1, "InvalidSchema in 1 at"),
    ],
    ids=str,
)
def test_fetch_file_describes_a_useless_reply(
    tmp_path: Path, server: Server, reply: Reply, attempts: int, expected: str
) -> None:
    url = server.put("/in", reply)
    with pytest.raises(SourceError, match=expected.replace("got .+ 15", r"got \w+ \(15")):
        fetch_file(url, tmp_path / "out", sha256=sha256(b"content"))
    assert server.asked == ["/in"] * attempts
    assert contents(tmp_path) == {}


# CIFAR-10's members.


def test_fetch_cifar10_copies_only_the_asked_members_from_a_mirror_folder(tmp_path: Path) -> None:
    mirror = mirror_with_members(tmp_path / "mirror")
    fetch_cifar10(["test_batch"], tmp_path / "out", mirror=mirror)
    assert contents(tmp_path / "out") == {"test_batch": MEMBERS["test_batch"]}


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_fetch_cifar10_takes_only_the_asked_members_out_of_an_archive(
    tmp_path: Path, mode: str
) -> None:
    archive = tar_of(*official_entries(), mode=mode)
    mirror = mirror_with_archive(tmp_path / "mirror", archive)
    fetch_cifar10(["batches.meta"], tmp_path / "to" / "out", mirror=mirror)
    assert contents(tmp_path / "to") == {"out/batches.meta": MEMBERS["batches.meta"]}
    assert names(tmp_path) == ["mirror", "to"]


@pytest.mark.parametrize("place", ["members", "archive", "packed on the way", "upstream"])
def test_fetch_cifar10_downloads_members_or_the_archive(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    for name, content in MEMBERS.items() if place == "members" else ():
        server.put(f"/base/{FOLDER}/{name}", Reply(content))
    encoding = {"Content-Encoding": "gzip"} if place == "packed on the way" else {}
    url = server.put(f"/base/{ARCHIVE}", Reply(tar_of(*official_entries()), headers=encoding))
    monkeypatch.setattr(sources, "CIFAR10_URL", url)
    mirror = None if place == "upstream" else f"{server.url}/base/"
    fetch_cifar10(list(MEMBERS), tmp_path / "out", mirror=mirror)
    assert contents(tmp_path / "out") == MEMBERS


@pytest.mark.parametrize("is_url", [True, False])
def test_fetch_cifar10_tells_both_places_when_a_mirror_has_nothing(
    tmp_path: Path, server: Server, is_url: bool
) -> None:
    mirror = server.url if is_url else str(tmp_path)
    expected = rf"{mirror} must hold test_batch in a folder {FOLDER}, or {ARCHIVE}, got neither\."
    with pytest.raises(SourceError, match=expected):
        fetch_cifar10(["test_batch"], tmp_path / "out", mirror=mirror)


@pytest.mark.parametrize("packed", [True, False])
def test_fetch_cifar10_refuses_a_wrong_member_and_keeps_the_old_one(
    tmp_path: Path, packed: bool
) -> None:
    other = {"test_batch": b"other images"}
    mirror = tmp_path / "mirror"
    if packed:
        mirror_with_archive(mirror, tar_of(*official_entries(**other)))
    else:
        mirror_with_members(mirror, **other)
    (tmp_path / "to" / "out").mkdir(parents=True)
    (tmp_path / "to" / "out" / "test_batch").write_bytes(b"old")
    with pytest.raises(SourceError, match=r"test_batch.* must have SHA-256 .+\(12 bytes\)"):
        fetch_cifar10(["test_batch"], tmp_path / "to" / "out", mirror=str(mirror))
    assert contents(tmp_path / "to") == {"out/test_batch": b"old"}


def test_fetch_cifar10_does_not_fall_back_to_the_archive_of_a_broken_server(
    tmp_path: Path, server: Server
) -> None:
    server.put(f"/{FOLDER}/test_batch", Reply(b"oh no", 500))
    server.put(f"/{ARCHIVE}", Reply(tar_of(*official_entries())))
    with pytest.raises(SourceError, match="must be reachable, got HTTPError"):
        fetch_cifar10(["test_batch"], tmp_path / "out", mirror=server.url)


def test_fetch_cifar10_asks_only_for_members_that_are_missing_or_damaged(
    tmp_path: Path, server: Server
) -> None:
    for name, content in MEMBERS.items():
        server.put(f"/{FOLDER}/{name}", Reply(content))
        (tmp_path / name).write_bytes(content)
    (tmp_path / "test_batch").write_bytes(MEMBERS["test_batch"][:-1])
    (tmp_path / "data_batch_1").unlink()
    for _ in range(2):
        fetch_cifar10(list(MEMBERS), tmp_path, mirror=server.url)
    assert contents(tmp_path) == MEMBERS
    assert server.asked == [f"/{FOLDER}/data_batch_1", f"/{FOLDER}/test_batch"]


def test_fetch_cifar10_asks_nobody_when_all_members_are_there(tmp_path: Path) -> None:
    for name, content in MEMBERS.items():
        (tmp_path / name).write_bytes(content)
    fetch_cifar10(list(MEMBERS), tmp_path)


def test_fetch_cifar10_takes_the_first_of_two_members_of_one_name(tmp_path: Path) -> None:
    first = entry(f"{FOLDER}/test_batch", MEMBERS["test_batch"])
    entries = [first, *official_entries(test_batch=b"later")]
    mirror = mirror_with_archive(tmp_path / "mirror", tar_of(*entries))
    fetch_cifar10(list(MEMBERS), tmp_path / "out", mirror=mirror)
    assert contents(tmp_path / "out") == MEMBERS


# The model.


@pytest.mark.parametrize("mirror", ["folder", "url", None])
def test_fetch_model_brings_mlperf_tiny(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch, mirror: str | None
) -> None:
    (tmp_path / "pretrainedResnet.h5").write_bytes(MODEL)
    url = server.put("/pretrainedResnet.h5", Reply(MODEL))
    monkeypatch.setattr(sources, "MLPERF_TINY_URL", url)
    places = {"folder": str(tmp_path), "url": server.url, None: None}
    out = fetch_model("mlperf_tiny", tmp_path / "out", mirror=places[mirror])
    assert (out, out.read_bytes()) == (tmp_path / "out" / "model.h5", MODEL)
    assert bool(server.asked) == (mirror != "folder")


def test_fetch_model_checks_mlperf_tiny_whatever_the_mirror_gives(tmp_path: Path) -> None:
    (tmp_path / "pretrainedResnet.h5").write_bytes(b"other")
    with pytest.raises(SourceError, match=f"must have SHA-256 {sha256(MODEL)}, got "):
        fetch_model("mlperf_tiny", tmp_path / "out", mirror=str(tmp_path))


def test_fetch_model_keeps_the_suffix_of_a_path_or_url_and_removes_other_models(
    tmp_path: Path, server: Server
) -> None:
    (tmp_path / "mine.h5").write_bytes(MODEL)
    url = server.put("/mine.keras?download=1.zip", Reply(MODEL))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "notes.txt").write_bytes(b"old")
    for source, name in ((str(tmp_path / "mine.h5"), "model.h5"), (url, "model.keras")):
        fetch_model(source, tmp_path / "out", sha256=sha256(MODEL))
        assert contents(tmp_path / "out") == {name: MODEL, "notes.txt": b"old"}


def test_fetch_model_keeps_the_old_model_and_looks_for_others_in_no_mirror(tmp_path: Path) -> None:
    for name in ("mine.h5", "model.keras"):
        (tmp_path / name).write_bytes(b"old")
    with pytest.raises(SourceError, match=r"^none/mine\.h5 must be a file, got nothing there"):
        fetch_model("none/mine.h5", tmp_path, mirror=str(tmp_path))
    assert names(tmp_path) == ["mine.h5", "model.keras"]


# The link that DVC follows, and the folder.


def test_link_source_links_to_the_absolute_path_of_a_local_model_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    link = Path("model")
    for name in ("first.h5", "second.h5"):
        link_source(name, Path())
        assert link.readlink() == tmp_path / name
    for model in ("mlperf_tiny", "sample", "https://host.example/mine.h5"):
        link_source("first.h5", Path())
        link_source(model, Path())
        assert not link.is_symlink()


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
