"""The gate's checksum of a folder is the one that DVC records."""

from pathlib import Path

import yaml

from resnet8.gate.lock import _md5
from tests.pipeline.commands import ROOT


def test_checksum_of_the_common_folder_is_that_of_dvc() -> None:
    stages = yaml.safe_load((ROOT / "dvc.lock").read_text())["stages"]
    recorded = {
        dep["md5"] for x in stages.values() for dep in x["deps"] if dep["path"] == "resnet8/common"
    }
    assert recorded == {_md5(ROOT / "resnet8" / "common")}


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
