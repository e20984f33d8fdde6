"""Exported PyTorch programs, as `evaluate` reads them."""

import io
import json
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from resnet8.models import torch_model
from stages import evaluate
from tests.hostile import payloads
from tests.hostile.harness import MARKER, Case, evaluate_arguments, refuse, replaced, table

NONE = r"\S+/model\.pt2 must be an exported PyTorch program, got: {}\. Run `dvc repro` .+ again\."
ANY = NONE.format(".+")
ENTRY = NONE.format("an entry '.+'")
STRING = NONE.format("['\"].+ as '{}'")
RESULTS = NONE.format(r"results of size {}\d+ \(at .+\)")
SHAPES = (
    r"\S+/model\.pt2 must map float32 images \(batch, 32, 32, 3\) to probabilities \(batch, 10\), "
    r"got inputs \[.+\] and outputs \[.*\]\. Export it so, with a dynamic batch\."
)
MODEL, WEIGHTS = "models/model.json", "data/weights/model_weights_config.json"
# Places in the first.
TENSORS, NODES = "graph_module/graph/tensor_values", "graph_module/graph/nodes"
SIZE = f"{TENSORS}/input/sizes/0/as_expr/expr_str"
INPUTS, CALLS = "graph_module/signature/input_specs", "graph_module/module_call_graph"
SPEC = json.dumps({"__enum__": True, "fqn": "antigravity", "name": "x"})
CODE = "CODE"  # stands for Python that would leave a mark
ATEN = "torch.ops.aten"
Entries = dict[str, bytes]


def classifier(classes: int = 10) -> torch.nn.Module:
    return torch.nn.Sequential(
        torch.nn.Flatten(), torch.nn.Linear(3072, classes), torch.nn.Softmax(1)
    ).eval()


class Computes(torch.nn.Module):
    """A classifier whose images go through a function first."""

    def __init__(self, function: Callable[..., torch.Tensor]) -> None:
        super().__init__()
        self.function, self.classifier = function, classifier()

    def forward(self, *images: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.function(*images))


def saved(module: torch.nn.Module, *inputs: torch.Tensor, batch: object = None) -> bytes:
    """Bytes of a program as PyTorch writes them without this project."""
    inputs = inputs or (torch.zeros(2, 32, 32, 3),)
    dynamic: Any = tuple({0: batch or torch.export.Dim("batch", min=1)} for _ in inputs)
    if isinstance(module, Computes):
        dynamic = (dynamic,)
    content = io.BytesIO()
    torch.export.save(torch.export.export(module, inputs, dynamic_shapes=dynamic), content)
    return content.getvalue()


