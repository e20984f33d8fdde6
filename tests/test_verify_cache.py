"""Damaged objects of a DVC cache are found."""

import hashlib
from pathlib import Path

from tools.verify_cache import damaged_objects


def put(cache: Path, content: bytes, suffix: str = "", stored: bytes | None = None) -> Path:
    """Stores an object under the name of its content; `stored` is the damaged content."""
    name = hashlib.md5(content).hexdigest()
    path = cache / name[:2] / f"{name[2:]}{suffix}"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content if stored is None else stored)
    path.chmod(0o444)
    return path


def test_objects_with_other_bytes_are_damaged_and_no_others(tmp_path: Path) -> None:
    put(tmp_path, b"a folder", ".dir")
    put(tmp_path, b"sound").with_name(".half.tmp").write_bytes(b"so")  # DVC is still writing it
    damaged = {
        put(tmp_path, b"a model", stored=b"a mOdel"),
        put(tmp_path, b"[1]", ".dir", stored=b"[2]"),
        put(tmp_path, b"labels", stored=b"lab"),
        put(tmp_path, b"images", stored=b""),
    }
    assert set(damaged_objects(tmp_path)) == damaged
    assert list(damaged_objects(tmp_path / "none")) == []
