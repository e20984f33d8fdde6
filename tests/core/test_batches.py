"""CIFAR-10's python batch format, and pickles that are none."""

import os
import pickle
import struct
import tracemalloc
from contextlib import suppress
from pathlib import Path
from typing import Any

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

PLANE = 32 * 32  # bytes of one colour of one image
MANY = settings(max_examples=300, deadline=None, database=None, derandomize=True)
FEW = settings(max_examples=25, deadline=None, database=None, derandomize=True)


def read(content: bytes) -> Batch:
    return read_batch(content, name="test_batch", n_classes=10)


def dumped(**entries: Any) -> bytes:
    """A pickle of a dictionary with bytes as keys; a right batch of two images but for these."""
    right = {"data": np.zeros((2, 3 * PLANE), np.uint8), "labels": [0, 9]}
    content = {key.encode(): value for key, value in (right | entries).items()}
    return pickle.dumps(content, protocol=3)


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


def python2_meta(names: list[bytes]) -> bytes:
    """The bytes of an official `batches.meta`."""
    return (
        b"\x80\x02}q\x01("
        + (short(b"num_cases_per_batch") + b"q\x02M\x10\x27")
        + (short(b"label_names") + b"q\x03]q\x04(" + b"".join(map(short, names)) + b"e")
        + (short(b"num_vis") + b"q\x0fM\x00\x0cu.")
    )


def call(name: str, arguments: str) -> bytes:
    """A protocol 0 pickle that calls `module name` with arguments written as opcodes."""
    module, _, attribute = name.rpartition(".")
    return f"c{module}\n{attribute}\n({arguments}tR.".encode()


def images_of(seed: int, count: int) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)


RED_GREEN_BLUE = bytes([10]) * PLANE + bytes([20]) * PLANE + bytes([30]) * PLANE


@FEW
@given(seed=st.integers(0, 2**32), labels=st.lists(st.integers(0, 9), min_size=1, max_size=4))
def test_encode_batch_writes_a_plane_per_colour_row_after_row(seed: int, labels: list[int]) -> None:
    images = images_of(seed, len(labels))
    content = pickle.loads(encode_batch(images, labels, name="x"), encoding="bytes")
    expected = [[plane.tobytes() for plane in (x[..., 0], x[..., 1], x[..., 2])] for x in images]
    assert [row.tobytes() for row in content[b"data"]] == [b"".join(x) for x in expected]


@FEW
@given(seed=st.integers(0, 2**32), labels=st.lists(st.integers(0, 9), min_size=1, max_size=4))
def test_read_batch_returns_what_encode_batch_was_given(seed: int, labels: list[int]) -> None:
    images = images_of(seed, len(labels))
    batch = read(encode_batch(images, labels, name="x"))
    assert np.array_equal(batch.images, images)
    assert batch.labels.tolist() == labels


def test_encode_batch_writes_the_keys_of_the_official_files() -> None:
    content = pickle.loads(encode_batch(images_of(0, 2), [3, 8], name="test_batch"))
    assert set(content) == {b"batch_label", b"labels", b"data", b"filenames"}


def test_encode_batch_writes_labels_as_plain_numbers() -> None:
    content = pickle.loads(encode_batch(images_of(0, 2), [3, 8], name="test_batch"))
    assert content[b"labels"] == [3, 8]


def test_encode_batch_names_each_image_differently() -> None:
    content = pickle.loads(encode_batch(images_of(0, 3), [3, 8, 1], name="test_batch"))
    assert len(set(content[b"filenames"])) == 3


def test_encode_batch_writes_the_same_bytes_again() -> None:
    first = encode_batch(images_of(0, 2), [3, 8], name="x")
    assert encode_batch(images_of(0, 2), [3, 8], name="x") == first


def test_read_batch_reads_python_2_pickles() -> None:
    batch = read(python2_batch(RED_GREEN_BLUE * 3, [3, 8, 0]))
    assert (batch.images.shape, batch.labels.tolist()) == ((3, 32, 32, 3), [3, 8, 0])


