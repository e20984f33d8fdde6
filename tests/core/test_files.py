"""Atomic writes, and files that are missing or damaged."""

import errno
import hashlib
import math
import os
import pickle
import shutil
import stat
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resnet8.core.errors import ArtifactError, PipelineError
from resnet8.core.files import (
    csv_bytes,
    find_model,
    fingerprint,
    read_array,
    read_arrays,
    read_bytes,
    read_json,
    remove,
    remove_dangling_links,
    scratch_folder,
    temporary_beside,
    write_array,
    write_arrays,
    write_bytes,
    write_json,
    write_through_link,
    written_aside,
)
from tests.hostile import payloads


def names(folder: Path) -> list[str]:
    """Everything in a folder, hidden files too."""
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A file alone in its folder."""
    (tmp_path / "a.bin").write_bytes(b"old, and longer than the new content")
    return tmp_path / "a.bin"


def test_written_aside_replaces_a_file_when_the_block_ends(old: Path) -> None:
    before = old.read_bytes()
    with old.open("rb") as reader:
        with written_aside(old) as aside:
            aside.write_bytes(b"new")
            assert (aside.parent, aside.suffix) == (old.parent, ".bin")
            assert old.read_bytes() == before
        assert reader.read() == before  # a reader of the old file keeps its content
    assert (old.read_bytes(), names(old.parent)) == (b"new", ["a.bin"])


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (RuntimeError("half way"), "^half way$"),
        (KeyboardInterrupt("half way"), "^half way$"),
        (OSError(errno.ENOSPC, "No space left"), r"No space left: '.*/a\.bin'$"),
        (OSError(errno.EIO, "I/O", "source", None, "ASIDE"), r"I/O: '.*/a\.bin'$"),
        (OSError(errno.EIO, "I/O", "source"), r"I/O: 'source'$"),
        (OSError("no reason"), "^no reason$"),
    ],
)
def test_written_aside_leaves_the_old_file_when_the_block_raises_and_names_it(
    old: Path, fault: Any, message: str
) -> None:
    def write() -> None:
        with written_aside(old) as aside:
            if isinstance(fault, OSError) and fault.filename2:
                fault.filename2 = str(aside)
            raise fault

    before = old.read_bytes()
    with pytest.raises(type(fault), match=message):
        write()
    assert (old.read_bytes(), names(old.parent)) == (before, ["a.bin"])


def test_write_bytes_makes_folders_but_does_not_replace_one(tmp_path: Path) -> None:
    write_bytes(tmp_path / "x" / "y", b"new")
    with pytest.raises(IsADirectoryError, match="Is a directory"):
        write_bytes(tmp_path / "x", b"new")
    assert names(tmp_path) == ["x"]


def test_write_bytes_gives_the_mode_that_the_umask_asks_for(tmp_path: Path) -> None:
    for mask, mode in ((0o022, 0o644), (0o077, 0o600)):
        before = os.umask(mask)
        write_bytes(tmp_path / "a.bin", b"new")
        assert os.umask(before) == mask
        assert stat.S_IMODE((tmp_path / "a.bin").stat().st_mode) == mode


@pytest.mark.parametrize("change", [lambda path: write_bytes(path, b"stale"), remove])
def test_an_orphan_changes_no_file(old: Path, monkeypatch: pytest.MonkeyPatch, change: Any) -> None:
    monkeypatch.setattr("resnet8.core.files.is_orphan", lambda: True)
    before = old.read_bytes()
    with pytest.raises(PipelineError, match=r"a\.bin must be changed by a stage that DVC waits"):
        change(old)
    assert (old.read_bytes(), names(old.parent)) == (before, ["a.bin"])
    monkeypatch.undo()
    for _ in range(2):  # a missing file counts as removed
        remove(old)
    assert names(old.parent) == []


def test_temporary_beside_replaces_what_a_killed_process_left(tmp_path: Path) -> None:
    with temporary_beside(tmp_path / "x" / "a.tar.gz") as aside:
        os.link(aside, tmp_path / "of another process")
        aside.write_bytes(b"half")
        with temporary_beside(tmp_path / "x" / "a.tar.gz") as following:
            assert (following.read_bytes(), following.suffix) == (b"", ".gz")
    assert names(tmp_path / "x") == []
    assert (tmp_path / "of another process").read_bytes() == b"half"


@pytest.mark.parametrize(
    ("free", "fault", "expected"),
    [
        (10**9, ValueError("a defect"), (ValueError, "^a defect$")),
        (10**9, OSError(errno.ENOSPC, "full"), (OSError, r"No space left on device: '.+'$")),
        (0, ValueError("half a model"), (OSError, r"No space left on device: '.+'$")),
    ],
)
def test_scratch_folder_takes_any_error_on_a_full_disk_for_the_lack_of_room(
    monkeypatch: pytest.MonkeyPatch, free: int, fault: Exception, expected: Any
) -> None:
    def fail() -> None:
        with scratch_folder() as folder:
            folders.append(folder)
            (folder / "a.bin").touch()
            raise fault

    folders: list[Path] = []
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 0, free))
    with pytest.raises(expected[0], match=expected[1]):
        fail()
    assert not folders[0].exists()


@pytest.mark.parametrize("target", ["there", "new"])
def test_write_through_link_keeps_a_link_and_writes_its_target(tmp_path: Path, target: str) -> None:
    (tmp_path / "there").write_bytes(b"old")
    (tmp_path / "link").symlink_to(tmp_path / target)
    write_through_link(tmp_path / "link", b"x")
    assert (tmp_path / target).read_bytes() == b"x"
    assert (tmp_path / "link").is_symlink()


def test_remove_dangling_links_removes_only_links_that_lead_nowhere(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    (tmp_path / "good").symlink_to(tmp_path / "file")
    (tmp_path / "bad").symlink_to(tmp_path / "gone")
    remove_dangling_links(tmp_path)
    assert names(tmp_path) == ["file", "good"]


def test_fingerprint_is_the_sha256_that_fips_180_gives(tmp_path: Path) -> None:
    path = tmp_path / "abc"
    path.write_bytes(b"abc")
    # Source: FIPS 180-4, example of SHA-256 for "abc".
    known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert fingerprint(path) == (path.as_posix(), 3, known)


def test_find_model_finds_exactly_one(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"must hold one model, got \[\]\. Run `dvc repro`"):
        find_model(tmp_path)
    (tmp_path / "model.h5").touch()
    assert find_model(tmp_path) == tmp_path / "model.h5"
    (tmp_path / "model.keras").touch()
    with pytest.raises(ArtifactError, match=r"got \['model\.h5', 'model\.keras'\]"):
        find_model(tmp_path)


# Forms of content.


def test_write_array_writes_numpys_format_in_c_order(tmp_path: Path) -> None:
    array = np.arange(12, dtype=np.float32).reshape(3, 4)
    write_array(tmp_path / "c", array)
    write_array(tmp_path / "f", np.asfortranarray(array))
    assert (tmp_path / "c").read_bytes() == (tmp_path / "f").read_bytes()
    for loaded in (np.load(tmp_path / "c", allow_pickle=False), read_array(tmp_path / "c")):
        assert (loaded.dtype, loaded.tolist()) == (np.float32, array.tolist())
    with pytest.raises(ValueError, match="Object arrays cannot be saved"):
        write_array(tmp_path / "a.npy", np.array([{}], dtype=object))
    assert names(tmp_path) == ["c", "f"]


def test_write_arrays_writes_the_same_bytes_with_every_python(tmp_path: Path) -> None:
    arrays = {"codes": np.arange(6, dtype=np.int8).reshape(2, 3), "bias": np.float32([0.5])}
    write_arrays(tmp_path / "a.npz", arrays)
    loaded = read_arrays(tmp_path / "a.npz")
    assert list(loaded) == list(arrays)
    assert all(np.array_equal(loaded[name], arrays[name]) for name in arrays)
    # With Python 3.11.2 and 3.11.7, whose zipfile writes the headers of large files otherwise.
    digest = "e5b72b2089b30b76fcc5a2c750142b9e9384d4191bd87f9797a5f4be3071c0db"
    assert hashlib.sha256((tmp_path / "a.npz").read_bytes()).hexdigest() == digest


def test_write_json_sorts_keys_at_every_level(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"é": {"d": 1, "c": 2}, "a": [3]})
    text = '{\n  "a": [\n    3\n  ],\n  "é": {\n    "c": 2,\n    "d": 1\n  }\n}\n'
    assert (tmp_path / "a.json").read_bytes() == text.encode()
    assert read_json(tmp_path / "a.json") == {"é": {"d": 1, "c": 2}, "a": [3]}
    for number in (math.nan, math.inf):
        with pytest.raises(ValueError, match="not JSON compliant"):
            write_json(tmp_path / "b.json", {"x": number})
    assert names(tmp_path) == ["a.json"]


def test_csv_bytes_keep_every_digit_and_quote_alike_everywhere() -> None:
    table = [("cat, big", 'a "dog"', math.pi), ("dög", "cat", 1.5e-07)]
    text = 'actual,predicted,x\n"cat, big","a ""dog""",3.141592653589793\ndög,cat,1.5e-07\n'
    assert csv_bytes(("actual", "predicted", "x"), table) == text.encode()
    assert csv_bytes(["x"], []) == b"x\n"


