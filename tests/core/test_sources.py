"""Downloads, mirrors and archives; tests/hostile has servers and archives that are broken."""

import hashlib
import os
import socket
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from resnet8.core import sources
from resnet8.core.errors import SourceError
from resnet8.core.sources import (
    fetch_cifar10,
    fetch_file,
    fetch_model,
    link_source,
    remove_others,
)
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
    """Small made-up files as the official ones, and seconds noted instead of waited."""
    checksums = {name: sha256(content) for name, content in MEMBERS.items()}
    monkeypatch.setattr(sources, "CIFAR10_SHA256", checksums)
    monkeypatch.setattr(sources, "MLPERF_TINY_SHA256", sha256(MODEL))
    return be_patient(monkeypatch)


def archive(mode: str = "w:gz", **other: bytes) -> bytes:
    """The official archive, but for these members."""
    return tar(
        entry(FOLDER, b"", type=tarfile.DIRTYPE),
        *(entry(f"{FOLDER}/{name}", content) for name, content in (MEMBERS | other).items()),
        entry(f"{FOLDER}/readme.html", b"<html>"),
        mode=mode,
    )


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


# One file.


@pytest.mark.parametrize("checksum", [sha256(b"content"), None])
@pytest.mark.parametrize("source", ["path", "url", "redirect"])
def test_fetch_file_copies_a_path_and_downloads_a_url(
    tmp_path: Path, server: Server, source: str, checksum: str | None
) -> None:
    written(tmp_path, path=b"content")
    server.put("/redirect", replied("302 Found", Location="/url"))
    server.put("/url", replied("200 OK", b"content"))
    place = str(tmp_path / "path") if source == "path" else f"{server.url}/{source}"
    fetch_file(place, tmp_path / "out", sha256=checksum)
    assert (tmp_path / "out").read_bytes() == b"content"


def test_fetch_file_tells_both_checksums_the_size_and_the_remedy(tmp_path: Path) -> None:
    files = {"in": b"other", "out": b"old"}
    written(tmp_path, **files)
    with pytest.raises(SourceError, match="must have SHA-256") as raised:
        fetch_file(str(tmp_path / "in"), tmp_path / "out", sha256=sha256(b"content"))
    assert str(raised.value) == (
        f"{tmp_path / 'in'} must have SHA-256 {sha256(b'content')}, got {sha256(b'other')} "
        "(5 bytes). The file is damaged or another one; get it anew."
    )
    assert contents(tmp_path) == files


def test_fetch_file_names_a_missing_path(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"/none must be a file, got nothing there\. Correct fet"):
        fetch_file(str(tmp_path / "none"), tmp_path / "out", sha256=None)


def test_fetch_file_tries_an_unreachable_host_three_times_and_leaves_the_old_file(
    tmp_path: Path, waits: list[float]
) -> None:
    written(tmp_path, out=b"old")
    with socket.socket() as unused:  # nobody listens there, nor can begin to
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/in"
        expected = rf"^{url} must be reachable, got ConnectionError in 3 attempts: .+RESNET8_MIRROR"
        with pytest.raises(SourceError, match=expected):
            fetch_file(url, tmp_path / "out", sha256=None)
    assert waits == [1, 2]
    assert contents(tmp_path) == {"out": b"old"}


@pytest.mark.parametrize(
    "first",
    [replied("503 Busy", b"a longer reply"), replied("200 OK", b"cont", Content_Length="7")],
)
def test_fetch_file_succeeds_when_a_server_recovers(
    tmp_path: Path, server: Server, first: bytes
) -> None:
    url = server.put("/in", first, replied("200 OK", b"content"))
    fetch_file(url, tmp_path / "out", sha256=sha256(b"content"))
    assert server.asked == ["/in"] * 2


# CIFAR-10's members.


