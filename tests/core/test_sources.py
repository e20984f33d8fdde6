"""Downloads, mirrors and archives; tests/hostile has servers and archives that are broken."""

import hashlib
import socket
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from resnet8.core import sources
from resnet8.core.errors import SourceError
from resnet8.core.sources import fetch_cifar10, fetch_model, link_source, remove_others
from tests.upstream import ARCHIVE, FOLDER, Server, be_patient, entry, replied, serving, tar

MEMBERS = {
    "batches.meta": b"the names",
    "data_batch_1": b"training images" * 500,
    "test_batch": b"test images" * 700,
}
MODEL = b"a model" * 1000
OFFICIAL, OFFICIAL_MODEL = sources.CIFAR10_SHA256, sources.MLPERF_TINY_SHA256


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with serving(monkeypatch, replied("404 Not Found", b"not here")) as server:
        yield server


@pytest.fixture(autouse=True)
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Makes small files the official ones, and records waiting times instead of sleeping."""
    checksums = {name: sha256(content) for name, content in MEMBERS.items()}
    monkeypatch.setattr(sources, "CIFAR10_SHA256", checksums)
    monkeypatch.setattr(sources, "MLPERF_TINY_SHA256", sha256(MODEL))
    return be_patient(monkeypatch)


def archive(mode: str = "w:gz", **other: bytes) -> bytes:
    """The official archive, but for these members, with a second `test_batch` behind all."""
    members = [*(MEMBERS | other).items(), ("readme.html", b"<html>"), ("test_batch", b"later")]
    folder = entry(FOLDER, b"", type=tarfile.DIRTYPE)
    return tar(folder, *(entry(f"{FOLDER}/{name}", x) for name, x in members), mode=mode)


def written(folder: Path, **files: bytes) -> str:
    """Writes files into a folder, made if needed."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return str(folder)


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, hidden ones too."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


# The model.


@pytest.mark.parametrize("checksum", [sha256(MODEL), None])
def test_fetch_model_copies_or_downloads_under_the_suffix_and_removes_other_models(
    tmp_path: Path, server: Server, checksum: str | None
) -> None:
    written(tmp_path, **{"mine.h5": MODEL})
    url = server.put("/mine.keras?download=1.zip", replied("200 OK", MODEL))
    redirect = server.put("/b.h5", replied("302 Found", Location="/mine.keras?download=1.zip"))
    out = tmp_path / "out"
    for place, name in ((tmp_path / "mine.h5", "h5"), (url, "keras"), (redirect, "h5")):
        written(out, **{"model.h5": b"old", "model.keras": b"old", "notes.txt": b"old"})
        assert fetch_model(str(place), out, sha256=checksum) == out / f"model.{name}"
        assert contents(out) == {f"model.{name}": MODEL, "notes.txt": b"old"}


@pytest.mark.parametrize("mirror", ["folder", "url", None])
def test_fetch_model_brings_mlperf_tiny(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch, mirror: str | None
) -> None:
    folder = written(tmp_path, **{"pretrainedResnet.h5": MODEL})
    url = server.put("/pretrainedResnet.h5", replied("200 OK", MODEL))
    monkeypatch.setattr(sources, "MLPERF_TINY_URL", url)
    places = {"folder": folder, "url": server.url, None: None}
    out = fetch_model("mlperf_tiny", tmp_path / "out", mirror=places[mirror])
    assert (out, out.read_bytes()) == (tmp_path / "out" / "model.h5", MODEL)
    assert bool(server.asked) == (mirror != "folder")


def test_fetch_model_keeps_the_old_model_where_there_is_none(tmp_path: Path) -> None:
    mirror = written(tmp_path / "mirror", **{"m.h5": MODEL})
    out = written(tmp_path / "out", **{"model.h5": b"old", "model.keras": b"old"})
    message = r"^none/m\.h5 must be a file, got nothing there\. Correct fetch\.model or "
    with pytest.raises(SourceError, match=message):
        fetch_model("none/m.h5", Path(out), mirror=mirror)
    assert contents(Path(out)) == {"model.h5": b"old", "model.keras": b"old"}


def test_fetch_model_tries_an_unreachable_host_three_times(
    tmp_path: Path, waits: list[float]
) -> None:
    with socket.socket() as unused:  # no server listens on its port, nor can one start
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/in.h5"
        expected = rf"^{url} must be reachable, got ConnectionError in 3 attempts: .+RESNET8_MIRROR"
        with pytest.raises(SourceError, match=expected):
            fetch_model(url, tmp_path)
    assert waits == [1, 2]
    assert contents(tmp_path) == {}


