"""Fetches CIFAR-10 and the model from upstream hosts, a mirror, or a file.

Every file is checked by SHA-256 before it takes its final name, so a mirror cannot change a
result. Archives are never unpacked as a whole: only the wanted members are read.
"""

import hashlib
import logging
import lzma
import shutil
import signal
import tarfile
import time
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path

import requests

from resnet8.core.errors import SourceError, reason
from resnet8.core.files import remove, temporary_beside, written_aside
from resnet8.core.names import BUILT_IN_MODELS, is_url, source_path
from resnet8.core.progress import show_progress
from resnet8.core.unpacking import open_tar

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

TIMEOUTS_SECONDS = (10, 30)  # to connect, and between two packets
ATTEMPTS = 3
MAX_DOWNLOAD_BYTES = 2**30  # six times the official archive
MAX_UNPACKED_BYTES = 2**28  # of an archive; the official one has 178 MiB
MAX_ENTRIES = 1000  # of an archive that are looked at; the official one has 9
MAX_MEMBER_BYTES = 64 * 2**20  # twice the largest official member
BLOCK_BYTES = 2**16
WINDOW_SECONDS = 60.0  # a download must bring at least a block within it
_MISSING = (403, 404, 410)  # 403: how object stores answer for a missing key
_REMEDY = "Check the connection, or set RESNET8_MIRROR to a folder or URL that has the file."

logging.getLogger("urllib3").setLevel(logging.ERROR)  # its warnings quote URLs with passwords


class MissingSourceError(SourceError):
    """The host or folder is reachable but does not have the file."""


def fetch_model(
    model: str, folder: Path, *, sha256: str | None = None, mirror: str | None = None
) -> Path:
    """Fetches a Keras model to `folder`, where it replaces any other model.

    Args:
        model: `mlperf_tiny`, or a path or URL.
        folder: gets `model.h5` or `model.keras`, whose path is returned.
        sha256: the expected checksum; None accepts any, and `mlperf_tiny` has its own.
        mirror: a folder or base URL instead of the upstream host of `mlperf_tiny`.

    Raises:
        SourceError: the model is missing, unreachable, incomplete or has another checksum.
    """
    source, suffix = model, source_path(model).suffix
    if model == "mlperf_tiny":
        source, suffix, sha256 = MLPERF_TINY_URL, ".h5", MLPERF_TINY_SHA256
        if mirror:
            source = f"{mirror.rstrip('/')}/{source.rpartition('/')[2]}"
    out = folder / f"model{suffix}"
    with _verified(source, out, sha256) as aside:
        _retrieve(source, aside)
    for other in folder.glob("model.*"):
        if other != out:
            remove(other)
    return out


def link_source(model: str, folder: Path) -> None:
    """Links `folder/model` to a local model file; built-in models and URLs get no link.

    DVC follows the link: with `folder` as a dependency of the fetch stage, DVC notices changes
    of the file behind `fetch.model`.
    """
    link = folder / "model"
    remove(link)
    if model not in BUILT_IN_MODELS and not is_url(model):
        link.symlink_to(Path(model).resolve())


def remove_others(folder: Path, *, keep: Sequence[str]) -> None:
    """Removes all files of a folder except those named."""
    for path in folder.iterdir():
        if path.name not in keep:
            remove(path)


def fetch_cifar10(members: Sequence[str], folder: Path, *, mirror: str | None = None) -> None:
    """Fetches members of CIFAR-10's Python version into `folder`; valid ones there are kept.

    A mirror is a folder or base URL instead of the upstream host. It holds a folder
    `cifar-10-batches-py` with the members, or the official archive.

    Raises:
        SourceError: a member is missing, unreachable, incomplete or has another checksum.
    """
    paths = {member: folder / member for member in members}
    missing = [
        member
        for member, path in paths.items()
        if not path.is_file() or _sha256(path) != CIFAR10_SHA256[member]
    ]
    if not missing:
        return
    if not mirror:
        _fetch_archive(CIFAR10_URL, missing, folder)
        return
    base = mirror.rstrip("/")
    with suppress(MissingSourceError):  # a mirror without the members may have the archive
        for member in missing:
            source = f"{base}/{CIFAR10_FOLDER}/{member}"
            with _verified(source, folder / member, CIFAR10_SHA256[member]) as aside:
                _retrieve(source, aside)
        return
    with suppress(MissingSourceError):
        _fetch_archive(f"{base}/{_ARCHIVE}", missing, folder)
        return
    raise SourceError(
        f"{mirror} must hold {', '.join(missing)} in a folder {CIFAR10_FOLDER}, or {_ARCHIVE}, "
        "got neither. Correct RESNET8_MIRROR."
    )


