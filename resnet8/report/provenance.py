"""Says which files a result was made from."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from resnet8.core.files import find_model, read_bytes


class Fingerprint(NamedTuple):
    """What tells a file from any other.

    path: as it was given.
    sha256: hexadecimal.
    """

    path: str
    size_bytes: int
    sha256: str


def fingerprint(path: Path) -> Fingerprint:
    """Reads a file's size and SHA-256.

    Raises:
        ArtifactError: it is missing.
    """
    content = read_bytes(path)
    return Fingerprint(path.as_posix(), len(content), hashlib.sha256(content).hexdigest())


def model_paths(variants: Sequence[str], folder: Path, *, raw: Path) -> dict[str, Path]:
    """The model file of each variant.

    Args:
        variants: as in `Params.variants`.
        folder: holds `<variant>.onnx` and `<variant>.pt2`.
        raw: holds the Keras model.

    Raises:
        ArtifactError: `raw` holds no model.
    """
    keras = find_model(raw)
    suffixes = {"onnx": "onnx", "torch": "pt2"}
    return {
        name: keras
        if name == "keras_fp32"
        else folder / f"{name}.{suffixes[name.partition('_')[0]]}"
        for name in variants
    }
