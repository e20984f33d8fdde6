"""The fingerprint tells apart whatever can change a figure, and nothing else."""

import io
import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from resnet8.common.params import Params, check_params
from resnet8.sweeping import fingerprint as module
from resnet8.sweeping.fingerprint import CODE, code_files, fingerprint, pack_code

ROOT = Path(__file__).parents[2]
PARTS: dict[str, Any] = {
    "model": b"model",
    "pool": (np.zeros((2, 32, 32, 3), np.uint8), np.array([0, 1])),
    "test_set": (np.ones((2, 32, 32, 3), np.uint8), np.array([1, 0])),
    "label_names": ["a", "b"],
}


def params(**sections: Any) -> Params:
    raw = yaml.safe_load((ROOT / "params.yaml").read_text())
    for name, values in sections.items():
        raw[name] = {**raw[name], **values}
    return check_params(raw)


def found(changed_params: Params | None = None, **changes: Any) -> str:
    return fingerprint(changed_params or params(), **PARTS | changes)


def flipped(pair: Any, index: int) -> Any:
    arrays = [array.copy() for array in pair]
    arrays[index].flat[0] ^= 1
    return tuple(arrays)


def test_it_is_short_and_the_same_each_time() -> None:
    assert found() == found()
    assert len(found()) == 16


@pytest.mark.parametrize(
    "changes",
    [
        {"model": b"Model"},
        *({name: flipped(PARTS[name], n)} for name in ("pool", "test_set") for n in (0, 1)),
        {"label_names": ["b", "a"]},
        {"changed_params": params(evaluate={"batch_size": 64})},
        {"changed_params": params(compare={"baseline": "onnx_fp32"})},
    ],
    ids=", ".join,
)
def test_it_changes_with(changes: Any) -> None:
    assert found(**changes) != found()


@pytest.mark.parametrize(
    "section",
    [
        {"sweep": {"grid": []}},
        {"inspect": {"images": 3}},
        {"gate": {"significance": 0.5}},
        {"calibrate": {"size": 7}},
        {"fit": {"equalization": 0.0}},
    ],
    ids=lambda section: next(iter(section)),
)
def test_it_stays_with(section: Any) -> None:
    assert found(params(**section)) == found()


def test_a_quantized_baseline_brings_in_what_it_was_made_with() -> None:
    baseline = {"compare": {"baseline": "onnx_int8"}}
    assert found(params(**baseline)) != found(params(**baseline, calibrate={"size": 7}))


def test_it_changes_with_a_library(monkeypatch: pytest.MonkeyPatch) -> None:
    before = found()
    monkeypatch.setattr(module, "version", lambda name: "0.0" if name == "onnxruntime" else "1")
    first = found()
    monkeypatch.setattr(module, "version", lambda _name: "1")
    assert len({before, first, found()}) == 3


@pytest.mark.parametrize("path", sorted(code_files()), ids=lambda path: path.stem)
def test_it_changes_with_the_code(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = found()
    copy = tmp_path / "resnet8"
    shutil.copytree(ROOT / "resnet8", copy, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(module, "_PACKAGE", copy)
    assert found() == before
    changed = copy / path.relative_to(ROOT / "resnet8")
    changed.write_text(changed.read_text() + "#\n")
    assert found() != before


def test_every_name_of_code_is_there() -> None:
    assert all((ROOT / "resnet8" / name).exists() for name in CODE)


def test_pack_code_has_all_modules_and_nothing_else() -> None:
    with zipfile.ZipFile(io.BytesIO(pack_code())) as archive:
        names = set(archive.namelist())
    modules = {str(path.relative_to(ROOT)) for path in (ROOT / "resnet8").rglob("*.py")}
    assert names == modules