def test_read_batch_puts_red_green_and_blue_last() -> None:
    batch = read(python2_batch(RED_GREEN_BLUE, [0]))
    assert (batch.images == [10, 20, 30]).all()


def test_read_batch_reads_rows_from_the_top_left() -> None:
    pixels = bytearray(3 * PLANE)
    pixels[PLANE + 2 * 32 + 5] = 77  # green, third row, sixth column
    batch = read(python2_batch(bytes(pixels), [0]))
    assert np.argwhere(batch.images).tolist() == [[0, 2, 5, 1]]


def test_read_batch_reads_the_module_name_of_numpy_2() -> None:
    content = python2_batch(RED_GREEN_BLUE, [0])
    renamed = content.replace(b"numpy.core.multiarray", b"numpy._core.multiarray")
    assert len(renamed) == len(content) + 1
    assert (read(renamed).images == [10, 20, 30]).all()


def test_read_batch_gives_images_contiguous_in_memory() -> None:
    assert read(python2_batch(RED_GREEN_BLUE * 2, [0, 1])).images.flags.c_contiguous


def test_read_batch_gives_the_documented_types() -> None:
    batch = read(python2_batch(RED_GREEN_BLUE, [0]))
    assert (batch.images.dtype, batch.labels.dtype) == (np.uint8, np.int64)


def test_read_batch_reads_fortran_order() -> None:
    data = np.asfortranarray(images_of(1, 2).reshape(2, -1))
    expected = read(dumped(data=np.ascontiguousarray(data))).images
    assert np.array_equal(read(dumped(data=data)).images, expected)


# Pickles that would do something if they were simply loaded.


@pytest.mark.parametrize("name", ["os.system", "posix.system", "subprocess.getoutput"])
def test_read_batch_runs_no_command(tmp_path: Path, name: str) -> None:
    hostile = call(name, f"S'touch {tmp_path}/ran'\n")
    with pytest.raises(ArtifactError, match=f"got a call of {name}. Fetch it again"):
        read(hostile)
    assert not (tmp_path / "ran").exists()


def test_read_batch_evaluates_no_expression(tmp_path: Path) -> None:
    hostile = call("builtins.eval", f'S\'open("{tmp_path}/ran", "w").close()\'\n')
    with pytest.raises(ArtifactError, match=r"got a call of builtins\.eval\."):
        read(hostile)
    assert not (tmp_path / "ran").exists()


def test_pickle_itself_would_have_run_the_commands_of_these_tests(tmp_path: Path) -> None:
    pickle.loads(call("os.system", f"S'touch {tmp_path}/ran'\n"))
    assert (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "name",
    [
        "builtins.getattr",
        "copyreg._reconstructor",
        "numpy.fromfile",
        "numpy.load",
        "numpy._core.numeric._frombuffer",
        "numpy._core.multiarray.scalar",
        "resnet8.core.batches._byte_type",
    ],
)
def test_read_batch_refuses_every_other_name(name: str) -> None:
    with pytest.raises(ArtifactError, match=f"must be a batch of .+, got a call of {name}"):
        read(call(name, ""))


def test_read_batch_refuses_an_attribute_of_an_allowed_name() -> None:
    hostile = b"\x80\x04\x8c\x05numpy\x8c\x0endarray.tofile\x93."
    with pytest.raises(ArtifactError, match=r"got a call of numpy\.ndarray\.tofile\."):
        read(hostile)


def test_read_batch_does_not_call_ndarray() -> None:
    with pytest.raises(ArtifactError, match=r"^test_batch must be a batch .* not callable"):
        read(call("numpy.ndarray", "(I3\nt"))


def test_read_batch_makes_no_array_of_a_size_that_the_pickle_asks_for() -> None:
    hostile = call("numpy.core.multiarray._reconstruct", "cnumpy\nndarray\n(I9999999999\ntS'b'\n")
    with pytest.raises(ArtifactError, match="got an array that is no plain NumPy array"):
        read(hostile)


