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
OTHER_SHAPES = (
    r"\S+/model\.pt2 must map float32 images \(batch, 32, 32, 3\) to probabilities \(batch, "
    r"classes\), got inputs \[.+\] and outputs \[.*\]\. Export it so, with a dynamic batch\."
)
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


def saved(module: torch.nn.Module, *inputs: torch.Tensor, batch: object = None) -> bytes:
    """Bytes of a program as PyTorch writes them without this project."""
    inputs = inputs or (torch.zeros(2, 32, 32, 3),)
    batch = batch or torch.export.Dim("batch", min=1)
    content = io.BytesIO()
    dynamic = tuple({0: batch} for _ in inputs)
    torch.export.save(torch.export.export(module, inputs, dynamic_shapes=dynamic), content)
    return content.getvalue()


def program(name: str, message: str, make: Callable[[], bytes]) -> Case:
    return Case(name, lambda folder: (folder / "model.pt2").write_bytes(make()), message)


@pytest.fixture(scope="module")
def valid() -> bytes:
    return exported()


def packed(entries: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", compression) as archive:
        for name, content in entries.items():
            archive.writestr(f"archive/{name}", content)
    return out.getvalue()


def edit_entries(
    path: Path,
    edit: Callable[[dict[str, bytes]], object],
    compression: int = zipfile.ZIP_STORED,
) -> None:
    with zipfile.ZipFile(path) as archive:
        entries = {x.partition("/")[2]: archive.read(x) for x in archive.namelist()}
    edit(entries)
    path.write_bytes(packed(entries, compression))


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


def set_name(name: str) -> Callable[[Any, str], object]:
    return lambda content, _: nodes(content)[0].update(name=name)


def set_parameter(content: Any, _: str) -> None:
    signature(content)["input_specs"][0]["parameter"]["parameter_name"] = "__class__.forward"


def set_power(content: Any, _: str) -> None:
    set_size(content, "Pow(Integer(9), Pow(Integer(9), Integer(99)))")


def set_range(content: Any, _: str) -> None:
    content["range_constraints"]["u999999999999"] = {"min_val": 0, "max_val": None}


def set_classes(content: Any, _: str) -> None:
    tensors = content["graph_module"]["graph"]["tensor_values"]
    tensors["softmax"]["sizes"][1] = {"as_int": 7}


def nodes(content: Any) -> Any:
    return content["graph_module"]["graph"]["nodes"]


def signature(content: Any) -> Any:
    return content["graph_module"]["signature"]


def calls(content: Any) -> Any:
    return content["graph_module"]["module_call_graph"]


class Adds(torch.nn.Module):
    def forward(self, images: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
        return (images + others).mean((1, 2))


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
    *(
        graph(f"the target {target}", OTHER_STRING.format("target"), set_target(target))
        for target in (
            "torch.ops.aten.save.default",
            "torch.ops.aten.empty.memory_format",
            "torch.ops.aten.relu.__class__",
            "torch.ops.aten.__dict__.clear",
            "_operator.attrgetter",
        )
    ),
    *(
        graph(f"a value named {name}", OTHER_STRING.format("name"), set_name(name))
        for name in ("torch.ops", "class", "__builtins__", "x y", "1")
    ),
    graph("a class's attribute", OTHER_STRING.format("parameter_name"), set_parameter),
    graph("a tower of powers", OTHER_STRING.format("expr_str"), set_power),
    graph("an endless count", OTHER_STRING.format("range_constraints"), set_range),
    # Programs that do not belong to their descriptions.
    graph("no inputs", NONE.format(".+"), lambda c, _: signature(c)["input_specs"].clear()),
    graph("no outputs", NONE.format(".+"), lambda c, _: signature(c)["output_specs"].clear()),
    graph("no modules", NONE.format(".+"), lambda c, _: calls(c).clear()),
    graph("modules in another order", NONE.format(".+"), lambda c, _: calls(c).reverse()),
    graph(
        "an operator without input",
        NONE.format(".+torch.ops.aten.+"),
        lambda c, _: nodes(c)[1].update(inputs=[]),
    ),
    graph("an operator twice", NONE.format(".+"), lambda c, _: nodes(c).append(nodes(c)[0])),
    graph("a shape that is not true", NONE.format(r"torch\.float32 \[2, 10\] .+"), set_classes),
    program("two inputs", OTHER_SHAPES, lambda: saved(Adds(), *[torch.zeros(2, 32, 32, 3)] * 2)),
    program("other images", OTHER_SHAPES, lambda: saved(classifier(), torch.zeros(2, 1, 3072))),
    program("three dimensions", OTHER_SHAPES, lambda: saved(torch.nn.Flatten(1, 2))),
    program(
        "two images only", OTHER_SHAPES, lambda: saved(classifier(), batch=torch.export.Dim.STATIC)
    ),
    # Paths and sizes.
    program(
        "40 GB of zeros",
        NONE.format(r"results of size 4000\d+ \(at aten\.zeros\.default\)"),
        lambda: saved(Computes(lambda x: x + torch.zeros(10**5, 10**5)[0, 0])),
    ),
    program(
        "a hundred thousand copies",
        NONE.format(r"results of size \d+ \(at aten\.repeat\.default\)"),
        lambda: saved(Computes(lambda x: x + x.repeat(1, 10**5, 1, 1).mean())),
    ),
    program(
        "a huge number",
        NONE.format(r"results of size 1000\d+ \(at .+\)"),
        lambda: saved(Computes(lambda x: x * (x.shape[0] * 10**12))),
    ),
    Case(
        "a compressed entry",
        lambda folder: edit_entries(folder / "model.pt2", lambda _: None, zipfile.ZIP_DEFLATED),
        NONE.format("a compressed entry '.+'"),
    ),
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
        "a weight of one number many times",
        NONE.format(r"\d+ bytes for \[1048576, 1048576\] elements of '1\.weight'"),
        lambda weight: weight["tensor_meta"].update(
            sizes=[{"as_int": 2**20}] * 2, strides=[{"as_int": 0}] * 2
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
    program = torch_model.load(path)
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
    refuse(quantize_torch.main, arguments, capfd, folder=folder, message=OTHER_ENTRY)


def test_torch_itself_evaluates_the_expression(tmp_path: Path, valid: bytes) -> None:
    path = tmp_path / "model.pt2"
    path.write_bytes(valid)
    code = f"__import__('pathlib').Path({str(tmp_path / MARKER)!r}).touch()"
    edit_json(path, "models/model.json", lambda content: set_size(content, code))
    with suppress(Exception):  # it ran, and what it gave is no number
        torch.export.load(path)
    assert (tmp_path / MARKER).exists()
