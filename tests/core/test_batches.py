"""CIFAR-10's Python batch format: valid, damaged and hostile pickles."""

import pickle
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from resnet8.core.batches import (
    Batch,
    decode_label_names,
    encode_batch,
    encode_label_names,
    join_batches,
    read_batch,
)
from resnet8.core.errors import ArtifactError
from tests.fuzz.targets import read_as_batches
from tests.hostile.payloads import PIXELS, batch, names

PLANE = 32 * 32  # bytes of one colour of one image
FEW = settings(max_examples=25)


def read(content: bytes) -> Batch:
    return read_batch(content, name="test_batch", n_classes=10)


def short(text: bytes) -> bytes:
    """SHORT_BINSTRING, which only Python 2 writes."""
    return b"U" + bytes([len(text)]) + text


def python2_batch(pixels: bytes, labels: list[int]) -> bytes:
    """The bytes that Python 2.7 with NumPy 1 wrote for the official files, protocol 2."""
    count = struct.pack("<H", len(labels))
    return (
        b"\x80\x02}q\x01("
        + (short(b"batch_label") + b"q\x02" + short(b"testing batch 1 of 1") + b"q\x03")
        + (short(b"labels") + b"q\x04]q\x05(" + b"".join(b"K%c" % x for x in labels) + b"e")
        + (short(b"data") + b"q\x06cnumpy.core.multiarray\n_reconstruct\nq\x07")
        + (b"cnumpy\nndarray\nq\x08K\x00\x85" + short(b"b") + b"\x87Rq\x09")
        + (b"(K\x01M" + count + b"M\x00\x0c\x86")
        + (b"cnumpy\ndtype\nq\x0a" + short(b"u1") + b"K\x00K\x01\x87Rq\x0b")
        + (b"(K\x03" + short(b"|") + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89")
        + (b"T" + struct.pack("<i", len(pixels)) + pixels + b"tb")
        + (short(b"filenames") + b"q\x0c]q\x0d(" + short(b"cat.png") * len(labels) + b"eu.")
    )


def images_of(seed: int, count: int) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)


RED_GREEN_BLUE = bytes([10]) * PLANE + bytes([20]) * PLANE + bytes([30]) * PLANE
ONE = python2_batch(RED_GREEN_BLUE, [0])


@FEW
@given(seed=st.integers(0, 2**32), labels=st.lists(st.integers(0, 9), min_size=1, max_size=4))
def test_read_batch_inverts_encode_batch(seed: int, labels: list[int]) -> None:
    images = images_of(seed, len(labels))
    decoded = read(encode_batch(images, labels, name="x"))
    assert np.array_equal(decoded.images, images)
    assert decoded.images.flags.c_contiguous
    assert (decoded.labels.dtype, decoded.labels.tolist()) == (np.int64, labels)


@pytest.mark.parametrize("module", [b"numpy.core.multiarray", b"numpy._core.multiarray"])
def test_read_batch_reads_python_2_pickles(module: bytes) -> None:
    pixels = bytearray(RED_GREEN_BLUE * 3)
    pixels[PLANE + 2 * 32 + 5] = 77  # of the first image: green, third row, sixth column
    content = python2_batch(bytes(pixels), [3, 8, 0])
    decoded = read(content.replace(b"numpy.core.multiarray", module))
    assert (decoded.images.shape, decoded.labels.tolist()) == ((3, 32, 32, 3), [3, 8, 0])
    assert np.argwhere(decoded.images != [10, 20, 30]).tolist() == [[0, 2, 5, 1]]


