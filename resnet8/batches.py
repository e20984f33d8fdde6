"""CIFAR-10's python batch format: read without running what is in it, and written.

The official files are Python 2 pickles. Unpickling may call anything, so the reader
allows three names, all of NumPy's, and builds nothing but flat arrays of bytes with them.

Source: https://www.cs.toronto.edu/~kriz/cifar.html, "Dataset layout".
"""

import io
import pickle
import struct
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from resnet8.errors import ArtifactError, shown

# Shape letters: N images, C = 3 channels, H = W = 32 pixels, K classes.
IMAGE_SHAPE = (32, 32, 3)  # (H, W, C)
N_PIXELS = 3 * 32 * 32


class Batch(NamedTuple):
    """Images and labels of one batch file.

    images: (N, 32, 32, 3) uint8, NHWC.
    labels: (N,) int64, class indices.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]


# What a damaged or hostile pickle is known to raise.
_PICKLE_FAULTS = (
    pickle.UnpicklingError,
    ArithmeticError,
    AttributeError,
    EOFError,
    ImportError,
    LookupError,
    MemoryError,
    RecursionError,
    TypeError,
    ValueError,
    struct.error,
)
# Stands for numpy.ndarray: a pickle may name the class, but not call it.
_NDARRAY = object()


def _new_array(subtype: object, shape: object, typecode: object) -> NDArray[np.uint8]:
    # What NumPy pickles call to make an array before its state is set; always an empty one.
    if subtype is not _NDARRAY or shape != (0,) or typecode not in (b"b", "b"):
        raise pickle.UnpicklingError("an array that is no plain NumPy array")
    return np.empty(0, np.uint8)


def _byte_type(name: object, *_: object) -> "np.dtype[np.uint8]":
    if name not in (b"u1", "u1"):
        raise pickle.UnpicklingError(f"an array of type {name!r} instead of uint8")
    return np.dtype(np.uint8)


_ALLOWED = {
    ("numpy.core.multiarray", "_reconstruct"): _new_array,
    ("numpy._core.multiarray", "_reconstruct"): _new_array,
    ("numpy", "ndarray"): _NDARRAY,
    ("numpy", "dtype"): _byte_type,
}


class _BatchUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"a call of {module}.{name}") from None


def _read_pickle(content: bytes, name: str) -> dict[bytes, Any]:
    try:
        found = _BatchUnpickler(io.BytesIO(content), encoding="bytes").load()
    except _PICKLE_FAULTS as exc:
        raise ArtifactError(
            f"{name} must be a batch of CIFAR-10's python version, "
            f"got {str(exc) or type(exc).__name__}. Fetch it again."
        ) from exc
    if not isinstance(found, dict):
        raise ArtifactError(f"{name} must hold a dictionary, got {type(found).__name__}.")
    return found


def read_batch(content: bytes, *, name: str, n_classes: int) -> Batch:
    """Reads a batch file.

    Args:
        content: the bytes of `data_batch_N` or `test_batch`.
        name: what to call the file in errors.
        n_classes: labels must be below it.

    Raises:
        ArtifactError: the content is no batch, or its shapes, types or labels are off.
    """
    found = _read_pickle(content, name)
    data, labels = found.get(b"data"), found.get(b"labels")
    if not isinstance(data, np.ndarray) or data.dtype != np.uint8:
        raise ArtifactError(f"{name}: data must be a uint8 array, got {type(data).__name__}.")
    if data.ndim != 2 or data.shape[1] != N_PIXELS or not len(data):
        raise ArtifactError(f"{name}: data must have shape (N, {N_PIXELS}), got {data.shape}.")
    if not isinstance(labels, list) or len(labels) != len(data):
        raise ArtifactError(f"{name}: labels must be a list of {len(data)} numbers, one per image.")
    wrong = [x for x in labels if type(x) is not int or not 0 <= x < n_classes]
    if wrong:
        first = shown(wrong[0])
        raise ArtifactError(f"{name}: labels must be from 0 to {n_classes - 1}, got {first}.")
    images_nchw = data.reshape(-1, 3, 32, 32)
    images = np.ascontiguousarray(images_nchw.transpose(0, 2, 3, 1))  # (N, H, W, C)
    return Batch(images, np.array(labels, np.int64))


def join_batches(batches: Sequence[Batch]) -> Batch:
    """Joins batches in the given order."""
    images, labels = zip(*batches, strict=True)
    return Batch(np.concatenate(images), np.concatenate(labels))


def read_label_names(content: bytes, *, name: str) -> list[str]:
    """Reads the class names from `batches.meta`.

    Raises:
        ArtifactError: there are no names, or one is empty, repeated or not UTF-8.
    """
    names = _read_pickle(content, name).get(b"label_names")
    if not isinstance(names, list) or not all(isinstance(x, bytes | str) for x in names):
        raise ArtifactError(f"{name}: label_names must be a list of names.")
    try:
        encoded = [x if isinstance(x, bytes) else x.encode() for x in names]
        decoded = [x.decode() for x in encoded]
    except (UnicodeDecodeError, UnicodeEncodeError) as exc:
        raise ArtifactError(f"{name}: label_names must be UTF-8, got {exc.object!r}.") from exc
    if len(decoded) < 2 or len(set(decoded)) != len(decoded) or not all(decoded):
        raise ArtifactError(f"{name}: label_names must be two or more different names.")
    return decoded


def encode_batch(images: NDArray[np.uint8], labels: list[int], *, name: str) -> bytes:
    """Writes images (N, 32, 32, 3) and labels the way CIFAR-10's authors did."""
    data = np.ascontiguousarray(images.transpose(0, 3, 1, 2)).reshape(len(images), N_PIXELS)
    content = {
        b"batch_label": name.encode(),
        b"labels": labels,
        b"data": data,
        b"filenames": [f"{name}_{i:05d}.png".encode() for i in range(len(images))],
    }
    return pickle.dumps(content, protocol=3)


def encode_label_names(names: list[str], *, images_per_batch: int) -> bytes:
    """Writes `batches.meta`."""
    content = {
        b"num_cases_per_batch": images_per_batch,
        b"label_names": [name.encode() for name in names],
        b"num_vis": N_PIXELS,
    }
    return pickle.dumps(content, protocol=3)
