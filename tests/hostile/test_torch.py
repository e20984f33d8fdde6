"""Exported PyTorch programs, as `evaluate` and `quantize_torch` read them."""

import io
import json
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from resnet8.models import torch_model
from stages import evaluate, quantize_torch
from tests.hostile import payloads
from tests.hostile.harness import (
    MARKER,
    Case,
    evaluate_arguments,
    refuse,
    replaced,
    table,
)

NONE = r"\S+/model\.pt2 must be an exported PyTorch program, got: {}\. Run `dvc repro` .+ again\."
OTHER_ENTRY = NONE.format("an entry '.+'")
OTHER_STRING = NONE.format("['\"].+ as '{}'")
Edit = Callable[[Any], object]


def exported(classes: int = 10) -> bytes:
    module = torch.nn.Sequential(
        torch.nn.Flatten(), torch.nn.Linear(3072, classes), torch.nn.Softmax(1)
    )
    return torch_model.encode(torch_model.export(module.eval()))


@pytest.fixture(scope="module")
def valid() -> bytes:
    return exported()


def packed(entries: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in entries.items():
            archive.writestr(f"archive/{name}", content)
    return out.getvalue()


def edit_entries(path: Path, edit: Callable[[dict[str, bytes]], object]) -> None:
    with zipfile.ZipFile(path) as archive:
        entries = {x.partition("/")[2]: archive.read(x) for x in archive.namelist()}
    edit(entries)
    path.write_bytes(packed(entries))


def entry(name: str, entry_name: str, content: bytes | Callable[[Path], bytes]) -> Case:
    """A valid file with one entry more."""

    def write(folder: Path) -> None:
        made = content if isinstance(content, bytes) else content(folder.parent / MARKER)
        edit_entries(folder / "model.pt2", lambda entries: entries.__setitem__(entry_name, made))

    return Case(name, write, OTHER_ENTRY)


def edit_json(path: Path, entry_name: str, edit: Edit) -> None:
    def change(entries: dict[str, bytes]) -> None:
        content = json.loads(entries[entry_name])
        edit(content)
        entries[entry_name] = json.dumps(content).encode()

    edit_entries(path, change)


def graph(name: str, message: str, edit: Callable[[Any, str], object]) -> Case:
    """A valid file with another graph; the edit gets Python that would leave a mark."""

    def write(folder: Path) -> None:
        code = f"__import__('pathlib').Path({str(folder.parent / MARKER)!r}).touch()"
        edit_json(folder / "model.pt2", "models/model.json", lambda content: edit(content, code))

    return Case(name, write, message)


def weights(name: str, message: str, edit: Edit) -> Case:
    """A valid file with another description of its weights."""
    place = "data/weights/model_weights_config.json"

    def write(folder: Path) -> None:
        edit_json(folder / "model.pt2", place, lambda content: edit(content["config"]["1.weight"]))

    return Case(name, write, message)


def not_a_number(folder: Path) -> None:
    def change(entries: dict[str, bytes]) -> None:
        name = "data/weights/weight_0"
        entries[name] = np.full(len(entries[name]) // 4, np.nan, np.float32).tobytes()

    edit_entries(folder / "model.pt2", change)


def set_size(content: Any, code: str) -> None:
    tensors = content["graph_module"]["graph"]["tensor_values"]
    sizes = (size for tensor in tensors.values() for size in tensor["sizes"])
    next(size for size in sizes if "as_expr" in size)["as_expr"]["expr_str"] = code


def set_guard(content: Any, code: str) -> None:
    content["guards_code"] = [f"{code} is None"]


def set_target(target: str) -> Callable[[Any, str], object]:
    def edit(content: Any, _: str) -> None:
        content["graph_module"]["graph"]["nodes"][0]["target"] = target

    return edit


def set_argument(content: Any, code: str) -> None:
    name = f"x={code}"
    text = (
        json.dumps(content)
        .replace('"input"', json.dumps(name))
        .replace('"input_1"', json.dumps(name))
    )
    content.clear()
    content.update(json.loads(text))


def set_spec(content: Any, _: str) -> None:
    signature = content["graph_module"]["module_call_graph"][0]["signature"]
    context = json.dumps({"__enum__": True, "fqn": "antigravity", "name": "x"})
    signature["in_spec"] = json.dumps([1, {"type": "x", "context": context, "children_spec": []}])


def pickled(marker: Path) -> bytes:
    """An old-style file of PyTorch: a pickle within an archive."""
    return packed({"data.pkl": payloads.as_a_whole(marker), "version": b"3\n"})


CASES = (
    # No program.
    Case("empty", replaced("model.pt2", b""), NONE.format("File is not a zip file")),
    Case(
        "a page", replaced("model.pt2", b"<!DOCTYPE html>"), NONE.format("File is not a zip file")
    ),
    Case("cut", lambda f: cut(f / "model.pt2"), NONE.format("File is not a zip file")),
    Case("an empty archive", replaced("model.pt2", packed({})), NONE.format(".+")),
    Case("nothing", lambda f: (f / "model.pt2").unlink(), NONE.format(".*No such file.*")),
    Case("no graph", lambda f: drop(f / "model.pt2", "models/model.json"), NONE.format(".+")),
    Case("no weights", lambda f: drop(f / "model.pt2", "data/weights/weight_0"), NONE.format(".+")),
    graph("a graph that is a list", NONE.format(".+"), lambda c, _: c.pop("graph_module")),
    Case(
        "JSON nested 100,000 deep",
        lambda folder: edit_entries(
            folder / "model.pt2", lambda e: e.__setitem__("models/model.json", b"[" * 100_000)
        ),
        NONE.format(".*recursion.*"),
    ),
    # Code.
    Case(
        "a pickle",
        replaced("model.pt2", payloads.as_a_whole),
        NONE.format("File is not a zip file"),
    ),
    Case("a pickle in an archive", replaced("model.pt2", pickled), OTHER_ENTRY),
    entry("weights as a pickle", "data/weights/model.pt", payloads.as_a_whole),
    entry("a native library", "data/aotinductor/model/x.so", b"\x7fELF"),
    entry("a program of the old form", "serialized_exported_program.json", b"{}"),
    Case(
        "sample inputs as a pickle",
        lambda folder: edit_entries(
            folder / "model.pt2",
            lambda e: e.__setitem__(
                "data/sample_inputs/model.pt", payloads.as_a_whole(folder.parent / MARKER)
            ),
        ),
        NONE.format(".+"),
    ),
    weights("a weight as a pickle", NONE.format(".+"), lambda w: w.__setitem__("use_pickle", True)),
    graph("an expression", OTHER_STRING.format("expr_str"), set_size),
    graph("a guard", OTHER_STRING.format("guards_code"), set_guard),
    graph("an argument with a default", NONE.format(".+ as .+"), set_argument),
    graph("a call of the system", OTHER_STRING.format("target"), set_target("torch.os.system")),
    graph("a download", OTHER_STRING.format("target"), set_target("torch.hub.load")),
    graph(
        "an operator that reads files",
        OTHER_STRING.format("target"),
        set_target("torch.ops.aten.from_file.default"),
    ),
    graph("a module to import", OTHER_STRING.format("in_spec"), set_spec),
    # Paths and sizes.
    entry("a path upwards", "../../escaped", b"x"),
    entry("a path upwards below the weights", "data/weights/../../../escaped", b"x"),
    weights(
        "a weight at another path",
        NONE.format(".+ as 'path_name'"),
        lambda weight: weight.__setitem__("path_name", "../../../etc/passwd"),
    ),
    weights(
        "a weight beyond its bytes",
        NONE.format(".+"),
        lambda weight: weight["tensor_meta"].__setitem__(
            "sizes", [{"as_int": 10}, {"as_int": 2**40}]
        ),
    ),
    weights(
        "a weight that starts elsewhere",
        NONE.format(".+"),
        lambda weight: weight["tensor_meta"].__setitem__("storage_offset", {"as_int": 2**40}),
    ),
    Case(
        "a hundred classes",
        lambda folder: (folder / "model.pt2").write_bytes(exported(100)),
        r"\S+ must give 10 probabilities, got outputs of shape \[\['batch', 100\]\]\. Run .+",
    ),
    Case("NaN", not_a_number, NONE.format("NaN or infinity in '1.weight'")),
)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:5000])


