"""CIFAR-10's Python batch format: reading without running code, and writing.

The official files are Python 2 pickles. Unpickling can call any function, so the reader allows
three NumPy names only, and substitutes its own class for them: NumPy's own unpickling trusts its
input, too.

Shape letters: N images, C = 3 channels, H = W = 32 pixels, K classes.

Source: https://www.cs.toronto.edu/~kriz/cifar.html, "Dataset layout".
"""

import io
import pickle
import re
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from resnet8.core.errors import DAMAGE, ArtifactError, reason, shown

IMAGE_SHAPE = (32, 32, 3)  # (H, W, C)
N_PIXELS = 3 * 32 * 32
_TUPLES = pickle.EMPTY_TUPLE, pickle.TUPLE, pickle.TUPLE1, pickle.TUPLE2, pickle.TUPLE3  # opcodes
_ALLOWED = {
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
}


class Batch(NamedTuple):
    """Images and labels of one batch file.

    images: (N, 32, 32, 3) uint8, NHWC.
    labels: (N,) int64, class indices.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]


class _Recorded:
    """Records the arguments and the state of a pickled NumPy object, and builds nothing."""

    state: Any = None

    def __init__(self, *arguments: object) -> None:
        self.arguments = arguments

    def __setstate__(self, state: object) -> None:
        self.state = state


class _Tuple(list[Any]):
    """A pickled tuple. It cannot be a key: hashing nested tuples can take 2^depth steps."""


def _without_hash(load_tuple: Callable[[Any], None]) -> Callable[[Any], None]:
    """Makes an operation that pushes a tuple push a `_Tuple` instead."""

    def load(unpickler: Any) -> None:
        load_tuple(unpickler)
        unpickler.stack[-1] = _Tuple(unpickler.stack[-1])

    return load


class _BatchUnpickler(pickle._Unpickler):  # its twin in C reserves memory for any memo index
    dispatch: ClassVar = pickle._Unpickler.dispatch | {
        opcode[0]: _without_hash(pickle._Unpickler.dispatch[opcode[0]]) for opcode in _TUPLES
    }

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _ALLOWED:
            return _Recorded
        call = f"{module}.{name}"
        plain = re.fullmatch(r"[\w.]{1,100}", call)
        raise pickle.UnpicklingError(f"a call of {call if plain else shown(call)}")


def _read_pickle(content: bytes, name: str) -> dict[Any, Any]:
    try:
        entries = _BatchUnpickler(io.BytesIO(content), encoding="bytes").load()
    except DAMAGE as exc:
        is_refusal = isinstance(exc, pickle.UnpicklingError)
        got = reason(exc) if is_refusal else f"a damaged pickle ({reason(exc)})"
        raise ArtifactError(
            f"{name} must be a batch of CIFAR-10's python version, got {got}. Fetch it again."
        ) from exc
    if not isinstance(entries, dict):
        raise ArtifactError(f"{name} must hold a dictionary, got {type(entries).__name__}.")
    return entries


def _decode_images(entry: object, name: str) -> NDArray[np.uint8]:
    """Decodes a recorded (N, 3072) array, a plane for each channel, as (N, H, W, C)."""
    match entry:  # the state of an array: version, shape, dtype, Fortran order, bytes
        case _Recorded(
            state=(
                _,
                (int(n), int(n_pixels)),
                _Recorded(arguments=(b"u1" | "u1", *_)),
                False,
                bytes(raw),
            )
        ) if n > 0 and n_pixels == N_PIXELS and n * n_pixels == len(raw):
            images_nchw = np.frombuffer(raw, np.uint8).reshape(n, 3, 32, 32)
            return np.ascontiguousarray(images_nchw.transpose(0, 2, 3, 1))
    raise ArtifactError(
        f"{name}: data must be a uint8 array of shape (N, {N_PIXELS}), got another one or "
        f"{type(entry).__name__}."
    )


def read_batch(content: bytes, *, name: str, n_classes: int) -> Batch:
    """Reads the content of `data_batch_N` or `test_batch`, whose labels are below `n_classes`.

    Raises:
        ArtifactError: the content is not a batch, or its shapes, types or labels are wrong.
    """
    entries = _read_pickle(content, name)
    images, labels = _decode_images(entries.get(b"data"), name), entries.get(b"labels")
    if type(labels) is not list or len(labels) != len(images):
        raise ArtifactError(
            f"{name}: labels must be a list of {len(images)} numbers, one per image."
        )
    for label in labels:
        if type(label) is not int or not 0 <= label < n_classes:
            raise ArtifactError(
                f"{name}: labels must be from 0 to {n_classes - 1}, got {shown(label)}."
            )
    return Batch(images, np.array(labels, np.int64))


def join_batches(batches: Sequence[Batch]) -> Batch:
    """Concatenates batches in the given order."""
    images, labels = zip(*batches, strict=True)
    return Batch(np.concatenate(images), np.concatenate(labels))


def decode_label_names(content: bytes, *, name: str) -> list[str]:
    """Reads the class names from `batches.meta`.

    Raises:
        ArtifactError: the names are not two or more different UTF-8 texts.
    """
    names = _read_pickle(content, name).get(b"label_names")
    try:
        decoded = [x.decode() for x in names]  # type: ignore[union-attr]
    except (AttributeError, TypeError, UnicodeDecodeError):
        decoded = []
    if len(decoded) < 2 or len(set(decoded)) != len(decoded) or not all(decoded):
        raise ArtifactError(
            f"{name}: label_names must be two or more different UTF-8 names, got {shown(names)}."
        )
    return decoded


def encode_batch(images: NDArray[np.uint8], labels: list[int], *, name: str) -> bytes:
    """Encodes images (N, 32, 32, 3) and labels as a batch file with the official keys."""
    data = np.ascontiguousarray(images.transpose(0, 3, 1, 2)).reshape(len(images), N_PIXELS)
    content = {
        b"batch_label": name.encode(),
        b"labels": labels,
        b"data": data,
        b"filenames": [f"{name}_{i:05d}.png".encode() for i in range(len(images))],
    }
    return pickle.dumps(content, protocol=3)


def encode_label_names(names: list[str], *, images_per_batch: int) -> bytes:
    """Encodes `batches.meta`."""
    content = {
        b"num_cases_per_batch": images_per_batch,
        b"label_names": [name.encode() for name in names],
        b"num_vis": N_PIXELS,
    }
    return pickle.dumps(content, protocol=3)
