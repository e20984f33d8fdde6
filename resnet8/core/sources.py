"""Where the data and the model come from: upstream hosts, a mirror, or a file.

Nothing is trusted for where it came from: each file is checked by SHA-256 before it takes
its name, so a mirror cannot change a result. Archives are never unpacked; the wanted
members are read out of them one by one.
"""

import bz2
import gzip
import hashlib
import logging
import lzma
import shutil
import tarfile
import time
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import pooch
import requests

from resnet8.core.errors import SourceError
from resnet8.core.files import remove, temporary_beside, written_aside
from resnet8.core.names import BUILT_IN_MODELS, is_url, source_path
from resnet8.core.transfer import Bounded, minimum_rate

CIFAR10_URL = "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz"
CIFAR10_FOLDER = "cifar-10-batches-py"
_ARCHIVE = CIFAR10_URL.rpartition("/")[2]
# SHA-256 of the members of the official archive, whose own is 6d958be0...b001ce.
CIFAR10_SHA256 = {
    "batches.meta": "f962466ef690d46b226450fb9aadc74ba4bc64a76aa526b5827fe4bc5c7125cb",
    "data_batch_1": "54636561a3ce25bd3e19253c6b0d8538147b0ae398331ac4a2d86c6d987368cd",
    "data_batch_2": "766b2cef9fbc745cf056b3152224f7cf77163b330ea9a15f9392beb8b89bc5a8",
    "data_batch_3": "0f00d98ebfb30b3ec0ad19f9756dc2630b89003e10525f5e148445e82aa6a1f9",
    "data_batch_4": "3f7bb240661948b8f4d53e36ec720d8306f5668bd0071dcb4e6c947f78e9682b",
    "data_batch_5": "d91802434d8376bbaeeadf58a737e3a1b12ac839077e931237e0dcd43adcb154",
    "test_batch": "f53d8d457504f7cff4ea9e021afcf0e0ad8e24a91f3fc42091b8adef61157831",
}
# MLPerf Tiny's ResNet8, Apache-2.0, at a fixed commit of github.com/mlcommons/tiny.
MLPERF_TINY_URL = (
    "https://raw.githubusercontent.com/mlcommons/tiny/1afd2c9820f795965a6134facd0b4dfae41ef23f"
    "/benchmark/training/image_classification/trained_models/pretrainedResnet.h5"
)
MLPERF_TINY_SHA256 = "5f938a8eea605438cc7360aa13c987bc6d7bd0c8d931b2917361ae7ae4eeda2f"

logging.getLogger("urllib3").setLevel(logging.ERROR)  # its warnings quote whole addresses

TIMEOUTS_SECONDS = (10, 30)  # to connect, and between two packets
ATTEMPTS = 3
MAX_DOWNLOAD_BYTES = 2**30  # six times the official archive
MAX_UNPACKED_BYTES = 2**28  # of an archive; the official one has 178 MiB
MAX_ENTRIES = 1000  # of an archive that are looked at; the official one has 9
MAX_MEMBER_BYTES = 64 * 2**20  # twice the largest official member
_UNPACK: dict[bytes, Any] = {b"\x1f\x8b": gzip.open, b"BZ": bz2.open, b"\xfd7": lzma.open}


class MissingSourceError(SourceError):
    """The place answers, but does not have the file."""


def _sha256(path: Path) -> str | None:
    if not path.is_file():
        return None
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _verify(path: Path, expected: str | None, source: str) -> None:
    found = _sha256(path)
    if expected is not None and found != expected:
        raise SourceError(
            f"{source} must have SHA-256 {expected}, got {found} ({path.stat().st_size} bytes). "
            "The file is damaged or another one; get it anew."
        )


def _reason(fault: Exception) -> str:
    """What went wrong, without the layers of libraries through which it was passed on."""
    innermost = getattr(fault.args[0], "reason", fault) if fault.args else fault
    return " ".join(str(innermost).split("): ", 1)[-1].rstrip(".").split())