# Damaged files.


def saved(array: Any, folder: Path) -> bytes:
    np.save(folder / "x.npy", array, allow_pickle=True)
    return (folder / "x.npy").read_bytes()


def refuse(path: Path, reader: Any, content: bytes, message: str) -> None:
    path.write_bytes(content)
    with pytest.raises(ArtifactError, match=rf"/a must be a {message}.* Run `dvc repro` to make "):
        reader(path)


NO_ARRAYS = {
    "nothing": lambda content: b"",
    "a page": lambda content: b"<!DOCTYPE html>",
    "magic alone": lambda content: b"\x93NUMPY",
    "a pickle": lambda content: pickle.dumps([1]),
    "an archive": lambda content: b"PK\x03\x04" + bytes(100),
    "a future version": lambda content: b"\x93NUMPY\x09\x00\x10\x00" + bytes(16),
    "brackets": lambda content: b"\x93NUMPY\x01\x00\x10\x00" + b"(" * 16,
    "a broken header": lambda content: content.replace(b"}", b"("),
    "code": lambda content: content.replace(b"{'descr'", b"exit(0)+1"),
    "exabytes": lambda content: content.replace(b"(3,), }" + b" " * 16, b"(%d,), }" % 2**60),
    "a huge shape": lambda content: content.replace(b"(3,), }" + b" " * 29, b"(%030d,), }" % 1),
    "a negative shape": lambda content: content.replace(b"(3,), } ", b"(-3,), }"),
}


