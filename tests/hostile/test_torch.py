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
from tests.hostile.harness import MARKER, Case, evaluate_arguments, refuse, replaced, table

NONE = r"\S+/model\.pt2 must be an exported PyTorch program, got: {}\. Run `dvc repro` .+ again\."
ANY = NONE.format(".+")
ENTRY = NONE.format("an entry '.+'")
STRING = NONE.format("['\"].+ as '{}'")
RESULTS = NONE.format(r"results of size {}\d+ \(at .+\)")
SHAPES = (
    r"\S+/model\.pt2 must map float32 images \(batch, 32, 32, 3\) to probabilities \(batch, "
    r"classes\), got inputs \[.+\] and outputs \[.*\]\. Export it so, with a dynamic batch\."
)
ATEN = "torch.ops.aten"
Edit = Callable[[Any], object]


def classifier(classes: int = 10) -> torch.nn.Module:
    return torch.nn.Sequential(
        torch.nn.Flatten(), torch.nn.Linear(3072, classes), torch.nn.Softmax(1)
    ).eval()


def exported(classes: int = 10) -> bytes:
    return torch_model.encode(torch_model.export(classifier(classes)))


class Computes(torch.nn.Module):
    """A classifier whose images go through a function first."""

    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.function, self.classifier = function, classifier()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.function(images))