def _download(url: str, out: Path, progress: bool) -> None:
    downloader = pooch.HTTPDownloader(progressbar=progress, timeout=TIMEOUTS_SECONDS)
    remedy = "Check the connection, or set RESNET8_MIRROR to a folder or URL that has the file."
    for attempt in range(1, ATTEMPTS + 1):
        try:
            with out.open("wb") as opened:
                file = Bounded(opened, url, MAX_DOWNLOAD_BYTES)
                with minimum_rate(file, remedy=remedy):
                    downloader(url, file, None)
            return
        except requests.HTTPError as exc:
            status = exc.response.status_code
            if status in (403, 404, 410):  # 403: what object stores answer for a missing key
                raise MissingSourceError(
                    f"{url} must be there, got HTTP status {status}. {remedy}"
                ) from exc
            if status < 500 or attempt == ATTEMPTS:
                raise SourceError(f"{url} must be readable, got HTTP {status}. {remedy}") from exc
        except (requests.RequestException, ValueError) as exc:
            if attempt == ATTEMPTS or isinstance(exc, ValueError):  # of an address or a header
                raise SourceError(
                    f"{url} must be reachable, got {type(exc).__name__} in {attempt} attempts: "
                    f"{_reason(exc)}. {remedy}"
                ) from exc
        time.sleep(attempt)


def _retrieve(source: str, out: Path, progress: bool) -> None:
    """Copies or downloads `source` to `out`, unchecked."""
    if is_url(source):
        _download(source, out, progress)
    elif Path(source).is_file():
        shutil.copyfile(source, out)
    else:
        raise MissingSourceError(
            f"{source} must be a file, got nothing there. Correct fetch.model or RESNET8_MIRROR."
        )


def fetch_file(source: str, out: Path, *, sha256: str | None, progress: bool = False) -> None:
    """Brings one file from a path or URL to `out`, checked, or leaves `out` as it was.

    Args:
        source: a path or an http(s) URL.
        out: where it goes.
        sha256: what its SHA-256 must be; None takes any.
        progress: show a progress bar for downloads.

    Raises:
        SourceError: it is missing, unreachable, incomplete or has another checksum.
    """
    with written_aside(out) as aside:
        _retrieve(source, aside, progress)
        _verify(aside, sha256, source)


def _unpacked(archive: IO[bytes], name: str) -> Any:
    """Opens an archive to be read once from front to back, and not without end."""
    start = archive.read(2)
    archive.seek(0)
    file = _UNPACK[start](archive) if start in _UNPACK else archive
    return Bounded(file, f"{name}, unpacked,", MAX_UNPACKED_BYTES)


def _extract(archive: Path, name: str, members: Sequence[str], folder: Path) -> None:
    """Copies members of CIFAR-10's archive to `folder`, each checked.

    Only regular files with exactly the expected names are read, so no entry can be
    written anywhere else.
    """
    wanted = {f"{CIFAR10_FOLDER}/{member}": member for member in members}
    try:
        with archive.open("rb") as x, tarfile.open(fileobj=_unpacked(x, name), mode="r|") as tar:
            for _, entry in zip(range(MAX_ENTRIES), tar, strict=False):
                content = tar.extractfile(entry) if entry.name in wanted and entry.isreg() else None
                if content is None:
                    continue
                if entry.size > MAX_MEMBER_BYTES:
                    raise SourceError(
                        f"{entry.name} in {name} must be at most {MAX_MEMBER_BYTES} bytes, "
                        f"got {entry.size}."
                    )
                member = wanted.pop(entry.name)
                with written_aside(folder / member) as aside:
                    with aside.open("wb") as out:
                        shutil.copyfileobj(content, out)
                    _verify(aside, CIFAR10_SHA256[member], f"{member} in {name}")
                if not wanted:
                    return
    except (tarfile.TarError, EOFError, lzma.LZMAError, zlib.error, OSError) as exc:
        if isinstance(exc, OSError) and exc.errno is not None:
            raise  # the disk's fault, not the archive's
        raise SourceError(f"{name} must be a complete tar archive, got: {exc}.") from exc
    raise SourceError(f"{name} must hold {', '.join(sorted(wanted))}, got an archive without.")