@pytest.mark.parametrize("case", NO_ARRAYS)
def test_array_readers_refuse_other_content(tmp_path: Path, case: str) -> None:
    content = saved(np.zeros(3, np.uint8), tmp_path)
    damaged = NO_ARRAYS[case](content)
    assert damaged != content
    refuse(tmp_path / "a", read_array, damaged, "NumPy array file, got ")
    refuse(tmp_path / "a", read_arrays, damaged, "file of NumPy arrays, got ")


@settings(max_examples=30)
@given(share=st.floats(0, 1, exclude_max=True))
def test_read_array_refuses_every_truncated_file(
    tmp_path_factory: pytest.TempPathFactory, share: float
) -> None:
    folder = tmp_path_factory.mktemp("truncated")
    content = saved(np.arange(300, dtype=np.uint8), folder)
    refuse(folder / "a", read_array, content[: int(share * len(content))], "NumPy array file")


def test_readers_refuse_objects_other_files_and_damaged_ones(tmp_path: Path) -> None:
    path, objects = tmp_path / "a", payloads.as_array(tmp_path / "ran")
    refuse(path, read_array, objects, "NumPy array file, got Object arrays cannot be loaded")
    assert not (tmp_path / "ran").exists()
    refuse(path, read_arrays, saved(np.arange(3), tmp_path), "file of NumPy arrays, got ")
    write_arrays(path, {"x": np.zeros(1000)})
    content = bytearray(path.read_bytes())
    content[500] ^= 1
    refuse(path, read_arrays, bytes(content), "file of NumPy arrays, got Bad CRC")


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"{'x': 1}", b'"\xff"', b'{"x": 1, "x": 1}', b'{"x": NaN}', b"[" * 100_000],
    ids=lambda content: repr(content[:10]),
)
def test_read_json_refuses_other_forms(tmp_path: Path, content: bytes) -> None:
    refuse(tmp_path / "a", read_json, content, "JSON file, got ")


@pytest.mark.parametrize("reader", [read_bytes, read_json, read_array, read_arrays])
def test_readers_name_a_missing_file_and_the_remedy(tmp_path: Path, reader: Any) -> None:
    with pytest.raises(ArtifactError, match=r"none must .+ Run `dvc repro` to make it"):
        reader(tmp_path / "none")
