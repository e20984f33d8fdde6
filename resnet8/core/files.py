"""Atomic writes, and readers.

Readers raise an ArtifactError that names the file if it is missing or damaged.
"""

import csv
import errno
import hashlib
import io
import json
import os
import shutil
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from resnet8.core.errors import DAMAGE, ArtifactError, PipelineError, shown
from resnet8.core.processes import is_orphan

Json = Mapping[str, Any]  # content of a JSON file
REMEDY = "Run `dvc repro` to make it again."
_NO_ROOM_BYTES = 2**16  # a disk with no more free space counts as full


@contextmanager
def temporary_beside(path: Path) -> Iterator[Path]:
    """Creates a temporary file in the folder of `path` and deletes it afterwards.

    The name keeps the suffix of `path`, from which some libraries choose the format. A file that
    a killed process left under this name is replaced by a new one.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.tmp{path.suffix}")
    try:
        aside.unlink(missing_ok=True)
        aside.touch()
        yield aside
    except OSError as exc:
        names = {exc.filename, exc.filename2} - {None}
        if exc.errno is None or (names and str(aside) not in names):
            raise  # an error about something else
        raise OSError(exc.errno, exc.strerror, str(path)) from exc
    finally:
        with suppress(FileNotFoundError, NotADirectoryError):
            aside.unlink()


@contextmanager
def written_aside(path: Path) -> Iterator[Path]:
    """Yields a temporary file that replaces `path` when the block succeeds.

    When the block raises, or DVC was killed, `path` stays as it was.
    """
    with temporary_beside(path) as aside:
        yield aside
        with aside.open("rb") as file:
            os.fsync(file.fileno())  # a power cut leaves the old file or the new one
        _refuse_orphans(path)
        aside.replace(path)


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """Creates a temporary folder outside of the project and deletes it afterwards.

    Raises:
        OSError: the disk is full. Libraries that write through C++ raise other errors then, or
            read back a truncated file.
    """
    with tempfile.TemporaryDirectory() as name:
        try:
            yield Path(name)
        except Exception as exc:
            full = isinstance(exc, OSError) and exc.errno == errno.ENOSPC
            if not full and shutil.disk_usage(name).free > _NO_ROOM_BYTES:
                raise
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), name) from exc


def remove(path: Path) -> None:
    """Deletes a file if it exists."""
    _refuse_orphans(path)
    path.unlink(missing_ok=True)


def _refuse_orphans(path: Path) -> None:
    """Refuses to change a file after DVC was killed: it may belong to another run."""
    if is_orphan():
        raise PipelineError(
            f"{path} must be changed by a stage that DVC waits for, got one whose DVC is gone. "
            "Run `dvc repro` again."
        )


def remove_dangling_links(folder: Path) -> None:
    """Deletes the dangling links in a folder; DVC stops at them."""
    for path in folder.glob("*"):
        if path.is_symlink() and not path.exists():
            remove(path)


def write_bytes(path: Path, content: bytes | memoryview) -> None:
    """Writes a file atomically; a device or a pipe is written in place."""
    if path.exists() and not path.is_file():
        path.write_bytes(content)
        return
    with written_aside(path) as aside:
        aside.write_bytes(content)


def write_through_link(path: Path, content: bytes) -> None:
    """Writes to a path that a user gave; a link stays and its target is replaced."""
    is_special = path.exists() and not path.is_file()  # a device or a pipe
    write_bytes(path if is_special else path.resolve(), content)


def write_array(path: Path, array: NDArray[Any]) -> None:
    """Writes an array as .npy, C-contiguous, without pickling."""
    content = io.BytesIO()  # NumPy itself hides why the system could not write
    np.save(content, np.ascontiguousarray(array), allow_pickle=False)
    write_bytes(path, content.getbuffer())


def write_arrays(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Writes named arrays as .npz, uncompressed.

    The bytes do not depend on the versions of zlib and Python, as those of `numpy.savez` do.
    """
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, array in arrays.items():
            entry = io.BytesIO()
            np.lib.format.write_array(entry, np.asanyarray(array), allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), entry.getbuffer())
    write_bytes(path, content.getbuffer())


@contextmanager
def _reading(path: Path | str, kind: str) -> Iterator[None]:
    """Reports a missing or damaged file as an ArtifactError."""
    try:
        yield
    except DAMAGE as exc:
        raise ArtifactError(f"{path} must be {kind}, got {exc}. {REMEDY}") from exc


def read_array(path: Path) -> NDArray[Any]:
    """Reads a .npy array."""
    with _reading(path, "a NumPy array file"), path.open("rb") as file:
        array: NDArray[Any] = np.lib.format.read_array(file, allow_pickle=False)
    return array


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Reads the named arrays of a .npz file."""
    with (
        _reading(path, "a file of NumPy arrays"),
        path.open("rb") as file,
        np.load(file, allow_pickle=False) as arrays,
    ):
        return {name: arrays[name] for name in arrays.files}


def read_bytes(path: Path) -> bytes:
    """Reads a whole file."""
    try:
        return path.read_bytes()
    except FileNotFoundError as exc:
        raise ArtifactError(f"{path} must exist. Run `dvc repro` to make it.") from exc


class Fingerprint(NamedTuple):
    """Identity of a file.

    path: as given.
    sha256: hexadecimal.
    """

    path: str
    size_bytes: int
    sha256: str


def fingerprint(path: Path) -> Fingerprint:
    """Reads a file's size and SHA-256."""
    content = read_bytes(path)
    return Fingerprint(path.as_posix(), len(content), hashlib.sha256(content).hexdigest())


def find_model(folder: Path) -> Path:
    """Returns the path of the one Keras file that stage `fetch` left in a folder."""
    models = sorted(folder.glob("model.*"))
    if len(models) != 1:
        names = [path.name for path in models]
        raise ArtifactError(f"{folder} must hold one model, got {names}. {REMEDY}")
    return models[0]


def csv_bytes(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> bytes:
    """Encodes a table as CSV with a header, in UTF-8 with Unix line ends."""
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return out.getvalue().encode()


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Writes JSON with sorted keys and a trailing newline; rejects NaN and infinity."""
    text = json.dumps(content, indent=2, sort_keys=True, allow_nan=False, ensure_ascii=False)
    write_bytes(path, (text + "\n").encode())


def read_json(path: Path) -> Any:
    """Reads a JSON file without repeated keys, NaN and infinity."""
    with _reading(path, "a JSON file"):
        return parse_json(path.read_bytes(), where=str(path))


def parse_json(content: bytes, *, where: str) -> Any:
    """Parses JSON in UTF-8 without repeated keys, NaN and infinity; `where` is its path."""
    with _reading(where, "a JSON file"):
        return json.loads(content, object_pairs_hook=_reject_repeats, parse_constant=_reject)


def _reject_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    mapping: dict[str, Any] = {}
    for key, value in pairs:
        if key in mapping:
            raise ValueError(f"the key {shown(key)} for the second time")
        mapping[key] = value
    return mapping


def _reject(constant: str) -> float:
    raise ValueError(f"{constant}, which is no number")