class Adds(torch.nn.Module):
    def forward(self, images: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
        return (images + others).mean((1, 2))


def saved(module: torch.nn.Module, *inputs: torch.Tensor, batch: object = None) -> bytes:
    """Bytes of a program as PyTorch writes them without this project."""
    inputs = inputs or (torch.zeros(2, 32, 32, 3),)
    dynamic = tuple({0: batch or torch.export.Dim("batch", min=1)} for _ in inputs)
    content = io.BytesIO()
    torch.export.save(torch.export.export(module, inputs, dynamic_shapes=dynamic), content)
    return content.getvalue()


def packed(entries: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", compression) as archive:
        for name, content in entries.items():
            archive.writestr(f"archive/{name}", content)
    return out.getvalue()


def pickled(marker: Path) -> bytes:
    """An old-style file of PyTorch: a pickle within an archive."""
    return packed({"data.pkl": payloads.as_a_whole(marker), "version": b"3\n"})


def edit_entries(
    path: Path,
    edit: Callable[[dict[str, bytes]], object],
    compression: int = zipfile.ZIP_STORED,
) -> None:
    with zipfile.ZipFile(path) as archive:
        entries = {x.partition("/")[2]: archive.read(x) for x in archive.namelist()}
    edit(entries)
    path.write_bytes(packed(entries, compression))


def edit_json(path: Path, entry_name: str, edit: Edit) -> None:
    def change(entries: dict[str, bytes]) -> None:
        content = json.loads(entries[entry_name])
        edit(content)
        entries[entry_name] = json.dumps(content).encode()

    edit_entries(path, change)


def program(name: str, message: str, make: Callable[[], bytes]) -> Case:
    return Case(name, lambda folder: (folder / "model.pt2").write_bytes(make()), message)


def entries(name: str, message: str, edit: Callable[[dict[str, bytes]], object]) -> Case:
    """A valid file with other entries."""
    return Case(name, lambda folder: edit_entries(folder / "model.pt2", edit), message)


def entry(name: str, entry_name: str, content: bytes = b"x") -> Case:
    """A valid file with one entry more."""
    return entries(name, ENTRY, lambda entries: entries.__setitem__(entry_name, content))


def graph(name: str, message: str, edit: Callable[[Any, str], object]) -> Case:
    """A valid file with another graph; the edit gets Python that would leave a mark."""

    def write(folder: Path) -> None:
        code = f"__import__('pathlib').Path({str(folder.parent / MARKER)!r}).touch()"
        edit_json(folder / "model.pt2", "models/model.json", lambda content: edit(content, code))

    return Case(name, write, message)


def string(field: str, value: str) -> Case:
    """A valid file whose first node has another target or name."""
    edit = lambda content, _: nodes(content)[0].update({field: value})  # noqa: E731
    return graph(f"{field} {value}", STRING.format(field), edit)


def weight(name: str, message: str, edit: Edit) -> Case:
    """A valid file with another description of a weight."""
    place = "data/weights/model_weights_config.json"

    def write(folder: Path) -> None:
        edit_json(folder / "model.pt2", place, lambda content: edit(content["config"]["1.weight"]))

    return Case(name, write, message)


def nodes(content: Any) -> Any:
    return content["graph_module"]["graph"]["nodes"]


def signature(content: Any) -> Any:
    return content["graph_module"]["signature"]


def calls(content: Any) -> Any:
    return content["graph_module"]["module_call_graph"]


def set_size(content: Any, expression: str) -> None:
    tensors = content["graph_module"]["graph"]["tensor_values"]
    sizes = (size for tensor in tensors.values() for size in tensor["sizes"])
    next(size for size in sizes if "as_expr" in size)["as_expr"]["expr_str"] = expression


def set_classes(content: Any, _: str) -> None:
    tensors = content["graph_module"]["graph"]["tensor_values"]
    tensors["softmax"]["sizes"][1] = {"as_int": 7}


def set_argument(content: Any, code: str) -> None:
    text, name = json.dumps(content), json.dumps(f"x={code}")
    content.update(json.loads(text.replace('"input"', name).replace('"input_1"', name)))


def set_spec(content: Any, _: str) -> None:
    context = json.dumps({"__enum__": True, "fqn": "antigravity", "name": "x"})
    spec = json.dumps([1, {"type": "x", "context": context, "children_spec": []}])
    calls(content)[0]["signature"]["in_spec"] = spec


def set_parameter(content: Any, _: str) -> None:
    signature(content)["input_specs"][0]["parameter"]["parameter_name"] = "__class__.forward"


def set_range(content: Any, _: str) -> None:
    content["range_constraints"]["u999999999999"] = {"min_val": 0, "max_val": None}


def not_a_number(entries: dict[str, bytes]) -> None:
    name = "data/weights/weight_0"
    entries[name] = np.full(len(entries[name]) // 4, np.nan, np.float32).tobytes()


def sizes(*lengths: int) -> dict[str, Any]:
    return {"sizes": [{"as_int": n} for n in lengths]}


CASES = (
    # No program.
    program("an error page", NONE.format("File is not a zip file"), lambda: b"<!DOCTYPE html>"),
    program("cut", NONE.format("File is not a zip file"), lambda: exported()[:5000]),
    Case("nothing", lambda f: (f / "model.pt2").unlink(), NONE.format(".*No such file.*")),
    entries("no graph", ANY, lambda x: x.pop("models/model.json")),
    entries("no weights", ANY, lambda x: x.pop("data/weights/weight_0")),
    graph("a graph that is missing", ANY, lambda content, _: content.pop("graph_module")),
    entries("deep JSON", ANY, lambda x: x.__setitem__("models/model.json", b"[" * 100_000)),
    # Code.
    Case("a pickle in an archive", replaced("model.pt2", pickled), ENTRY),
    entry("weights as a pickle", "data/weights/model.pt"),
    entry("a native library", "data/aotinductor/model/x.so", b"\x7fELF"),
    entry("a program of the old form", "serialized_exported_program.json", b"{}"),
    weight("a weight as a pickle", ANY, lambda x: x.__setitem__("use_pickle", True)),
    graph("an expression", STRING.format("expr_str"), set_size),
    graph("a guard", STRING.format("guards_code"), lambda x, code: x.update(guards_code=[code])),
    graph("an argument with a default", NONE.format(".+ as .+"), set_argument),
    graph("a module to import", STRING.format("in_spec"), set_spec),
    graph("a class's attribute", STRING.format("parameter_name"), set_parameter),
    string("target", "torch.os.system"),
    string("target", f"{ATEN}.from_file.default"),
    string("target", f"{ATEN}.empty.memory_format"),
    string("target", f"{ATEN}.relu.__class__"),
    string("target", f"{ATEN}.__dict__.clear"),
    string("target", "_operator.attrgetter"),
    string("name", "torch.ops"),
    string("name", "class"),
    string("name", "__builtins__"),
    string("name", "1"),
    # Programs that differ from their descriptions.
    graph("no inputs", ANY, lambda content, _: signature(content)["input_specs"].clear()),
    graph("no modules", ANY, lambda content, _: calls(content).clear()),
    graph("an operator without input", ANY, lambda content, _: nodes(content)[1].update(inputs=[])),
    graph("a wrong shape", NONE.format(r"torch\.float32 \[2, 10\] .+"), set_classes),
    program("two inputs", SHAPES, lambda: saved(Adds(), *[torch.zeros(2, 32, 32, 3)] * 2)),
    program("other images", SHAPES, lambda: saved(classifier(), torch.zeros(2, 1, 3072))),
    program("three dimensions", SHAPES, lambda: saved(torch.nn.Flatten(1, 2))),
    program("two images only", SHAPES, lambda: saved(classifier(), batch=torch.export.Dim.STATIC)),
    # Paths, sizes and numbers.
    graph("powers", STRING.format("expr_str"), lambda x, _: set_size(x, "Pow(9, Pow(9, 99))")),
    graph("an endless count", STRING.format("range_constraints"), set_range),
    program(
        "40 GB of zeros",
        RESULTS.format("4000"),
        lambda: saved(Computes(lambda x: x + torch.zeros(10**5, 10**5)[0, 0])),
    ),
    program(
        "a huge number",
        RESULTS.format("1000"),
        lambda: saved(Computes(lambda x: x * (x.shape[0] * 10**12))),
    ),
    Case(
        "a compressed entry",
        lambda f: edit_entries(f / "model.pt2", lambda _: None, zipfile.ZIP_DEFLATED),
        NONE.format("a compressed entry '.+'"),
    ),
    entry("a path upwards", "../../escaped"),
    entry("a path upwards below the weights", "data/weights/../../../escaped"),
    weight(
        "a weight at another path",
        NONE.format(".+ as 'path_name'"),
        lambda x: x.__setitem__("path_name", "../../../etc/passwd"),
    ),
    weight(
        "a weight of one number many times",
        NONE.format(r"\d+ bytes for \[1048576, 1048576\] elements of '1\.weight'"),
        lambda x: x["tensor_meta"].update(sizes(2**20, 2**20), strides=[{"as_int": 0}] * 2),
    ),
    weight(
        "a weight that starts elsewhere",
        ANY,
        lambda x: x["tensor_meta"].__setitem__("storage_offset", {"as_int": 2**40}),
    ),
    entries("NaN", NONE.format("NaN or infinity in '1.weight'"), not_a_number),
    program(
        "a hundred classes",
        r"\S+ must give 10 probabilities, got outputs of shape \[\['batch', 100\]\]\. Run .+",
        lambda: exported(100),
    ),
)


@pytest.fixture(scope="module")
def valid() -> bytes:
    return exported()


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


def test_load_leaves_out_what_others_add(tmp_path: Path) -> None:
    path, code = tmp_path / "model.pt2", f"open({str(tmp_path / MARKER)!r}, 'w')"
    path.write_bytes(saved(classifier()))

    def add(entries: dict[str, bytes]) -> None:
        entries["data/sample_inputs/model.pt"] = payloads.as_a_whole(tmp_path / MARKER)
        entries["extra/notes"] = b"\xff"
        content = json.loads(entries["models/model.json"])
        for node in nodes(content):
            node["metadata"] |= {"custom": "{", "from_node": code, "source_fn_stack": f"x,{code}"}
        entries["models/model.json"] = json.dumps(content).encode()

    edit_entries(path, add)
    program = torch_model.load_model(path)
    assert program.example_inputs is None
    assert {key for node in program.graph.nodes for key in node.meta} <= {"val", "nn_module_stack"}
    assert not (tmp_path / MARKER).exists()


def test_quantize_torch_refuses_a_pickle(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "models"
    replaced("model.pt2", pickled)(folder)
    arguments = {
        "type": "int8",
        "model": folder / "model.pt2",
        "quantization": tmp_path / "quantization",
        "out": tmp_path / "out" / "model.pt2",
    }
    refuse(quantize_torch.main, arguments, capfd, folder=folder, message=ENTRY)


def test_torch_itself_evaluates_the_expression(tmp_path: Path, valid: bytes) -> None:
    path = tmp_path / "model.pt2"
    path.write_bytes(valid)
    code = f"__import__('pathlib').Path({str(tmp_path / MARKER)!r}).touch()"
    edit_json(path, "models/model.json", lambda content: set_size(content, code))
    with suppress(Exception):  # the expression ran, and its value is no number
        torch.export.load(path)
    assert (tmp_path / MARKER).exists()
