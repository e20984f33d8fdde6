"""The identity of a run tells apart whatever can change a figure, and nothing else."""

import importlib.metadata
import io
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from resnet8.core.files import write_array, write_json
from resnet8.core.params import Params, check_params
from resnet8.sweep import identity as module
from resnet8.sweep.identity import (
    LIBRARIES,
    Identity,
    code_files,
    digest_code,
    identify,
    identify_code,
    identify_libraries,
    pack_code,
)
from tests.parameters import TEST_PARAMS

ROOT = Path(__file__).parents[2]


def params(**sections: Any) -> Params:
    raw = yaml.safe_load(TEST_PARAMS.read_text())
    for name, values in sections.items():
        raw[name] = {**raw[name], **values}
    return check_params(raw)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A project with a file in place of a model, and two images of each kind."""
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "model.h5").write_bytes(b"model")
    for part in ("train", "test"):
        write_array(tmp_path / "data" / f"{part}_images.npy", np.zeros((2, 32, 32, 3), np.uint8))
        write_array(tmp_path / "data" / f"{part}_labels.npy", np.array([0, 1]))
    write_json(tmp_path / "data" / "labels.json", {"label_names": ["a", "b"]})
    return tmp_path


def identified(folder: Path, **sections: Any) -> Identity:
    return identify(params(**sections), raw=folder / "raw", data=folder / "data")


def changed(before: Identity, after: Identity) -> set[str]:
    return {name for name in Identity._fields if getattr(before, name) != getattr(after, name)}


def test_model_is_the_sha256_of_the_keras_file(folder: Path) -> None:
    known = "9372c470eeadd5ecd9c3c74c2b3cb633f8e2f2fad799250a0f70d652b6b825e4"  # of b"model"
    assert identified(folder).model_sha256 == known
    before = identified(folder)
    (folder / "raw" / "model.h5").write_bytes(b"Model")
    assert changed(before, identified(folder)) == {"model_sha256"}


@pytest.mark.parametrize("name", ["train_images", "train_labels", "test_images", "test_labels"])
def test_data_change_with_any_image_or_label(folder: Path, name: str) -> None:
    before = identified(folder)
    path = folder / "data" / f"{name}.npy"
    array = np.load(path)
    array.flat[0] ^= 1
    write_array(path, array)
    assert changed(before, identified(folder)) == {"data"}


def test_data_change_with_the_names_of_classes(folder: Path) -> None:
    before = identified(folder)
    write_json(folder / "data" / "labels.json", {"label_names": ["b", "a"]})
    assert changed(before, identified(folder)) == {"data"}


@pytest.mark.parametrize(
    ("section", "part"),
    [
        ({"convert_onnx": {"opset": 18}}, "opset"),
        ({"evaluate": {"batch_size": 64}}, "batch_size"),
        ({"compare": {"baseline": "onnx_fp32"}}, "baseline"),
    ],
)
def test_parameters_that_all_runs_share_are_a_part_each(
    folder: Path, section: Any, part: str
) -> None:
    assert changed(identified(folder), identified(folder, **section)) == {part}


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
def test_other_parameters_change_nothing(folder: Path, section: Any) -> None:
    assert identified(folder, **section) == identified(folder)


def test_a_quantized_baseline_brings_in_what_it_was_made_with(folder: Path) -> None:
    baseline = {"compare": {"baseline": "onnx_int8"}}
    first = identified(folder, **baseline)
    assert changed(first, identified(folder, **baseline, calibrate={"size": 7})) == {"baseline"}


def test_libraries_are_named_with_their_public_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    found = identify_libraries()
    assert [part.split("==")[0] for part in found.split()] == list(LIBRARIES)
    public = importlib.metadata.version("torch").split("+")[0]
    assert f"torch=={public} " in found
    monkeypatch.setattr(module.metadata, "version", lambda _name: "2.13.0+cpu")
    with_local_part = identify_libraries()
    monkeypatch.setattr(module.metadata, "version", lambda _name: "2.13.0")
    assert identify_libraries() == with_local_part != found


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


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of the library, whose code is identified."""
    copy = tmp_path / "resnet8"
    shutil.copytree(ROOT / "resnet8", copy, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(module, "_PACKAGE", copy)
    identify_code.cache_clear()
    yield copy
    identify_code.cache_clear()


def test_a_line_in_any_module_changes_it_and_a_comment_does_not(package: Path) -> None:
    before = identify_code()
    for path in code_files():
        path.write_text("# a comment\n" + path.read_text())
    identify_code.cache_clear()
    assert identify_code() == before
    path = package / "quantize" / "rounding.py"
    path.write_text(path.read_text() + "x = 1\n")
    identify_code.cache_clear()
    assert identify_code() != before


def test_a_new_module_belongs_to_the_code_once_it_is_imported(package: Path) -> None:
    before = identify_code()
    (package / "added.py").write_text("x = 1\n")
    identify_code.cache_clear()
    assert identify_code() == before
    path = package / "compare" / "comparison.py"
    path.write_text("from resnet8.added import x\n" + path.read_text())
    assert package / "added.py" in code_files()


def test_pack_code_has_all_modules_and_nothing_else() -> None:
    with zipfile.ZipFile(io.BytesIO(pack_code())) as archive:
        names = set(archive.namelist())
    modules = {str(path.relative_to(ROOT)) for path in (ROOT / "resnet8").rglob("*.py")}
    assert names == modules
