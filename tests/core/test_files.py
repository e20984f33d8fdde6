"""Files are written whole or not at all."""

import errno
import hashlib
import json
import math
import os
import shutil
import stat
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resnet8.core.errors import ArtifactError, PipelineError
from resnet8.core.files import (
    read_array,
    read_arrays,
    read_bytes,
    read_json,
    remove,
    scratch_folder,
    temporary_beside,
    unlink_if_dangling,
    write_array,
    write_arrays,
    write_bytes,
    write_in_place,
    write_json,
    written_aside,
)


def names(folder: Path) -> list[str]:
    """Everything in a folder, hidden files too."""
    return sorted(path.name for path in folder.iterdir())


def fail_half_way(path: Path, fault: BaseException) -> None:
    with written_aside(path) as aside:
        aside.write_bytes(b"half")
        raise fault


@pytest.fixture
def umask() -> Iterator[None]:
    """Sets the umask back."""
    old = os.umask(0o022)
    yield
    os.umask(old)


def test_written_aside_puts_the_content_in_place(tmp_path: Path) -> None:
    with written_aside(tmp_path / "a.bin") as aside:
        aside.write_bytes(b"new")
    assert (tmp_path / "a.bin").read_bytes() == b"new"


def test_written_aside_leaves_no_temporary_file(tmp_path: Path) -> None:
    with written_aside(tmp_path / "a.bin") as aside:
        aside.write_bytes(b"new")
    assert names(tmp_path) == ["a.bin"]


