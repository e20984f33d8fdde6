"""Reads the outputs that the inspection of layers kept."""

import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resnet8.errors import ArtifactError


def read_captures(path: Path) -> dict[str, NDArray[Any]]:
    """Reads named arrays from .npz.

    Raises:
        ArtifactError: the file is missing or holds no arrays.
    """
    try:
        with path.open("rb") as file, np.lib.npyio.NpzFile(file, allow_pickle=False) as arrays:
            return dict(arrays)
    except (EOFError, FileNotFoundError, ValueError, zipfile.BadZipFile, zlib.error) as exc:
        raise ArtifactError(
            f"{path} must hold NumPy arrays, got {exc}. Run `dvc repro` to make it again."
        ) from exc
