"""Pickles that would create a file if they were simply loaded."""

import io
import os
import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np

PIXELS = 3 * 32 * 32


class Runs:
    """Pickles to a call."""

    def __init__(self, call: Any, *arguments: Any) -> None:
        self.call, self.arguments = call, arguments

    def __reduce__(self) -> Any:
        return self.call, self.arguments


def creating(marker: Path) -> Runs:
    return Runs(os.system, f"touch {marker}")


def as_a_whole(marker: Path) -> bytes:
    return pickle.dumps(creating(marker), protocol=2)


def beside_a_valid_batch(marker: Path) -> bytes:
    """A batch with every right entry, and one more."""
    return batch(extra=creating(marker))


def as_label_names(marker: Path) -> bytes:
    return pickle.dumps({b"label_names": ["cat", "dog"], b"extra": creating(marker)})


def in_protocol_0(marker: Path) -> bytes:
    """Text, as an editor would write it."""
    return f"cos\nsystem\n(S'touch {marker}'\ntR.".encode()


def by_instance(marker: Path) -> bytes:
    """The old operation INST, which names and calls at once."""
    return f"(S'touch {marker}'\nios\nsystem\n.".encode()


def by_stack_global(marker: Path) -> bytes:
    """Name and module as text on the stack."""
    text = f"touch {marker}".encode()
    command = b"X" + struct.pack("<I", len(text)) + text
    return b"\x80\x04\x8c\x02os\x8c\x06system\x93" + command + b"\x85R."


def by_eval(marker: Path) -> bytes:
    return pickle.dumps(Runs(eval, f"open({str(marker)!r}, 'w').close()"))


def by_numpy(marker: Path) -> bytes:
    """NumPy writes files, too: a method of an allowed class, protocol 4."""
    return pickle.dumps(Runs(np.ndarray.tofile, np.zeros(1, np.uint8), str(marker)))


def by_nested_pickle(marker: Path) -> bytes:
    return pickle.dumps(Runs(pickle.loads, as_a_whole(marker)))


def as_array(marker: Path) -> bytes:
    """An array file of objects."""
    out = io.BytesIO()
    np.save(out, np.array([creating(marker)], dtype=object), allow_pickle=True)
    return out.getvalue()


LIVE = [
    *(as_a_whole, beside_a_valid_batch, as_label_names, in_protocol_0, by_instance),
    *(by_stack_global, by_eval, by_numpy, by_nested_pickle),
]


def batch(**entries: Any) -> bytes:
    """A right batch of two images but for these entries."""
    right = {"data": np.zeros((2, PIXELS), np.uint8), "labels": [3, 8]}
    content = {key.encode(): value for key, value in (right | entries).items()}
    return pickle.dumps(content, protocol=3)


def names(value: Any) -> bytes:
    """A `batches.meta` with these label names."""
    return pickle.dumps({b"label_names": value}, protocol=3)
