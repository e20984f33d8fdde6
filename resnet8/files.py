"""Writes files whole or not at all, and JSON the same way every time."""

import json
import os
import tempfile
import tokenize
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resnet8.errors import ArtifactError

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


@contextmanager
def written_aside(path: Path) -> Iterator[Path]:
    """Gives a temporary path beside `path` that takes its place when the block succeeds.

    The temporary name keeps the suffix, which some libraries read the format from. When
    the block raises, the temporary file is removed and `path` is as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=".", suffix=f".tmp{path.suffix}", dir=path.parent)
    os.close(handle)
    aside = Path(name)
    try:
        yield aside
        aside.chmod(0o666 & ~_umask())
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_bytes(path: Path, content: bytes) -> None:
    with written_aside(path) as aside:
        aside.write_bytes(content)


def write_array(path: Path, array: NDArray[Any]) -> None:
    """Writes an array as .npy, C-contiguous, without pickling."""
    with written_aside(path) as aside, aside.open("wb") as out:
        np.save(out, np.ascontiguousarray(array), allow_pickle=False)


def write_arrays(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Writes named arrays as .npz, the same bytes each time."""
    with written_aside(path) as aside, aside.open("wb") as out:
        np.savez_compressed(out, allow_pickle=False, **arrays)


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


def unlink_if_dangling(folder: Path) -> None:
    """Removes the links in a folder that lead nowhere; DVC cannot read past them."""
    for path in folder.glob("*"):
        if path.is_symlink() and not path.exists():
            path.unlink()


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Writes JSON with sorted keys and a trailing newline; NaN and infinity are refused."""
    text = json.dumps(content, indent=2, sort_keys=True, allow_nan=False, ensure_ascii=False)
    write_bytes(path, (text + "\n").encode())


def read_json(path: Path) -> Any:
    """Reads a JSON file.

    Raises:
        ArtifactError: the file is missing or no JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, FileNotFoundError) as exc:
        raise ArtifactError(
            f"{path} must be a JSON file, got {exc}. Run `dvc repro` to make it again."
        ) from exc