def test_fetch_cifar10_copies_only_the_asked_members_from_a_mirror_folder(tmp_path: Path) -> None:
    written(tmp_path / "mirror" / FOLDER, **MEMBERS)
    fetch_cifar10(["test_batch"], tmp_path / "out", mirror=str(tmp_path / "mirror"))
    assert contents(tmp_path / "out") == {"test_batch": MEMBERS["test_batch"]}


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_fetch_cifar10_takes_only_the_asked_members_out_of_an_archive(
    tmp_path: Path, mode: str
) -> None:
    mirror = written(tmp_path / "mirror", **{ARCHIVE: archive(mode)})
    fetch_cifar10(["batches.meta"], tmp_path / "to" / "out", mirror=mirror)
    assert contents(tmp_path / "to") == {"out/batches.meta": MEMBERS["batches.meta"]}
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
    if packed:
        written(tmp_path / "mirror", **{ARCHIVE: archive(**other)})
    else:
        written(tmp_path / "mirror" / FOLDER, **MEMBERS | other)
    out = written(tmp_path / "to" / "out", test_batch=b"old")
    with pytest.raises(SourceError, match=r"test_batch.* must have SHA-256 .+\(12 bytes\)"):
        fetch_cifar10(["test_batch"], Path(out), mirror=str(tmp_path / "mirror"))
    assert contents(tmp_path / "to") == {"out/test_batch": b"old"}


def test_fetch_cifar10_does_not_fall_back_to_the_archive_of_a_broken_server(
    tmp_path: Path, server: Server
) -> None:
    server.put(f"/{FOLDER}/test_batch", replied("500 Oh no"))
    server.put(f"/{ARCHIVE}", replied("200 OK", archive()))
    with pytest.raises(SourceError, match="must be reachable, got HTTPError"):
        fetch_cifar10(["test_batch"], tmp_path / "out", mirror=server.url)


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
    fetch_cifar10(list(MEMBERS), tmp_path)  # asks nobody


def test_fetch_cifar10_takes_the_first_of_two_members_of_one_name(tmp_path: Path) -> None:
    entries = [entry(f"{FOLDER}/test_batch", x) for x in (MEMBERS["test_batch"], b"later")]
    mirror = written(tmp_path / "mirror", **{ARCHIVE: tar(*entries)})
    fetch_cifar10(["test_batch"], tmp_path / "out", mirror=mirror)
    assert contents(tmp_path / "out") == {"test_batch": MEMBERS["test_batch"]}


# The model.


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


def test_fetch_model_checks_mlperf_tiny_whatever_the_mirror_gives(tmp_path: Path) -> None:
    mirror = written(tmp_path, **{"pretrainedResnet.h5": b"other"})
    with pytest.raises(SourceError, match=f"must have SHA-256 {sha256(MODEL)}, got "):
        fetch_model("mlperf_tiny", tmp_path / "out", mirror=mirror)


def test_fetch_model_keeps_the_suffix_of_a_path_or_url_and_removes_other_models(
    tmp_path: Path, server: Server
) -> None:
    written(tmp_path, **{"mine.h5": MODEL})
    url = server.put("/mine.keras?download=1.zip", replied("200 OK", MODEL))
    written(tmp_path / "out", **{"notes.txt": b"old"})
    for source, name in ((str(tmp_path / "mine.h5"), "model.h5"), (url, "model.keras")):
        fetch_model(source, tmp_path / "out", sha256=sha256(MODEL))
        assert contents(tmp_path / "out") == {name: MODEL, "notes.txt": b"old"}


def test_fetch_model_keeps_the_old_model_and_looks_for_others_in_no_mirror(tmp_path: Path) -> None:
    files = {"mine.h5": b"old", "model.keras": b"old"}
    with pytest.raises(SourceError, match=r"^none/mine\.h5 must be a file, got nothing there"):
        fetch_model("none/mine.h5", tmp_path, mirror=written(tmp_path, **files))
    assert contents(tmp_path) == files


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


@pytest.mark.mirror
def test_fetch_accepts_the_official_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mirror = os.environ.get("RESNET8_MIRROR") or pytest.skip("RESNET8_MIRROR is not set")
    monkeypatch.setattr(sources, "CIFAR10_SHA256", OFFICIAL)
    monkeypatch.setattr(sources, "MLPERF_TINY_SHA256", OFFICIAL_MODEL)
    fetch_cifar10(["batches.meta", "test_batch"], tmp_path / "raw", mirror=mirror)
    assert contents(tmp_path / "raw").keys() == {"batches.meta", "test_batch"}
    model = fetch_model("mlperf_tiny", tmp_path / "model", mirror=mirror)
    assert model.stat().st_size == 1_116_712


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
