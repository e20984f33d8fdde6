"""The identity of a run changes with whatever can change a figure, and with nothing else."""

import hashlib
import importlib.metadata
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from resnet8.core.files import write_array, write_json
from resnet8.core.params import check_params
from resnet8.sweep import identity as module
from resnet8.sweep.identity import (
    Identity,
    code_files,
    digest_code,
    identify,
    identify_libraries,
)
from tests.parameters import TEST_PARAMS
from tests.pipeline.commands import ROOT


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with a file in place of a model, two images of each kind, and no code."""
    monkeypatch.setattr(module, "code_files", list)
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "model.h5").write_bytes(b"model")
    for part in ("train", "test"):
        write_array(tmp_path / "data" / f"{part}_images.npy", np.zeros((2, 32, 32, 3), np.uint8))
        write_array(tmp_path / "data" / f"{part}_labels.npy", np.array([0, 1]))
    write_json(tmp_path / "data" / "labels.json", {"label_names": ["a", "b"]})
    return tmp_path


def identified(folder: Path, **sections: Any) -> Identity:
    raw = yaml.safe_load(TEST_PARAMS.read_text())
    for name, values in sections.items():
        raw[name] = {**raw[name], **values}
    return identify(check_params(raw), raw=folder / "raw", data=folder / "data")


def changed(before: Identity, after: Identity) -> set[str]:
    return {name for name in Identity._fields if getattr(before, name) != getattr(after, name)}


def flip(name: str) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        array = np.load(folder / "data" / name)
        array.flat[0] ^= 1
        write_array(folder / "data" / name, array)

    return edit


@pytest.mark.parametrize(
    ("edit", "part"),
    [
        (lambda folder: (folder / "raw/model.h5").write_bytes(b"Model"), "model_sha256"),
        (flip("train_images.npy"), "data"),
        (flip("train_labels.npy"), "data"),
        (flip("test_images.npy"), "data"),
        (flip("test_labels.npy"), "data"),
        (lambda folder: write_json(folder / "data/labels.json", {"label_names": ["b", "a"]}),
         "data"),
    ],
)  # fmt: skip
def test_each_file_changes_a_part(folder: Path, edit: Callable[[Path], object], part: str) -> None:
    before = identified(folder)
    assert before.model_sha256 == hashlib.sha256(b"model").hexdigest()
    edit(folder)
    assert changed(before, identified(folder)) == {part}


QUANTIZED = {"compare": {"baseline": "onnx_int8"}}


@pytest.mark.parametrize(
    ("before", "after", "part"),
    [
        ({}, {"convert_onnx": {"opset": 18}}, {"opset"}),
        ({}, {"evaluate": {"batch_size": 64}}, {"batch_size"}),
        ({}, {"compare": {"baseline": "onnx_fp32"}}, {"baseline"}),
        ({}, {"sweep": {"grid": []}}, set()),
        ({}, {"inspect": {"images": 3}}, set()),
        ({}, {"gate": {"significance": 0.5}}, set()),
        ({}, {"calibrate": {"size": 7}}, set()),
        ({}, {"fit": {"equalization": 0.0}}, set()),
        # A quantized baseline includes its settings.
        (QUANTIZED, QUANTIZED | {"calibrate": {"size": 7}}, {"baseline"}),
    ],
    ids=str,
)
def test_parameters_that_all_runs_share_change_a_part_each(
    folder: Path, before: Any, after: Any, part: set[str]
) -> None:
    assert changed(identified(folder, **before), identified(folder, **after)) == part


def test_libraries_are_named_with_their_public_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    public = importlib.metadata.version("torch").split("+")[0]
    assert f"torch=={public} " in identify_libraries()
    monkeypatch.setattr(module.metadata, "version", lambda _name: "2.13.0+cpu")
    assert {x.partition("==")[2] for x in identify_libraries().split()} == {"2.13.0"}


CODE = '''"""A module."""

from a import b  # a comment


def f(x):
    """Doubles."""
    return 2 * x


class A:
    """A class."""
'''


@pytest.mark.parametrize(
    "same",
    [
        CODE.replace("  # a comment", ""),
        CODE.replace("Doubles.", "Doubles a number."),
        CODE.replace('    """Doubles."""\n', ""),
        CODE.replace("A module", "Another text"),
        CODE.replace("2 * x", "(2\n        * x)"),
        "# first\n" + CODE + "\n\n",
    ],
)
def test_comments_docstrings_and_layout_are_no_code(same: str) -> None:
    assert same != CODE
    assert digest_code([same]) == digest_code([CODE])


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("2 * x", "3 * x"),
        ("2 * x", "x * 2"),
        ("2", '"2"'),
        ("None", "[]"),
        ("[x]", "[None, x]"),
        ("[x]", '["", x]'),
        ('"x"', 'f"{x}"'),
        ('f"{x}"', 'f" {x}"'),
        ("lambda x: x", "lambda x=None: x"),
    ],
)
def test_what_runs_is_code(one: str, other: str) -> None:
    codes = (CODE.replace("2 * x", text) for text in (one, other))
    assert len({digest_code([code]) for code in codes}) == 2


def test_modules_do_not_run_into_each_other() -> None:
    assert digest_code(["a = 1\n", "b = 2\n"]) != digest_code(["a = 1\nb = 2\n", ""])


def test_identity_of_code_is_that_of_every_python() -> None:
    # CPython 3.11.7, 3.12.1 and 3.13.2 give this; their own `ast.dump` differs.
    code = (
        'def f(a, /, *b, w=1, **k):\n    return f"{a!r:>{w}} {b=} {{" f"x" "y", u"z", -1e309, 1j\n'
        "try:\n    del x[1:2, ::3]\nexcept* ValueError:\n    pass\n"
        "match x:\n    case {'k': 1, **rest} if rest: y: int\n    case [1, *_]: {**x, 1: 2}\n"
    )
    assert digest_code([code]) == "5590388effea6480"


def test_code_changes_with_a_line_in_any_module_and_not_with_a_comment(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = folder / "resnet8"
    shutil.copytree(ROOT / "resnet8", package, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(module, "_PACKAGE", package)
    monkeypatch.setattr(module, "code_files", code_files)
    before = identified(folder)
    for path in code_files():
        path.write_text("# a comment\n" + path.read_text())
    assert identified(folder) == before
    (package / "quantize" / "added.py").write_text("x = 1\n")
    assert changed(before, identified(folder)) == {"code"}