def packed(entries: Entries, compression: int = zipfile.ZIP_STORED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", compression) as archive:
        for name, content in entries.items():
            archive.writestr(f"archive/{name}", content)
    return out.getvalue()


def unpacked(content: bytes) -> Entries:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {x.partition("/")[2]: archive.read(x) for x in archive.namelist()}


def marking(folder: Path) -> str:
    return f"__import__('pathlib').Path({str(folder / MARKER)!r}).touch()"


def pickled(marker: Path) -> bytes:
    """An old-style file of PyTorch: a pickle within an archive."""
    return packed({"data.pkl": payloads.as_a_whole(marker), "version": b"3\n"})


def program(name: str, message: str, make: Callable[[], bytes]) -> Case:
    return Case(name, lambda folder: (folder / "model.pt2").write_bytes(make()), message)


def edited(name: str, message: str, edit: Callable[[Entries], object], **options: Any) -> Case:
    """A valid file with other entries."""

    def write(folder: Path) -> None:
        entries = unpacked(EXPORTED())
        edit(entries)
        entries = {
            x: y.replace(b"CODE", marking(folder.parent).encode()) for x, y in entries.items()
        }
        (folder / "model.pt2").write_bytes(packed(entries, **options))

    return Case(name, write, message)


def entry(name: str, entry_name: str, content: bytes = b"x", message: str = ENTRY) -> Case:
    """A valid file with one entry more, or another one."""
    return edited(name, message, lambda entries: entries.__setitem__(entry_name, content))


def put(message: str, path: str, value: Any, *, name: str = "", file: str = MODEL) -> Case:
    """A valid file with another value in its JSON; None removes it."""

    def edit(entries: Entries) -> None:
        entries[file] = changed(entries[file], path, value)

    return edited(name or f"{path.rpartition('/')[2]} {value}", message, edit)


def changed(content: bytes, path: str, value: Any) -> bytes:
    document = json.loads(content)
    *owners, key = (int(x) if x.isdecimal() else x for x in path.split("/"))
    place = document
    for owner in owners:
        place = place[owner]
    if value is None:
        del place[key]
    else:
        place[key] = value
    return json.dumps(document).encode()


def rename_argument(entries: Entries) -> None:
    entries[MODEL] = entries[MODEL].replace(b'"input"', b'"x=CODE"')


def set_nan(entries: Entries) -> None:
    name = "data/weights/weight_0"
    entries[name] = np.full(len(entries[name]) // 4, np.nan, np.float32).tobytes()


def repeat_a_number(entries: Entries) -> None:
    for key, length in (("sizes", 2**20), ("strides", 0)):
        place = f"config/1.weight/tensor_meta/{key}"
        entries[WEIGHTS] = changed(entries[WEIGHTS], place, [{"as_int": length}] * 2)


CASES = (
    # No program.
    program("an error page", NONE.format("File is not a zip file"), lambda: b"<!DOCTYPE html>"),
    program("cut", NONE.format("File is not a zip file"), lambda: EXPORTED()[:5000]),
    Case("nothing", lambda _: None, NONE.format(".*No such file.*")),
    edited("no graph", ANY, lambda x: x.pop(MODEL)),
    edited("no weights", ANY, lambda x: x.pop("data/weights/weight_0")),
    put(ANY, "graph_module", None),
    entry("deep JSON", MODEL, b"[" * 100_000, ANY),
    # Code.
    Case("a pickle in an archive", replaced("model.pt2", pickled), ENTRY),
    entry("weights as a pickle", "data/weights/model.pt"),
    entry("a native library", "data/aotinductor/model/x.so", b"\x7fELF"),
    entry("a program of the old form", "serialized_exported_program.json", b"{}"),
    put(ANY, "config/1.weight/use_pickle", True, file=WEIGHTS),
    put(STRING.format("expr_str"), SIZE, CODE),
    put(STRING.format("guards_code"), "guards_code", [CODE]),
    edited("an argument with a default", NONE.format(".+ as .+"), rename_argument),
    put(
        STRING.format("in_spec"),
        f"{CALLS}/0/signature/in_spec",
        json.dumps([1, {"type": "x", "context": SPEC, "children_spec": []}]),
        name="a module to import",
    ),
    put(
        STRING.format("parameter_name"), f"{INPUTS}/0/parameter/parameter_name", "__class__.forward"
    ),
    *(
        put(STRING.format("target"), f"{NODES}/0/target", target)
        for target in (
            "torch.os.system",
            f"{ATEN}.from_file.default",
            f"{ATEN}.empty.memory_format",
            f"{ATEN}.relu.__class__",
            f"{ATEN}.__dict__.clear",
            "_operator.attrgetter",
        )
    ),
    *(
        put(STRING.format("name"), f"{NODES}/0/name", name)
        for name in ("torch.ops", "class", "__builtins__", "1")
    ),
    # Programs that differ from their descriptions.
    put(ANY, INPUTS, []),
    put(ANY, CALLS, []),
    put(ANY, f"{NODES}/1/inputs", []),
    put(NONE.format(r"torch\.float32 \[2, 10\] .+"), f"{TENSORS}/softmax/sizes/1", {"as_int": 7}),
    program(
        "two inputs",
        SHAPES,
        lambda: saved(Computes(lambda x, y: x + y), *[torch.zeros(2, 32, 32, 3)] * 2),
    ),
    program("other images", SHAPES, lambda: saved(classifier(), torch.zeros(2, 1, 3072))),
    program("three dimensions", SHAPES, lambda: saved(torch.nn.Flatten(1, 2))),
    program("two images only", SHAPES, lambda: saved(classifier(), batch=torch.export.Dim.STATIC)),
    program("a hundred classes", SHAPES, lambda: saved(classifier(100))),
    # Paths, sizes and numbers.
    put(STRING.format("expr_str"), SIZE, "Pow(9, Pow(9, 99))"),
    put(STRING.format("range_constraints"), "range_constraints/u999999999999", {"min_val": 0}),
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
    edited(
        "a compressed entry",
        NONE.format("a compressed entry '.+'"),
        lambda _: None,
        compression=zipfile.ZIP_DEFLATED,
    ),
    entry("a path upwards", "../../escaped"),
    entry("a path upwards below the weights", "data/weights/../../../escaped"),
    put(
        NONE.format(".+ as 'path_name'"),
        "config/1.weight/path_name",
        "../../../etc/passwd",
        file=WEIGHTS,
    ),
    edited(
        "a weight of one number many times",
        NONE.format(r"\d+ bytes for \[1048576, 1048576\] elements of '1\.weight'"),
        repeat_a_number,
    ),
    put(ANY, "config/1.weight/tensor_meta/storage_offset", {"as_int": 2**40}, file=WEIGHTS),
    edited("NaN", NONE.format("NaN or infinity in '1.weight'"), set_nan),
)
EXPORTED = cache(lambda: torch_model.encode(torch_model.export(classifier())))


@table(*CASES)
def test_evaluate_refuses(tmp_path: Path, capfd: pytest.CaptureFixture[str], case: Case) -> None:
    folder = tmp_path / "models"
    folder.mkdir()
    case.write(folder)
    arguments = evaluate_arguments(tmp_path, "torch", folder / "model.pt2")
    refuse(evaluate.main, arguments, capfd, folder=folder, message=case.message)


def test_load_ignores_entries_and_metadata_of_other_writers(tmp_path: Path) -> None:
    code = f"open({str(tmp_path / MARKER)!r}, 'w')"
    entries = unpacked(saved(classifier()))
    entries["data/sample_inputs/model.pt"] = payloads.as_a_whole(tmp_path / MARKER)
    entries["extra/notes"] = b"\xff"
    for node in range(3):
        metadata = {"custom": "{", "from_node": code, "source_fn_stack": f"x,{code}"}
        for key, value in metadata.items():
            place = f"{NODES}/{node}/metadata/{key}"
            entries[MODEL] = changed(entries[MODEL], place, value)
    program = torch_model.load_any(packed(entries))
    assert program.example_inputs is None
    assert {key for node in program.graph.nodes for key in node.meta} <= {"val", "nn_module_stack"}
    assert not (tmp_path / MARKER).exists()
