"""Writes files whole or not at all, and JSON the same way every time."""

import csv
import errno
import io
import json
import os
import re
import shutil
import tempfile
import tokenize
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resnet8.core.errors import ArtifactError, PipelineError, shown
from resnet8.core.processes import is_orphan

# What NumPy raises for a damaged array file; its header is parsed as a Python literal.
_ARRAY_FAULTS = (
    ArithmeticError,
    EOFError,
    MemoryError,
    SyntaxError,
    TypeError,
    ValueError,
    tokenize.TokenError,
)
_NO_ROOM_BYTES = 2**16
# What `temporary_beside` calls a file, and the process in it.
_TEMPORARY = re.compile(r"\..*\.(\d+)\.tmp.*")


@contextmanager
def temporary_beside(path: Path) -> Iterator[Path]:
    """Gives a new file beside `path` that is gone when the block ends.

    Its name keeps the suffix of `path`, which some libraries read the format from, and says
    which process it belongs to: what a killed one left in the folder is removed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(path.parent)
    aside = path.with_name(f".{path.name}.{os.getpid()}.tmp{path.suffix}")
    try:
        aside.touch()
        yield aside
    except OSError as exc:
        named = {exc.filename, exc.filename2}
        if exc.errno is None or (named != {None} and str(aside) not in named):
            raise
        raise OSError(exc.errno, exc.strerror, str(path)) from exc  # as on a full disk
    finally:
        with suppress(FileNotFoundError, NotADirectoryError):
            aside.unlink()


@contextmanager
def written_aside(path: Path) -> Iterator[Path]:
    """Gives a temporary file beside `path` that takes its place when the block succeeds.

    When the block raises, the temporary file is removed and `path` is as it was. A device or a
    pipe keeps its place and takes the content.

    Raises:
        PipelineError: DVC was killed, so that the place may be another run's.
        OSError: `path` is a folder, or the system cannot write.
    """
    if _is_special(path):
        with tempfile.TemporaryDirectory() as name:
            yield (aside := Path(name, f"content{path.suffix}"))
            path.write_bytes(aside.read_bytes())
        return
    with temporary_beside(path) as aside:
        yield aside
        with aside.open("rb") as file:
            os.fsync(file.fileno())  # a power cut leaves the old file or the new one
        refuse_orphans(path)
        aside.replace(path)


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """Gives a folder, outside of the project, that is gone when the block ends.

    Raises:
        OSError: the disk is full; libraries that write through C++ raise something else then,
            or read back half of what they wrote.
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
    """Removes a file.

    Raises:
        PipelineError: DVC was killed, so that the file may be another run's.
    """
    refuse_orphans(path)
    path.unlink(missing_ok=True)


def refuse_orphans(path: Path) -> None:
    if is_orphan():
        raise PipelineError(
            f"{path} must be changed by a stage that DVC waits for, got one whose DVC is gone. "
            "Run `dvc repro` again."
        )


def _is_special(path: Path) -> bool:
    """Whether there is something other than a regular file."""
    return path.exists() and not path.is_file()


def _remove_abandoned(folder: Path) -> None:
    for path in folder.glob(".*.tmp*"):
        owner = _TEMPORARY.fullmatch(path.name)
        if owner and not _is_alive(int(owner[1])):
            path.unlink(missing_ok=True)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # another user's
        return True
    return True


def write_bytes(path: Path, content: bytes | memoryview) -> None:
    with written_aside(path) as aside:
        aside.write_bytes(content)


def write_in_place(path: Path, content: bytes) -> None:
    """Writes to where a user points: to what a link leads to, not in its place."""
    write_bytes(path if _is_special(path) else Path(os.path.realpath(path)), content)


def write_array(path: Path, array: NDArray[Any]) -> None:
    """Writes an array as .npy, C-contiguous, without pickling."""
    # Not to the file itself: NumPy does not say why the system could not write.
    content = io.BytesIO()
    np.save(content, np.ascontiguousarray(array), allow_pickle=False)
    write_bytes(path, content.getbuffer())


def write_arrays(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Writes named arrays as .npz, uncompressed: the same bytes with every zlib and Python.

    `numpy.savez` asks for headers of large files, which Python 3.11.4 and later write otherwise.
    """
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, array in arrays.items():
            entry = io.BytesIO()
            np.lib.format.write_array(entry, np.asanyarray(array), allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), entry.getbuffer())
    write_bytes(path, content.getbuffer())


def read_array(path: Path) -> NDArray[Any]:
    """Reads a .npy array.

    Raises:
        ArtifactError: the file is missing or no array.
    """
    try:
        with path.open("rb") as file:
            array: NDArray[Any] = np.lib.format.read_array(file, allow_pickle=False)
    except (*_ARRAY_FAULTS, FileNotFoundError) as exc:
        raise ArtifactError(
            f"{path} must be a NumPy array file, got {exc}. Run `dvc repro` to make it again."
        ) from exc
    return array


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Reads the named arrays of a .npz file.

    Raises:
        ArtifactError: the file is missing or holds no arrays.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except (*_ARRAY_FAULTS, AttributeError, FileNotFoundError, zipfile.BadZipFile) as exc:
        raise ArtifactError(
            f"{path} must be a file of NumPy arrays, got {exc}. Run `dvc repro` to make it again."
        ) from exc


def read_bytes(path: Path) -> bytes:
    """Reads a whole file.

    Raises:
        ArtifactError: it is missing.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError as exc:
        raise ArtifactError(f"{path} must exist. Run `dvc repro` to make it.") from exc


def find_model(folder: Path) -> Path:
    """Finds the one Keras file that the fetch stage left in a folder.

    Raises:
        ArtifactError: there is none, or more than one.
    """
    found = sorted(folder.glob("model.*"))
    if len(found) != 1:
        raise ArtifactError(
            f"{folder} must hold one model, got {[path.name for path in found]}. "
            "Run `dvc repro` to make it again."
        )
    return found[0]


def unlink_if_dangling(folder: Path) -> None:
    """Removes the links in a folder that lead nowhere; DVC cannot read past them."""
    for path in folder.glob("*"):
        if path.is_symlink() and not path.exists():
            remove(path)


def csv_bytes(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> bytes:
    """A table as CSV in UTF-8 with a header, whose lines end alike on every system."""
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return out.getvalue().encode()


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Writes JSON with sorted keys and a trailing newline; NaN and infinity are refused."""
    text = json.dumps(content, indent=2, sort_keys=True, allow_nan=False, ensure_ascii=False)
    write_bytes(path, (text + "\n").encode())


def read_json(path: Path) -> Any:
    """Reads a JSON file.

    Raises:
        ArtifactError: the file is missing or no JSON, or a key is there twice.
    """
    try:
        return parse_json(path.read_bytes(), where=str(path))
    except FileNotFoundError as exc:
        raise _no_json(str(path), exc) from exc


def parse_json(content: bytes, *, where: str) -> Any:
    """Parses JSON as `write_json` writes it: each key once, and no NaN or infinity.

    Raises:
        ArtifactError: the content of the file called `where` is something else.
    """
    try:
        return json.loads(content, object_pairs_hook=_distinct, parse_constant=_finite)
    except (RecursionError, ValueError) as exc:
        raise _no_json(where, exc) from exc


def _no_json(where: str, exc: Exception) -> ArtifactError:
    return ArtifactError(
        f"{where} must be a JSON file, got {exc}. Run `dvc repro` to make it again."
    )


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"the key {shown(key)} for the second time")
        found[key] = value
    return found


def _finite(constant: str) -> float:
    raise ValueError(f"{constant}, which is no number")
