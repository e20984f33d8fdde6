"""The gate's checksum of a folder is the one that DVC records."""

import shutil
from pathlib import Path

import yaml

from resnet8.gate.lock import _md5
from tests.pipeline.commands import ROOT, repro, run


def test_checksum_of_a_package_is_that_of_dvc(tmp_path: Path) -> None:
    code = shutil.copytree(ROOT / "resnet8" / "core", tmp_path / "code")
    # Names whose order is another as paths, what is compiled, and what is being written.
    for name in (
        "a/b.py",
        "a/c/d.py",
        "a-b.py",
        "a.py",
        "a/t.jinja",
        "a/__pycache__/b.pyc",
        ".x.py.tmp1",
    ):
        (code / name).parent.mkdir(parents=True, exist_ok=True)
        (code / name).write_text(name)
    shutil.copy(ROOT / ".dvcignore", tmp_path)
    stage = {"cmd": "echo", "deps": ["code", "code/a/b.py"]}
    (tmp_path / "dvc.yaml").write_text(yaml.safe_dump({"stages": {"it": stage}}))
    for done in (run(tmp_path, "dvc", "init", "--no-scm", "--quiet"), repro(tmp_path)):
        assert done.returncode == 0, done.stdout
    deps = yaml.safe_load((tmp_path / "dvc.lock").read_text())["stages"]["it"]["deps"]
    recorded = {dep["path"]: dep["md5"] for dep in deps}
    assert recorded == {path: _md5(tmp_path / path) for path in ("code", "code/a/b.py")}


def test_checksum_of_a_folder_changes_with_a_module_and_with_its_name(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("1")
    first = _md5(tmp_path)
    (tmp_path / "a.py").write_text("2")
    second = _md5(tmp_path)
    (tmp_path / "a.py").rename(tmp_path / "b.py")
    assert len({first, second, _md5(tmp_path)}) == 3


def test_checksum_of_a_folder_leaves_out_what_is_compiled(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("1")
    before = _md5(tmp_path)
    (tmp_path / "__pycache__").mkdir()
    (tmp_path / "__pycache__" / "a.pyc").write_bytes(b"x")
    assert _md5(tmp_path) == before