def _fetch_archive(source: str, members: Sequence[str], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    # Outside of data/raw, which DVC keeps as an output.
    with temporary_beside(folder.parent.parent / _ARCHIVE) as archive:
        _retrieve(source, archive)
        try:
            _extract(archive, source, members, folder)
        except (tarfile.TarError, EOFError, lzma.LZMAError, zlib.error, OSError) as exc:
            if isinstance(exc, OSError) and exc.errno is not None:
                raise  # an error of the disk, not of the archive
            raise SourceError(f"{source} must be a complete tar archive, got: {exc}.") from exc


def _extract(archive: Path, source: str, members: Sequence[str], folder: Path) -> None:
    """Copies members of CIFAR-10's archive to `folder`, each checked.

    Only regular files with exactly the expected names are read, and no path in the archive
    determines where anything is written.
    """
    wanted = {f"{CIFAR10_FOLDER}/{member}": member for member in members}
    with archive.open("rb") as packed, open_tar(packed, source, MAX_UNPACKED_BYTES) as tar:
        for entry in islice(tar, MAX_ENTRIES):
            if not entry.isreg() or entry.name not in wanted:
                continue
            if entry.size > MAX_MEMBER_BYTES:
                raise SourceError(
                    f"{entry.name} in {source} must be at most {MAX_MEMBER_BYTES} bytes, "
                    f"got {entry.size}."
                )
            content = tar.extractfile(entry)
            member = wanted.pop(entry.name)
            where = f"{member} in {source}"
            with _verified(where, folder / member, CIFAR10_SHA256[member]) as aside:
                aside.write_bytes(content.read())  # type: ignore[union-attr]
            if not wanted:
                return
    raise SourceError(
        f"{source} must hold {', '.join(sorted(wanted))}, got an archive without them."
    )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def _verified(source: str, out: Path, sha256: str | None) -> Iterator[Path]:
    """Yields a temporary file, which replaces `out` if it has the checksum; None accepts any."""
    with written_aside(out) as aside:
        yield aside
        actual = _sha256(aside)
        if sha256 not in (None, actual):
            raise SourceError(
                f"{source} must have SHA-256 {sha256}, got {actual} ({aside.stat().st_size} "
                "bytes). The file is damaged or another one; fetch it again."
            )


def _retrieve(source: str, out: Path) -> None:
    """Copies or downloads a file, unchecked."""
    if is_url(source):
        _download(source, out)
    elif Path(source).is_file():
        shutil.copyfile(source, out)
    else:
        raise MissingSourceError(
            f"{source} must be a file, got nothing there. Correct fetch.model or RESNET8_MIRROR."
        )


def _download(url: str, out: Path) -> None:
    for attempt in range(1, ATTEMPTS + 1):
        try:
            with _minimum_rate(url, out):
                _download_once(url, out)
            return
        except (requests.RequestException, ValueError) as exc:
            status = exc.response.status_code if isinstance(exc, requests.HTTPError) else 500
            # Another attempt does not help a malformed URL or header, or a client error.
            if attempt == ATTEMPTS or status < 500 or isinstance(exc, ValueError):
                kind = MissingSourceError if status in _MISSING else SourceError
                # The innermost message: requests and urllib3 wrap errors.
                cause = getattr(exc.args[0], "reason", exc) if exc.args else exc
                got = reason(cause).split("): ", 1)[-1]
                raise kind(
                    f"{url} must be reachable, got {type(exc).__name__} in {attempt} attempts: "
                    f"{got}. {_REMEDY}"
                ) from exc
        time.sleep(attempt)


def _download_once(url: str, out: Path) -> None:
    with (
        requests.get(url, stream=True, timeout=TIMEOUTS_SECONDS) as reply,
        out.open("wb", buffering=0) as file,
    ):
        reply.raise_for_status()
        total = int(reply.headers.get("Content-Length", 0)) // BLOCK_BYTES
        blocks = reply.iter_content(BLOCK_BYTES)
        for block in show_progress(blocks, desc="download", unit="blocks", total=total):
            file.write(block)
            if file.tell() > MAX_DOWNLOAD_BYTES:
                raise SourceError(f"{url} must have at most {MAX_DOWNLOAD_BYTES} bytes, got more.")


@contextmanager
def _minimum_rate(url: str, out: Path) -> Iterator[None]:
    """Interrupts a download that stalls or drips, even while headers are read.

    Uses a signal, because the timeout of a socket restarts with every byte.
    """
    size = 0

    def check(_signal: int, _frame: object) -> None:
        nonlocal size
        before, size = size, out.stat().st_size
        if size - before < BLOCK_BYTES:
            raise SourceError(
                f"{url} must come with at least {BLOCK_BYTES} bytes in {WINDOW_SECONDS:g} seconds, "
                f"got {size - before}. {_REMEDY}"
            )

    signal.signal(signal.SIGALRM, check)
    signal.setitimer(signal.ITIMER_REAL, WINDOW_SECONDS, WINDOW_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
