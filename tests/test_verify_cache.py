"""Damaged objects of a cache are told from sound ones."""

import hashlib
from pathlib import Path

from tools.verify_cache import damaged_objects


def put(cache: Path, content: bytes, suffix: str = "") -> Path:
    """Stores an object the way DVC does, write-protected."""
    name = hashlib.md5(content).hexdigest()
    path = cache / name[:2] / f"{name[2:]}{suffix}"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    path.chmod(0o444)
    return path


def damage(path: Path, content: bytes) -> Path:
    path.chmod(0o644)
    path.write_bytes(content)
    path.chmod(0o444)
    return path


def test_sound_objects_and_folders_are_not_damaged(tmp_path: Path) -> None:
    put(tmp_path, b"a model")
    put(tmp_path, b"[]", ".dir")
    assert list(damaged_objects(tmp_path)) == []


def test_objects_with_another_byte_are_damaged(tmp_path: Path) -> None:
    put(tmp_path, b"sound")
    damaged = {damage(put(tmp_path, b"a model"), b"a mOdel")}
    damaged.add(damage(put(tmp_path, b"[1]", ".dir"), b"[2]"))
    assert set(damaged_objects(tmp_path)) == damaged


def test_cut_and_empty_objects_are_damaged(tmp_path: Path) -> None:
    damaged = {damage(put(tmp_path, b"a model"), b"a mod"), damage(put(tmp_path, b"images"), b"")}
    assert set(damaged_objects(tmp_path)) == damaged


def test_what_dvc_is_still_writing_is_not_taken_for_an_object(tmp_path: Path) -> None:
    put(tmp_path, b"sound").with_name(".half.tmp").write_bytes(b"so")
    assert list(damaged_objects(tmp_path)) == []


def test_an_empty_cache_has_no_damaged_objects(tmp_path: Path) -> None:
    assert list(damaged_objects(tmp_path / "none")) == []