def test_written_aside_leaves_the_old_file_until_the_block_ends(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    with written_aside(path) as aside:
        aside.write_bytes(b"new")
        assert path.read_bytes() == b"old"


def test_written_aside_leaves_the_old_content_to_whoever_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    with path.open("rb") as reader:
        write_bytes(path, b"new")
        assert reader.read() == b"old"


def test_written_aside_leaves_the_old_file_when_the_block_raises(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    with pytest.raises(RuntimeError, match="half way"):
        fail_half_way(path, RuntimeError("half way"))
    assert path.read_bytes() == b"old"


def test_written_aside_leaves_no_temporary_file_when_the_block_raises(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="half way"):
        fail_half_way(tmp_path / "a.bin", RuntimeError("half way"))
    assert names(tmp_path) == []


def test_written_aside_leaves_no_temporary_file_on_ctrl_c(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt, match="now"):
        fail_half_way(tmp_path / "a.bin", KeyboardInterrupt("now"))
    assert names(tmp_path) == []


def test_written_aside_leaves_no_temporary_file_when_the_place_is_taken(tmp_path: Path) -> None:
    (tmp_path / "a.bin").mkdir()
    with pytest.raises(IsADirectoryError, match="Is a directory"):
        write_bytes(tmp_path / "a.bin", b"new")
    assert names(tmp_path) == ["a.bin"]


@pytest.mark.parametrize("name", ["model.h5", "model.keras", "images.npy", "test_batch"])
def test_written_aside_keeps_the_suffix(tmp_path: Path, name: str) -> None:
    with written_aside(tmp_path / name) as aside:
        assert aside.suffix == Path(name).suffix or Path(name).suffix == ""


def test_written_aside_writes_beside_the_file(tmp_path: Path) -> None:
    with written_aside(tmp_path / "a.bin") as aside:
        assert aside.parent == tmp_path


def test_written_aside_makes_the_folder(tmp_path: Path) -> None:
    with written_aside(tmp_path / "x" / "y" / "a.bin") as aside:
        aside.write_bytes(b"new")
    assert names(tmp_path / "x" / "y") == ["a.bin"]


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_written_aside_gives_the_mode_that_the_umask_asks_for(
    tmp_path: Path, umask: None, mask: int, mode: int
) -> None:
    os.umask(mask)
    write_bytes(tmp_path / "a.bin", b"new")
    assert stat.S_IMODE((tmp_path / "a.bin").stat().st_mode) == mode


def test_written_aside_leaves_the_umask_as_it_was(tmp_path: Path, umask: None) -> None:
    os.umask(0o027)
    write_bytes(tmp_path / "a.bin", b"new")
    assert os.umask(0o022) == 0o027


def test_written_aside_names_the_file_when_the_disk_is_full(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"No space left on device: '.*/a\.bin'$"):
        fail_half_way(tmp_path / "a.bin", OSError(errno.ENOSPC, "No space left on device"))


def test_written_aside_names_the_file_where_a_copy_names_both(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    with pytest.raises(OSError, match=r"No space left") as raised, written_aside(path) as aside:
        raise OSError(errno.ENOSPC, "No space left on device", "source", None, str(aside))
    assert (raised.value.filename, raised.value.filename2) == (str(path), None)


def test_written_aside_leaves_the_fault_of_another_file_alone(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"Input/output error: 'source'$"):
        fail_half_way(tmp_path / "a.bin", OSError(errno.EIO, "Input/output error", "source"))


def test_written_aside_leaves_a_fault_that_is_not_the_systems_alone(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"^no reason$"):
        fail_half_way(tmp_path / "a.bin", OSError("no reason"))


@pytest.fixture
def orphaned(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes this process one whose DVC is gone."""
    monkeypatch.setattr("resnet8.core.files.is_orphan", lambda: True)


def test_written_aside_publishes_nothing_of_an_orphan(tmp_path: Path, orphaned: None) -> None:
    (tmp_path / "a.bin").write_bytes(b"the next run's")
    with pytest.raises(PipelineError, match=r"a\.bin must be changed by a stage that DVC waits"):
        write_bytes(tmp_path / "a.bin", b"stale")
    assert (tmp_path / "a.bin").read_bytes() == b"the next run's"
    assert names(tmp_path) == ["a.bin"]


def test_remove_leaves_a_file_to_the_next_run(tmp_path: Path, orphaned: None) -> None:
    (tmp_path / "a.bin").touch()
    with pytest.raises(PipelineError, match=r"a\.bin must be changed by a stage that DVC waits"):
        remove(tmp_path / "a.bin")
    assert names(tmp_path) == ["a.bin"]


def test_remove_takes_a_file_that_is_gone_for_removed(tmp_path: Path) -> None:
    (tmp_path / "a.bin").touch()
    for _ in range(2):
        remove(tmp_path / "a.bin")
    assert names(tmp_path) == []


@pytest.fixture(scope="module")
def dead_process() -> int:
    """The number of a process that has ended."""
    done = subprocess.Popen([sys.executable, "-c", ""])
    done.wait()
    return done.pid


def test_temporary_beside_removes_what_a_killed_process_left(
    tmp_path: Path, dead_process: int
) -> None:
    (tmp_path / f".b.json.{dead_process}.tmp.json").write_bytes(b"half")
    with temporary_beside(tmp_path / "a.bin") as aside:
        assert names(tmp_path) == [aside.name]


def test_temporary_beside_leaves_what_is_not_certain_to_be_left_over(
    tmp_path: Path, dead_process: int
) -> None:
    others = [
        f".b.json.{os.getppid()}.tmp.json",
        ".c.1.tmp",
        ".d.tmp.json",
        f"e.{dead_process}.tmp",
    ]
    for name in others:
        (tmp_path / name).touch()
    write_bytes(tmp_path / "a.bin", b"new")
    assert names(tmp_path) == sorted([*others, "a.bin"])


def test_temporary_beside_keeps_the_suffix_and_is_gone_afterwards(tmp_path: Path) -> None:
    with temporary_beside(tmp_path / "x" / "a.tar.gz") as aside:
        assert (aside.exists(), aside.parent, aside.suffix) == (True, tmp_path / "x", ".gz")
    assert names(tmp_path / "x") == []


def fail_in_scratch(fault: Exception) -> None:
    with scratch_folder():
        raise fault


def test_scratch_folder_is_gone_afterwards() -> None:
    with scratch_folder() as folder:
        (folder / "a.bin").touch()
    assert not folder.exists()


def test_scratch_folder_leaves_a_fault_alone_while_there_is_room() -> None:
    with pytest.raises(ValueError, match=r"^a defect$"):
        fail_in_scratch(ValueError("a defect"))


def test_scratch_folder_names_itself_when_the_disk_was_full() -> None:
    with pytest.raises(OSError, match=r"No space left on device: '.+'$"):
        fail_in_scratch(OSError(errno.ENOSPC, "No space left on device"))


def test_scratch_folder_takes_any_fault_on_a_full_disk_for_the_lack_of_room(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(100, 100, 0))
    with pytest.raises(OSError, match=r"No space left on device: '.+'$") as raised:
        fail_in_scratch(ValueError("half a model"))
    assert raised.value.errno == errno.ENOSPC


def test_write_bytes_replaces_a_longer_file(tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(b"a longer one")
    write_bytes(tmp_path / "a.bin", b"new")
    assert (tmp_path / "a.bin").read_bytes() == b"new"


def test_write_array_writes_numpys_format(tmp_path: Path) -> None:
    array = np.arange(12, dtype=np.float32).reshape(3, 4)
    write_array(tmp_path / "a.npy", array)
    found = np.load(tmp_path / "a.npy", allow_pickle=False)
    assert (found.dtype, found.tolist()) == (np.float32, array.tolist())


def test_write_array_writes_c_order_whatever_it_gets(tmp_path: Path) -> None:
    array = np.arange(12, dtype=np.uint8).reshape(3, 4)
    write_array(tmp_path / "c.npy", array)
    write_array(tmp_path / "f.npy", np.asfortranarray(array))
    assert (tmp_path / "c.npy").read_bytes() == (tmp_path / "f.npy").read_bytes()


def test_write_array_refuses_what_would_have_to_be_pickled(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Object arrays cannot be saved"):
        write_array(tmp_path / "a.npy", np.array([{}], dtype=object))
    assert names(tmp_path) == []


def test_write_array_takes_the_name_as_it_is(tmp_path: Path) -> None:
    write_array(tmp_path / "a.bin", np.zeros(3, np.uint8))
    assert names(tmp_path) == ["a.bin"]


def test_read_array_returns_what_numpy_saved(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([[1, 2], [3, 4]], np.int64))
    assert read_array(tmp_path / "a.npy").tolist() == [[1, 2], [3, 4]]


def test_read_array_names_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"a\.npy must be a NumPy array file, got .*No such"):
        read_array(tmp_path / "a.npy")


def test_read_array_tells_how_to_make_the_file_again(tmp_path: Path) -> None:
    (tmp_path / "a.npy").write_bytes(b"no array")
    with pytest.raises(ArtifactError, match=r"Run `dvc repro` to make it again\.$"):
        read_array(tmp_path / "a.npy")


@pytest.mark.parametrize("content", [b"", b"no array", b"\x93NUMPY", b"PK\x03\x04 no archive"])
def test_read_array_refuses_what_is_no_array(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.npy").write_bytes(content)
    with pytest.raises(ArtifactError, match="must be a NumPy array file, got "):
        read_array(tmp_path / "a.npy")


def test_read_array_refuses_an_archive_of_arrays(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", first=np.zeros(3))
    assert zipfile.is_zipfile(tmp_path / "a.npz")
    with pytest.raises(ArtifactError, match="must be a NumPy array file, got the magic string"):
        read_array(tmp_path / "a.npz")


def test_read_array_refuses_pickled_objects(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(ArtifactError, match="Object arrays cannot be loaded"):
        read_array(tmp_path / "a.npy")


def test_read_array_refuses_a_header_that_does_not_parse(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros(3, np.uint8))
    content = (tmp_path / "a.npy").read_bytes()
    (tmp_path / "a.npy").write_bytes(content.replace(b"}", b"("))
    with pytest.raises(ArtifactError, match="must be a NumPy array file"):
        read_array(tmp_path / "a.npy")


def test_read_array_refuses_a_shape_beyond_all_memory(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros(3, np.uint8))
    content = (tmp_path / "a.npy").read_bytes()
    huge = content.replace(b"(3,), }" + b" " * 30, b"(" + b"9" * 30 + b",), } ")
    assert len(huge) == len(content)
    (tmp_path / "a.npy").write_bytes(huge)
    with pytest.raises(ArtifactError, match="must be a NumPy array file"):
        read_array(tmp_path / "a.npy")


@settings(max_examples=30, deadline=None, database=None, derandomize=True)
@given(share=st.floats(0, 1, exclude_max=True))
def test_read_array_refuses_every_truncated_file(
    tmp_path_factory: pytest.TempPathFactory, share: float
) -> None:
    path = tmp_path_factory.mktemp("truncated") / "a.npy"
    np.save(path, np.arange(300, dtype=np.uint8))
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(ArtifactError, match="must be a NumPy array file"):
        read_array(path)


def test_read_bytes_returns_the_content(tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(b"\x00\xff")
    assert read_bytes(tmp_path / "a.bin") == b"\x00\xff"


def test_read_bytes_names_a_missing_file_and_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"a\.bin must exist\. Run `dvc repro` to make it\.$"):
        read_bytes(tmp_path / "a.bin")


def test_write_json_sorts_keys_at_every_level(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"b": {"d": 1, "c": 2}, "a": [3]})
    text = '{\n  "a": [\n    3\n  ],\n  "b": {\n    "c": 2,\n    "d": 1\n  }\n}\n'
    assert (tmp_path / "a.json").read_text(encoding="utf-8") == text


def test_write_json_ends_with_one_newline(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {})
    assert (tmp_path / "a.json").read_bytes() == b"{}\n"


def test_write_json_writes_the_same_bytes_for_another_order(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"x": 1, "y": 2})
    write_json(tmp_path / "b.json", {"y": 2, "x": 1})
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()


def test_write_json_writes_utf_8(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"name": "é"})
    assert b"\xc3\xa9" in (tmp_path / "a.json").read_bytes()


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_write_json_refuses_nan_and_infinity_and_leaves_the_old_file(
    tmp_path: Path, number: float
) -> None:
    write_json(tmp_path / "a.json", {"old": 1})
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "a.json", {"x": number})
    assert json.loads((tmp_path / "a.json").read_text()) == {"old": 1}


def test_write_json_leaves_no_temporary_file_when_it_refuses(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "a.json", {"x": math.nan})
    assert names(tmp_path) == []


def test_a_pipe_and_a_device_keep_their_place_and_take_the_content(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    reading = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    write_json(tmp_path / "pipe", {"x": 1})
    assert os.read(reading, 100) == b'{\n  "x": 1\n}\n'
    os.close(reading)
    write_bytes(Path("/dev/null"), b"x")
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)
    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)
    assert names(tmp_path) == ["pipe"]


def test_write_in_place_keeps_a_link_and_writes_to_what_it_leads_to(tmp_path: Path) -> None:
    for target in ("there", "new"):
        link = tmp_path / f"link to {target}"
        link.symlink_to(tmp_path / target)
    (tmp_path / "there").write_bytes(b"old")
    for target in ("there", "new"):
        write_in_place(tmp_path / f"link to {target}", b"x")
        assert (tmp_path / target).read_bytes() == b"x"
        assert (tmp_path / f"link to {target}").is_symlink()


@pytest.mark.parametrize("content", [b'{"x": 1, "x": 1}', b'{"x": NaN}', b"[" * 100_000])
def test_read_json_refuses_what_write_json_does_not_write(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(ArtifactError, match=r"a\.json must be a JSON file, got .+ Run `dvc repro`"):
        read_json(tmp_path / "a.json")


def test_read_json_returns_what_the_file_says(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"x": [1, 2.5, null]}')
    assert read_json(tmp_path / "a.json") == {"x": [1, 2.5, None]}


@pytest.mark.parametrize("content", [b"", b"{", b"{'x': 1}", b'"\xff"'])
def test_read_json_refuses_what_is_no_json(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(ArtifactError, match=r"a\.json must be a JSON file, got .+ Run `dvc repro`"):
        read_json(tmp_path / "a.json")


def test_read_json_names_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"a\.json must be a JSON file, got .*No such file"):
        read_json(tmp_path / "a.json")


def test_unlink_if_dangling_removes_only_links_that_lead_nowhere(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    (tmp_path / "good").symlink_to(tmp_path / "file")
    (tmp_path / "bad").symlink_to(tmp_path / "gone")
    unlink_if_dangling(tmp_path)
    assert names(tmp_path) == ["file", "good"]


def test_write_arrays_reads_back_under_the_same_names(tmp_path: Path) -> None:
    arrays = {"conv2d_3.0": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.zeros(0)}
    write_arrays(tmp_path / "a.npz", arrays)
    found = read_arrays(tmp_path / "a.npz")
    assert list(found) == list(arrays)
    assert all(np.array_equal(found[name], arrays[name]) for name in arrays)


def test_write_arrays_compresses_nothing_so_that_no_zlib_decides(tmp_path: Path) -> None:
    write_arrays(tmp_path / "a.npz", {"x": np.zeros(1000)})
    with zipfile.ZipFile(tmp_path / "a.npz") as archive:
        assert [x.compress_type for x in archive.infolist()] == [zipfile.ZIP_STORED]


def test_write_arrays_writes_these_bytes_with_every_python(tmp_path: Path) -> None:
    arrays = {"codes": np.arange(6, dtype=np.int8).reshape(2, 3), "bias": np.float32([0.5])}
    write_arrays(tmp_path / "a.npz", arrays)
    # With Python 3.11.2 and 3.11.7, whose zipfile writes the headers of large files otherwise.
    digest = "e5b72b2089b30b76fcc5a2c750142b9e9384d4191bd87f9797a5f4be3071c0db"
    assert hashlib.sha256((tmp_path / "a.npz").read_bytes()).hexdigest() == digest


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 no archive", b"\x93NUMPY no header"])
def test_read_arrays_refuses_another_file(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(ArtifactError, match=r"a\.npz must be a file of NumPy arrays, got"):
        read_arrays(tmp_path / "a.npz")


def test_read_arrays_refuses_one_array(tmp_path: Path) -> None:
    with (tmp_path / "a.npz").open("wb") as out:
        np.save(out, np.arange(3))
    with pytest.raises(ArtifactError, match=r"a\.npz must be a file of NumPy arrays, got"):
        read_arrays(tmp_path / "a.npz")


def test_read_arrays_names_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"none\.npz must be a file of NumPy arrays, got"):
        read_arrays(tmp_path / "none.npz")