def _beneath(base: str, name: str) -> str:
    return f"{base.rstrip('/')}/{name}"


def fetch_cifar10(
    members: Sequence[str], folder: Path, *, mirror: str | None = None, progress: bool = False
) -> None:
    """Brings members of CIFAR-10's python version to `folder`; those already there stay.

    Args:
        members: names out of `CIFAR10_SHA256`.
        folder: where they go.
        mirror: a folder or base URL instead of the upstream host. It holds a folder
            `cifar-10-batches-py` with the members, or the official archive.
        progress: show a progress bar for downloads.

    Raises:
        SourceError: a member is missing, unreachable, incomplete or has another checksum.
    """
    missing = [x for x in members if _sha256(folder / x) != CIFAR10_SHA256[x]]
    if not mirror:
        _fetch_archive(CIFAR10_URL, missing, folder, progress)
        return
    try:
        for member in missing:
            source = _beneath(mirror, f"{CIFAR10_FOLDER}/{member}")
            out, sha256 = folder / member, CIFAR10_SHA256[member]
            fetch_file(source, out, sha256=sha256, progress=progress)
    except MissingSourceError:
        try:
            _fetch_archive(_beneath(mirror, _ARCHIVE), missing, folder, progress)
        except MissingSourceError as exc:
            raise SourceError(
                f"{mirror} must hold {', '.join(missing)} in a folder {CIFAR10_FOLDER}, "
                f"or {_ARCHIVE}, got neither. Correct RESNET8_MIRROR."
            ) from exc


def _fetch_archive(source: str, members: Sequence[str], folder: Path, progress: bool) -> None:
    """Takes members out of the archive at `source`."""
    if not members:
        return
    folder.mkdir(parents=True, exist_ok=True)
    # Not in the folder itself, nor in the one that DVC keeps as an output.
    with temporary_beside(folder.parent.parent / _ARCHIVE) as archive:
        _retrieve(source, archive, progress)
        _extract(archive, source, members, folder)


def fetch_model(
    model: str,
    folder: Path,
    *,
    sha256: str | None = None,
    mirror: str | None = None,
    progress: bool = False,
) -> Path:
    """Brings a Keras model to `folder` as `model.h5` or `model.keras`, and no other model.

    Args:
        model: `mlperf_tiny`, or a path or URL with one of these suffixes.
        folder: where it goes.
        sha256: what its SHA-256 must be; built in for `mlperf_tiny`.
        mirror: a folder or base URL instead of the upstream host of `mlperf_tiny`.
        progress: show a progress bar for downloads.

    Returns:
        Its path in `folder`.

    Raises:
        SourceError: it is missing, unreachable, incomplete or has another checksum.
    """
    source, upstream = model, model
    if model == "mlperf_tiny":
        sha256 = MLPERF_TINY_SHA256
        upstream = MLPERF_TINY_URL
        source = _beneath(mirror, upstream.rpartition("/")[2]) if mirror else upstream
    out = folder / f"model{source_path(upstream).suffix}"
    fetch_file(source, out, sha256=sha256, progress=progress)
    for other in folder.glob("model.*"):
        if other != out:
            remove(other)
    return out


def link_source(model: str, folder: Path) -> None:
    """Links `folder/model` to a model file, or to none for a model that cannot change.

    DVC follows the link: `folder` is a dependency of the fetch stage, so a change of the
    file behind `fetch.model` is seen although its path is a parameter.
    """
    link = folder / "model"
    remove(link)
    if model not in BUILT_IN_MODELS and not is_url(model):
        link.symlink_to(Path(model).resolve())


def remove_others(folder: Path, *, keep: Sequence[str]) -> None:
    """Removes the files of a folder but for the names to keep."""
    for path in folder.iterdir():
        if path.name not in keep:
            remove(path)