def test_fetch_model_succeeds_when_a_server_recovers(tmp_path: Path, server: Server) -> None:
    busy, half = (
        replied("503 Busy", b"a longer reply"),
        b"HTTP/1.1 200\r\nContent-Length: 7\r\n\r\nx",
    )
    url = server.put("/in.h5", busy, half, replied("200 OK", b"content"))
    fetch_model(url, tmp_path, sha256=sha256(b"content"))
    assert server.asked == ["/in.h5"] * 3


# CIFAR-10's members.


@pytest.mark.parametrize("mode", ["folder", "w", "w:gz", "w:bz2", "w:xz"])
def test_fetch_cifar10_takes_only_the_asked_members_from_a_mirror_folder(
    tmp_path: Path, mode: str
) -> None:
    mirror = tmp_path / "mirror"
    if mode == "folder":
        written(mirror / FOLDER, **MEMBERS)
    else:
        written(mirror, **{ARCHIVE: archive(mode)})
    fetch_cifar10(["test_batch"], tmp_path / "to" / "out", mirror=str(mirror))
    assert contents(tmp_path / "to") == {"out/test_batch": MEMBERS["test_batch"]}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mirror", "to"]


@pytest.mark.parametrize("place", ["members", "archive", "packed on the way", "upstream"])
def test_fetch_cifar10_downloads_members_or_the_archive(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    for name, content in MEMBERS.items() if place == "members" else ():
        server.put(f"/base/{FOLDER}/{name}", replied("200 OK", content))
    encoding = {"Content_Encoding": "gzip"} if place == "packed on the way" else {}
    url = server.put(f"/base/{ARCHIVE}", replied("200 OK", archive(), **encoding))
    monkeypatch.setattr(sources, "CIFAR10_URL", url)
    mirror = None if place == "upstream" else f"{server.url}/base/"
    fetch_cifar10(list(MEMBERS), tmp_path / "out", mirror=mirror)
    assert contents(tmp_path / "out") == MEMBERS


NEITHER = rf" must hold test_batch in a folder {FOLDER}, or {ARCHIVE}, got neither\."


@pytest.mark.parametrize(
    ("mirror", "message"),
    [
        ("empty", f"empty{NEITHER}"),
        ("http", rf"http\S+{NEITHER}"),
        ("other member", r"test_batch must have SHA-256 .+\(12 bytes\)"),
        ("other archive", r"test_batch in .+ must have SHA-256 .+\(12 bytes\)"),
        ("http/broken", "must be reachable, got HTTPError"),  # and not the archive
    ],
)
def test_fetch_cifar10_keeps_the_old_member_where_a_mirror_has_none_or_another(
    tmp_path: Path, server: Server, mirror: str, message: str
) -> None:
    other = {"test_batch": b"other images"}
    written(tmp_path / "other member" / FOLDER, **other)
    written(tmp_path / "other archive", **{ARCHIVE: archive(**other)})
    server.put(f"/broken/{FOLDER}/test_batch", replied("500 Oh no"))
    server.put(f"/broken/{ARCHIVE}", replied("200 OK", archive()))
    is_url = mirror.startswith("http")
    place = server.url + mirror.removeprefix("http") if is_url else str(tmp_path / mirror)
    out = written(tmp_path / "to" / "out", test_batch=b"old")
    with pytest.raises(SourceError, match=message):
        fetch_cifar10(["test_batch"], Path(out), mirror=place)
    assert contents(tmp_path / "to") == {"out/test_batch": b"old"}


def test_fetch_cifar10_asks_only_for_members_that_are_missing_or_damaged(
    tmp_path: Path, server: Server
) -> None:
    for name, content in MEMBERS.items():
        server.put(f"/{FOLDER}/{name}", replied("200 OK", content))
    written(tmp_path, **MEMBERS | {"test_batch": MEMBERS["test_batch"][:-1]})
    (tmp_path / "data_batch_1").unlink()
    for _ in range(2):
        fetch_cifar10(list(MEMBERS), tmp_path, mirror=server.url)
    assert contents(tmp_path) == MEMBERS
    assert server.asked == [f"/{FOLDER}/data_batch_1", f"/{FOLDER}/test_batch"]
    fetch_cifar10(list(MEMBERS), tmp_path)  # makes no request


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
    written(tmp_path, test_batch=b"x", data_batch_1=b"x", **{".left.tmp": b"x"})
    remove_others(tmp_path, keep=["test_batch", "batches.meta"])
    assert contents(tmp_path) == {"test_batch": b"x"}


# The official files.


def test_no_file_of_the_data_set_or_the_model_is_in_git() -> None:
    root = Path(__file__).parents[2]
    command = ["git", "ls-files", "-z"]
    listed = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("the checkout is no Git repository")
    tracked = [root / name for name in listed.stdout.split("\0") if (root / name).is_file()]
    assert root / "README.md" in tracked
    known = {*OFFICIAL.values(), OFFICIAL_MODEL}
    assert not [path for path in tracked if sha256(path.read_bytes()) in known]