HUGE_SHAPE = ONE.replace(b"M\x01\x00M\x00\x0c\x86", b"\x8a\x09" + b"\0" * 8 + b"\x40K\x10\x86")
# NumPy's own unpickling would take these flags from the file and follow bytes as pointers.
OTHER_FLAGS = ONE.replace(b"K\x00tb\x89", b"K\x3ftb\x89")
DTYPES = ("int8", "uint16", "float32", "bool", "object", "S1")
SHAPES: list[tuple[int, ...]] = [(2, 3071), (0, PIXELS), (2 * PIXELS,), (2, 3, 32, 32), (PIXELS, 2)]
# Refused batches, by the beginning of the message.
REFUSED: dict[str, list[bytes]] = {
    r" must be a .+, got .+\. Fetch it again\.$": [
        b"",
        b"<!DOCTYPE html>",
        b"\x1f\x8b\x08\x00",
        b"\x80\x7f}.",
        b"Pfile:///etc/passwd\n.",
        b"\x80\x02\x82\x01.",
        b"\x80\x04\x8c\x05numpy\x8c\x0endarray.tofile\x93.",
        b"c%s\nx\n." % (b"a" * 9999),
        b"c\x1b[2J\nx\n.",
        b"\x80\x02cnumpy\ndtype\n}X\x05\x00\x00\x00_callNsb.",
        b"I" + b"9" * 10_000 + b"\n.",
        b"X\xff\xff\xff\xff",
        ONE[: len(ONE) // 2],
        ONE[:-1],
    ],
    r" must be a batch .+, got a call of \w+\.\w+\. ": [
        b"cbuiltins\ngetattr\n(tR.",
        b"ccopyreg\n_reconstructor\n(tR.",
        b"cnumpy\nload\n(tR.",
    ],
    r" must hold a dictionary, got list\.$": [pickle.dumps([1]), b"\x80\x02]q\x00h\x00a."],
    ": data must be a uint8 array of shape": [
        HUGE_SHAPE,
        python2_batch(RED_GREEN_BLUE, [0, 1]),
        *(batch(data=data) for data in (None, [0] * PIXELS, bytes(PIXELS))),
        *(batch(data=np.zeros((2, PIXELS), dtype)) for dtype in DTYPES),
        batch(data=np.zeros(2, [("a", "u1")])),
        *(batch(data=np.zeros(shape, np.uint8)) for shape in SHAPES),
    ],
    ": labels must be a list of 2 numbers, one per image": [
        batch(labels=labels) for labels in ([], [1], [1, 2, 3], (1, 2), None, b"\x01\x02")
    ],
    **{
        rf": labels must be from 0 to 9, got {label!r}\.$": [batch(labels=[0, label])]
        for label in (10, -1, 2**70, True, 1.0, "1", b"1", None)
    },
}


@pytest.mark.parametrize("message", REFUSED)
def test_read_batch_refuses(message: str) -> None:
    for content in REFUSED[message]:
        with pytest.raises(ArtifactError, match=f"^test_batch{message}"):
            read(content)


def test_read_batch_takes_no_type_flags_from_a_pickle() -> None:
    assert read(OTHER_FLAGS).images.dtype.flags == 0


def test_join_batches_keeps_the_given_order() -> None:
    first = Batch(np.full((2, 32, 32, 3), 1, np.uint8), np.array([5, 6]))
    second = Batch(np.full((1, 32, 32, 3), 2, np.uint8), np.array([7]))
    joined = join_batches([second, first])
    assert joined.labels.tolist() == [7, 5, 6]
    assert joined.images[:, 0, 0, 0].tolist() == [2, 1, 1]


# Label names.

PYTHON2_NAMES = (
    b"\x80\x02}q\x01("
    + (short(b"num_cases_per_batch") + b"q\x02M\x10\x27")
    + (short(b"label_names") + b"q\x03]q\x04(" + short(b"cat") + short(b"gr\xc3\xb6\xc3\x9fe"))
    + (b"e" + short(b"num_vis") + b"q\x0fM\x00\x0cu.")
)


def test_decode_label_names_reads_both_kinds_of_pickle() -> None:
    ours = encode_label_names(["cat", "größe"], images_per_batch=10_000)
    assert pickle.loads(ours, encoding="bytes") == pickle.loads(PYTHON2_NAMES, encoding="bytes")
    for content in (ours, PYTHON2_NAMES):
        assert decode_label_names(content, name="batches.meta") == ["cat", "größe"]


@pytest.mark.parametrize(
    "value", [None, b"cat", [b"cat"], [b"cat", b"cat"], [b"cat", b""], [b"cat", 1], [b"a", b"\xe9"]]
)
def test_decode_label_names_refuses_other_names(value: object) -> None:
    expected = r"^batches\.meta: label_names must be two or more different UTF-8 names, got .+\.$"
    with pytest.raises(ArtifactError, match=expected):
        decode_label_names(names(value), name="batches.meta")


# Any bytes, which may raise an ArtifactError only.


@given(
    seed=st.sampled_from([b"", batch(), ONE, PYTHON2_NAMES]),
    changes=st.lists(st.tuples(st.integers(0, 400), st.binary(min_size=1, max_size=4)), max_size=4),
    from_end=st.booleans(),
)
def test_changed_pickles_are_read_or_refused(
    seed: bytes, changes: list[tuple[int, bytes]], from_end: bool
) -> None:
    content = bytearray(seed)
    for place, inserted in changes:
        at = max(len(content) - place, 0) if from_end else place
        content[at : at + len(inserted)] = inserted
    read_as_batches(bytes(content))


# Operations of the pickle machine with small arguments; random bytes rarely form them.
OPERATIONS = [
    b"(", b"]", b"}", b")", b"0", b"1", b"2", b"N", b"\x88", b"K\x01", b"q\x00", b"q\x01", b"h\x00",
    b"h\x01", b"a", b"e", b"s", b"u", b"b", b"R", b"\x81", b"\x85", b"\x86", b"\x87", b"t", b"\x94",
    b"C\x01b", b"C\x02u1", b"C\x04data", b"C\x06labels", b"\x8f", b"\x90", b"\x91",
    b"\x95" + bytes(8), b"cnumpy.core.multiarray\n_reconstruct\n", b"cnumpy\nndarray\n",
    b"cnumpy\ndtype\n", b"cos\nsystem\n",
]  # fmt: skip


@settings(max_examples=300)
@given(program=st.lists(st.sampled_from(OPERATIONS), max_size=40))
def test_any_program_is_read_or_refused(program: list[bytes]) -> None:
    read_as_batches(b"\x80\x03" + b"".join(program) + b".")