def test_read_batch_makes_no_array_of_another_class() -> None:
    hostile = call("numpy.core.multiarray._reconstruct", "cnumpy\ndtype\n(I0\ntS'b'\n")
    with pytest.raises(ArtifactError, match="got an array that is no plain NumPy array"):
        read(hostile)


def test_read_batch_refuses_a_shape_beyond_all_memory() -> None:
    count = struct.pack("<H", 1) + b"M\x00\x0c\x86"
    huge = b"\x8a\x09" + (2**64 // 4).to_bytes(9, "little") + b"K\x10\x86"
    content = python2_batch(RED_GREEN_BLUE, [0])
    hostile = content.replace(b"M" + count, huge)
    assert hostile != content
    with pytest.raises(ArtifactError, match="another number of bytes than its shape. Fetch it"):
        read(hostile)


def test_read_batch_refuses_more_images_than_there_are_bytes() -> None:
    with pytest.raises(ArtifactError, match="must be a batch of CIFAR-10's python version, got "):
        read(python2_batch(RED_GREEN_BLUE, [0, 1]))


# Files that are damaged or something else.


@pytest.mark.parametrize("content", [b"", b"<!DOCTYPE html>", b"\x1f\x8b\x08\x00", b"\x80\x02}."])
def test_read_batch_refuses_what_is_no_batch(content: bytes) -> None:
    with pytest.raises(ArtifactError, match=r"^test_batch"):
        read(content)


def test_read_batch_tells_what_an_empty_file_must_be_and_what_to_do() -> None:
    with pytest.raises(
        ArtifactError,
        match=r"^test_batch must be a batch of CIFAR-10's python version, "
        r"got pickle exhausted before seeing STOP\. Fetch it again\.$",
    ):
        read(b"")


@FEW
@given(share=st.floats(0, 1, exclude_max=True))
def test_read_batch_refuses_every_truncated_file(share: float) -> None:
    content = python2_batch(RED_GREEN_BLUE, [0])
    with pytest.raises(ArtifactError, match=r"Fetch it again\.$"):
        read(content[: int(share * len(content))])


def only_artifact_errors(content: bytes) -> None:
    """Reads any bytes as both kinds of file."""
    with suppress(ArtifactError):
        batch = read(content)
        assert batch.images.shape == (len(batch.labels), 32, 32, 3)
        assert batch.images.dtype == np.uint8
        assert ((batch.labels >= 0) & (batch.labels < 10)).all()
    with suppress(ArtifactError):
        assert len(set(decode_label_names(content, name="batches.meta"))) > 1


@MANY
@given(content=st.binary(max_size=200))
def test_read_batch_raises_nothing_but_artifact_errors_for_any_bytes(content: bytes) -> None:
    only_artifact_errors(content)


@MANY
@given(
    seed=st.sampled_from(
        [dumped(), python2_batch(bytes(3 * PLANE), [0]), python2_meta([b"a", b"b"])]
    ),
    changes=st.lists(st.tuples(st.integers(0, 400), st.binary(min_size=1, max_size=4)), max_size=4),
    from_end=st.booleans(),
)
def test_read_batch_raises_nothing_but_artifact_errors_for_changed_pickles(
    seed: bytes, changes: list[tuple[int, bytes]], from_end: bool
) -> None:
    content = bytearray(seed)
    for place, inserted in changes:
        at = max(len(content) - place, 0) if from_end else place
        content[at : at + len(inserted)] = inserted
    only_artifact_errors(bytes(content))


# Operations of the pickle machine with small arguments: what random bytes rarely are.
OPERATIONS = [
    b"(", b"]", b"}", b")", b"0", b"1", b"2", b"N", b"\x88", b"K\x01", b"q\x00", b"q\x01", b"h\x00",
    b"h\x01", b"a", b"e", b"s", b"u", b"b", b"R", b"\x81", b"\x85", b"\x86", b"\x87", b"t", b"\x94",
    b"C\x01b", b"C\x02u1", b"C\x04data", b"C\x06labels", b"\x8f", b"\x90", b"\x91",
    b"\x95" + bytes(8), b"cnumpy.core.multiarray\n_reconstruct\n", b"cnumpy\nndarray\n",
    b"cnumpy\ndtype\n", b"cos\nsystem\n",
]  # fmt: skip


@MANY
@given(program=st.lists(st.sampled_from(OPERATIONS), max_size=40))
def test_read_batch_raises_nothing_but_artifact_errors_for_any_program(
    program: list[bytes],
) -> None:
    only_artifact_errors(b"\x80\x03" + b"".join(program) + b".")


@pytest.mark.parametrize(
    "content", [b"\x80\x02}r\xff\xff\xff\x7f.", b"\x80\x02B\xff\xff\xff\x7fx."]
)
def test_read_batch_needs_little_memory_for_few_bytes(content: bytes) -> None:
    tracemalloc.start()
    with pytest.raises(ArtifactError, match="must be a batch"):
        read(content)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**20


def test_read_batch_needs_little_more_memory_than_the_file_has_bytes() -> None:
    content = python2_batch(bytes(3 * PLANE) * 1000, [0] * 1000)
    tracemalloc.start()
    read(content)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5 * len(content)


def test_read_batch_names_the_type_of_what_is_no_dictionary() -> None:
    with pytest.raises(ArtifactError, match=r"^test_batch must hold a dictionary, got list\.$"):
        read(pickle.dumps([]))


@pytest.mark.parametrize(
    ("data", "found"), [(None, "NoneType"), ([0] * 3 * PLANE, "list"), (b"\0" * 3 * PLANE, "bytes")]
)
def test_read_batch_refuses_data_that_is_no_array(data: object, found: str) -> None:
    with pytest.raises(ArtifactError, match=rf"data must be a uint8 array, got {found}\."):
        read(dumped(data=data))


@pytest.mark.parametrize("dtype", ["int8", "uint16", "float32", "bool", "object", "S1"])
def test_read_batch_refuses_another_type_of_array(dtype: str) -> None:
    with pytest.raises(ArtifactError, match=r"got an array of type '.+' instead of uint8"):
        read(dumped(data=np.zeros((2, 3 * PLANE), dtype)))


@pytest.mark.parametrize("shape", [(2, 3071), (0, 3072), (6144,), (2, 3, 32, 32), (3072, 2)])
def test_read_batch_refuses_another_shape(shape: tuple[int, ...]) -> None:
    expected = rf"data must have shape \(N, 3072\), got \({shape[0]},.*\)\.$"
    with pytest.raises(ArtifactError, match=expected):
        read(dumped(data=np.zeros(shape, np.uint8)))


@pytest.mark.parametrize("labels", [[], [1], [1, 2, 3], (1, 2), None, b"\x01\x02"])
def test_read_batch_refuses_labels_that_are_not_one_per_image(labels: object) -> None:
    with pytest.raises(ArtifactError, match="labels must be a list of 2 numbers, one per image"):
        read(dumped(labels=labels))


@pytest.mark.parametrize("label", [10, -1, True, 1.0, "1", b"1", None])
def test_read_batch_refuses_a_label_that_is_no_class_and_shows_it(label: object) -> None:
    with pytest.raises(ArtifactError, match=rf"labels must be from 0 to 9, got {label!r}\.$"):
        read(dumped(labels=[0, label]))


def test_read_batch_refuses_a_label_too_long_to_write_out() -> None:
    with pytest.raises(ArtifactError, match="labels must be from 0 to 9, got a huge int"):
        read(dumped(labels=[0, 10**5000]))


def test_read_batch_takes_the_number_of_classes_from_the_caller() -> None:
    with pytest.raises(ArtifactError, match=r"^x: labels must be from 0 to 8, got 9"):
        read_batch(dumped(), name="x", n_classes=9)


def test_join_batches_keeps_the_given_order() -> None:
    first = Batch(np.full((2, 32, 32, 3), 1, np.uint8), np.array([5, 6]))
    second = Batch(np.full((1, 32, 32, 3), 2, np.uint8), np.array([7]))
    joined = join_batches([second, first])
    assert joined.labels.tolist() == [7, 5, 6]
    assert joined.images[:, 0, 0, 0].tolist() == [2, 1, 1]


# Label names.


def test_encode_label_names_writes_what_the_official_file_has() -> None:
    content = pickle.loads(encode_label_names(["cat", "dog"], images_per_batch=20))
    assert content == {
        b"num_cases_per_batch": 20,
        b"label_names": [b"cat", b"dog"],
        b"num_vis": 3072,
    }


def test_decode_label_names_returns_what_encode_label_names_was_given() -> None:
    content = encode_label_names(["cat", "größe"], images_per_batch=20)
    assert decode_label_names(content, name="batches.meta") == ["cat", "größe"]


def test_decode_label_names_reads_python_2_pickles() -> None:
    content = python2_meta([b"airplane", b"automobile", b"bird"])
    assert decode_label_names(content, name="batches.meta") == ["airplane", "automobile", "bird"]


@pytest.mark.parametrize("names", [["cat", "cat"], ["cat", ""], [""], ["cat"], []])
def test_decode_label_names_refuses_repeated_empty_and_single_names(names: list[str]) -> None:
    content = pickle.dumps({b"label_names": names})
    with pytest.raises(ArtifactError, match=r"^batches\.meta: .* two or more different names\.$"):
        decode_label_names(content, name="batches.meta")


def test_decode_label_names_counts_bytes_and_text_of_a_name_as_the_same() -> None:
    content = pickle.dumps({b"label_names": ["cat", b"cat"]})
    with pytest.raises(ArtifactError, match="must be two or more different names"):
        decode_label_names(content, name="batches.meta")


@pytest.mark.parametrize("name", [b"caf\xe9", "\udc80"])
def test_decode_label_names_refuses_a_name_that_is_not_utf_8_and_shows_it(name: object) -> None:
    content = pickle.dumps({b"label_names": ["cat", name]})
    with pytest.raises(ArtifactError, match=r"label_names must be UTF-8, got b?'(caf)?\\"):
        decode_label_names(content, name="batches.meta")


@pytest.mark.parametrize("names", [None, ("cat", "dog"), ["cat", 1], "cat"])
def test_decode_label_names_refuses_what_is_no_list_of_names(names: object) -> None:
    with pytest.raises(ArtifactError, match="label_names must be a list of names"):
        decode_label_names(pickle.dumps({b"label_names": names}), name="batches.meta")


def test_decode_label_names_calls_nothing() -> None:
    with pytest.raises(ArtifactError, match=r"^batches\.meta must be .*, got a call of os\.getpid"):
        decode_label_names(call("os.getpid", ""), name="batches.meta")


# The official files.


@pytest.fixture(scope="module")
def official() -> Path:
    mirror = os.environ.get("RESNET8_MIRROR", "")
    folder = Path(mirror) / "cifar-10-batches-py"
    if not mirror or not (folder / "test_batch").is_file():
        pytest.skip("RESNET8_MIRROR is no folder with cifar-10-batches-py/test_batch")
    return folder


@pytest.mark.mirror
def test_read_batch_finds_1000_images_of_each_class_in_the_official_test_batch(
    official: Path,
) -> None:
    batch = read((official / "test_batch").read_bytes())
    assert batch.images.shape == (10_000, 32, 32, 3)
    assert np.bincount(batch.labels).tolist() == [1000] * 10


@pytest.mark.mirror
def test_decode_label_names_finds_the_ten_official_names(official: Path) -> None:
    names = decode_label_names((official / "batches.meta").read_bytes(), name="batches.meta")
    assert " ".join(names) == "airplane automobile bird cat deer dog frog horse ship truck"