def drop(path: Path, name: str) -> None:
    edit_entries(path, lambda entries: entries.pop(name))


@table(*CASES)
def test_evaluate_refuses(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], valid: bytes, case: Case
) -> None:
    folder = tmp_path / "models"
    folder.mkdir()
    (folder / "model.pt2").write_bytes(valid)
    case.write(folder)
    arguments = evaluate_arguments(tmp_path, "torch", folder / "model.pt2")
    refuse(evaluate.main, arguments, capfd, folder=folder, message=case.message)


def test_quantize_torch_refuses_a_pickle(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "models"
    replaced("model.pt2", pickled)(folder)
    arguments = {
        "type": "int8",
        "model": folder / "model.pt2",
        "quantization": tmp_path / "quantization",
        "out": tmp_path / "out" / "model.pt2",
    }
    refuse(quantize_torch.main, arguments, capfd, folder=folder, message=OTHER_ENTRY)


def test_torch_itself_evaluates_the_expression(tmp_path: Path, valid: bytes) -> None:
    path = tmp_path / "model.pt2"
    path.write_bytes(valid)
    code = f"__import__('pathlib').Path({str(tmp_path / MARKER)!r}).touch()"
    edit_json(path, "models/model.json", lambda content: set_size(content, code))
    with suppress(Exception):  # it ran, and what it gave is no number
        torch.export.load(path)
    assert (tmp_path / MARKER).exists()
