"""CIFAR-10's python batch format: read without running what is in it, and written.

The official files are Python 2 pickles. Unpickling may call anything, so the reader allows
three names, all of NumPy's, and puts objects of its own in their place: what a pickle says
never reaches NumPy, whose own unpickling trusts it.

Source: https://www.cs.toronto.edu/~kriz/cifar.html, "Dataset layout".
"""

import io
import math
import pickle
import pickletools
import re
import struct
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from resnet8.core.errors import ArtifactError, shown

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


class _Array:
    """Stands for an array until its state is set; flat bytes become an array, nothing else."""

    values: NDArray[np.uint8] | None = None

    def __init__(self, subtype: object, shape: object, typecode: object) -> None:
        if subtype is not _NDARRAY or shape != (0,) or typecode not in (b"b", "b"):
            raise pickle.UnpicklingError("an array that is no plain NumPy array")

    def __setstate__(self, state: object) -> None:
        match state:
            case (_, tuple(shape), _ByteType(), bool(fortran), bytes(raw)) if all(
                type(n) is int and n >= 0 for n in shape
            ) and math.prod(shape) == len(raw):
                flat = np.frombuffer(raw, np.uint8)
                self.values = flat.reshape(shape, order="F" if fortran else "C")
            case _:
                raise pickle.UnpicklingError("an array with another number of bytes than its shape")


class _ByteType:
    """Stands for NumPy's uint8."""

    def __init__(self, name: object, *_: object) -> None:
        if name not in (b"u1", "u1"):
            raise pickle.UnpicklingError(f"an array of type {shown(name)} instead of uint8")

    def __setstate__(self, state: object) -> None:
        """Takes no byte order or fields: bytes have none."""


class _Allowed:
    """What stands for a name: a pickle may call it, but not change it."""

    def __init__(self, call: Callable[..., object]) -> None:
        self._call = call

    def __call__(self, *arguments: object) -> object:
        return self._call(*arguments)

    def __setstate__(self, state: object) -> None:
        raise pickle.UnpicklingError("a change of what it may call")


_NDARRAY = object()  # stands for numpy.ndarray: a pickle may name the class, but not call it
_ALLOWED = {
    ("numpy.core.multiarray", "_reconstruct"): _Allowed(_Array),
    ("numpy._core.multiarray", "_reconstruct"): _Allowed(_Array),
    ("numpy", "ndarray"): _NDARRAY,
    ("numpy", "dtype"): _Allowed(_ByteType),
}


class _BatchUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ALLOWED[module, name]
        except KeyError:
            call = f"{module}.{name}"
            plain = re.fullmatch(r"[\w.]{1,100}", call)
            raise pickle.UnpicklingError(f"a call of {call if plain else shown(call)}") from None


def _check_cost(content: bytes) -> None:
    """Refuses what lets few bytes take much memory or time; builds nothing.

    A memo index makes the unpickler reserve as many places, and the hash of a tuple (as a
    key) takes as long as the tuple is when all that it refers to is written out.

    Raises:
        pickle.UnpicklingError: that is what the pickle asks for.
    """
    memo: dict[int, str] = {}
    top = ""  # the operation that made what is on top of the stack
    for operation, argument, _ in pickletools.genops(content):
        name = operation.name
        if name in ("DUP", "POP", "POP_MARK"):
            raise pickle.UnpicklingError(f"the operation {name}")
        if "PUT" in name or name == "MEMOIZE":
            index = len(memo) if argument is None else argument
            if index > len(content) or top == "BUILD":
                raise pickle.UnpicklingError(f"a memo of {shown(index)} objects")
            memo[index] = top
            continue
        top = memo.get(int(argument or 0), "") if "GET" in name else name
        if "GET" in name and "TUPLE" in top:
            raise pickle.UnpicklingError("a tuple within several others")


def _read_pickle(content: bytes, name: str) -> dict[bytes, Any]:
    try:
        _check_cost(content)
        found = _BatchUnpickler(io.BytesIO(content), encoding="bytes").load()
    except _PICKLE_FAULTS as exc:
        reason = " ".join(str(exc).split())[:200].rstrip(".") or type(exc).__name__
        raise ArtifactError(
            f"{name} must be a batch of CIFAR-10's python version, got {reason}. Fetch it again."
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
    entry, labels = found.get(b"data"), found.get(b"labels")
    data = entry.values if isinstance(entry, _Array) else None
    if data is None:
        raise ArtifactError(f"{name}: data must be a uint8 array, got {type(entry).__name__}.")
    if data.ndim != 2 or data.shape[1] != N_PIXELS or not len(data):
        raise ArtifactError(
            f"{name}: data must have shape (N, {N_PIXELS}), got {shown(data.shape)}."
        )
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


def decode_label_names(content: bytes, *, name: str) -> list[str]:
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
        raise ArtifactError(f"{name}: label_names must be UTF-8, got {shown(exc.object)}.") from exc
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
