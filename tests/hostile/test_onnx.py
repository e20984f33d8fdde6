"""ONNX files as `evaluate` reads them, and one as stages of conversion and quantization do."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from stages import convert_torch, evaluate, fit, quantize_onnx, quantize_torch
from tests.hostile.harness import (
    Case,
    evaluate_arguments,
    refuse,
    replaced,
    table,
    write_arrays,
    write_params,
)

NONE = r"\S+/model\.onnx must be an ONNX model, got: {}\. Run `dvc repro` to make it again\."
CLASSES = r"\S+ must give 10 probabilities, got outputs of shape {}\. Run `dvc repro` .+"
ELSEWHERE = TensorProto(
    name="secret",
    data_type=TensorProto.FLOAT,
    dims=[1],
    data_location=TensorProto.EXTERNAL,
    external_data=[onnx.StringStringEntryProto(key="location", value="/etc/passwd")],
)
Edit = Callable[[Any], object]


def build(
    shape: str = "batch, 32, 32, 3",
    *,
    classes: int = 10,
    source: str = "input",
    kind: str = "float",
    batch: Any = "batch",
) -> Any:
    """Flatten, a dense layer, softmax."""
    model = onnx.parser.parse_model(f"""
        <ir_version: 8, opset_import: ["": 17]>
        hostile ({kind}[{shape}] {source}) => (float[{batch}, {classes}] probabilities) {{
            [flatten] flat = Flatten ({source})
            [dense] logits = MatMul (flat, weight)
            [softmax] probabilities = Softmax (logits)
        }}
    """)
    size = int(np.prod([int(x) for x in shape.split(",")[1:]]))
    weight = np.random.default_rng(0).normal(size=(size, classes)).astype(np.float32) / size
    model.graph.initializer.append(numpy_helper.from_array(weight, "weight"))
    return model


def edited(name: str, reason: str, edit: Edit = lambda _: None, **form: Any) -> Case:
    """A file of some form, edited; the reason is part of the message about a file of no model."""

    def write(folder: Path) -> None:
        model = build(**form)
        edit(model)
        (folder / "model.onnx").write_bytes(model.SerializeToString())

    return Case(name, write, reason if reason.startswith(r"\S+") else NONE.format(reason))


def raw(name: str, content: Callable[[bytes], bytes]) -> Case:
    def write(folder: Path) -> None:
        (folder / "model.onnx").write_bytes(content(build().SerializeToString()))

    return Case(name, write, NONE.format(".+"))


def node(position: int, **changes: Any) -> Edit:
    """Sets fields of a node."""

    def edit(model: Any) -> None:
        for field, value in changes.items():
            setattr(model.graph.node[position], field, value)

    return edit


def external(location: str) -> Edit:
    """Moves the weights to another file, from its first byte."""

    def edit(model: Any) -> None:
        weight = model.graph.initializer[0]
        weight.ClearField("raw_data")
        weight.data_location = TensorProto.EXTERNAL
        for key, value in {"location": location, "offset": "0", "length": "122880"}.items():
            weight.external_data.add(key=key, value=value)

    return edit


def with_weights(value: float) -> Edit:
    def edit(model: Any) -> None:
        weight = numpy_helper.to_array(model.graph.initializer[0]).copy()
        weight[0, 0] = value
        model.graph.initializer[0].CopyFrom(numpy_helper.from_array(weight, "weight"))

    return edit


def without_end(model: Any) -> None:
    """Adds a loop of 2^62 turns."""
    turn = [helper.make_tensor_value_info("turn", TensorProto.INT64, [])]
    flags = [helper.make_tensor_value_info(x, TensorProto.BOOL, []) for x in ("go", "goes")]
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["goes"])], "body", [*turn, flags[0]], [flags[1]]
    )
    count = numpy_helper.from_array(np.array(2**62, np.int64), "count")
    model.graph.initializer.append(count)
    model.graph.node.append(helper.make_node("Loop", ["count", ""], [], body=body, name="loop"))


def misshape(model: Any) -> None:
    """Reshapes the images to a shape that does not go with two of them."""
    made("Reshape", "flat", [7, -1])(model)
    model.graph.node[2].input[0] = "made"


def stored(array: Any, *dims: int) -> Edit:
    """Adds an array, which may declare other dimensions."""

    def edit(model: Any) -> None:
        tensor = model.graph.initializer.add()
        tensor.CopyFrom(numpy_helper.from_array(array, "stored"))
        tensor.dims[:] = dims or array.shape

    return edit


def made(
    operator: str, *inputs: Any, name: str = "made", output: str = "made", **settings: Any
) -> Edit:
    """Inserts a node behind the first, with tensors or constants as inputs."""

    def edit(model: Any) -> None:
        tensors = []
        for number, value in enumerate(inputs):
            tensors.append(value if isinstance(value, str) else f"{name}.{number}")
            if not isinstance(value, str):
                array = numpy_helper.from_array(np.asarray(value), tensors[-1])
                model.graph.initializer.append(array)
        node = helper.make_node(operator, tensors, [output], name=name, **settings)
        model.graph.node.insert(1, node)

    return edit


SIZE = r"\d+ numbers in 'made', \d+ so far"
OUTSIDE = "data of '.+' in another file"
SPARSE = {"dims": [2**20, 2**20]}
ROWS = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 10])
NAMES = r"{} nodes of the name {}"
EMPTY = "no input or no output of 'made'"
CASES = (
    # No model.
    raw("empty", lambda _: b""),
    raw("an error page", lambda _: b"<!DOCTYPE html>"),
    raw("cut", lambda content: content[: len(content) // 2]),
    Case("nothing", lambda _: None, NONE.format(".*No such file.*")),
    Case("a folder", lambda folder: (folder / "model.onnx").mkdir(), NONE.format(".*Is a dir.*")),
    # Data in other files.
    edited("data in a folder above", OUTSIDE, external("../../secret.bin")),
    edited("data at an absolute path", OUTSIDE, external("/etc/passwd")),
    edited("a constant in another file", OUTSIDE, made("ConstantOfShape", [1], value=ELSEWHERE)),
    # Operators.
    edited("an operator of its own", "an operator of 'mine'", node(1, domain="mine")),
    edited("Python code", ".+", node(1, op_type="PyOp", domain="ai.onnx.contrib")),
    edited("an operator that is none", ".+Nonsense.+", node(1, op_type="Nonsense")),
    edited("a loop without end", "a graph within the graph", without_end),
    edited("a function", "a graph within the graph", lambda m: m.functions.add(name="f")),
    edited("a circle", ".+", lambda m: m.graph.node[0].input.__setitem__(0, "logits")),
    edited("a future operator set", ".+", lambda m: setattr(m.opset_import[0], "version", 9999)),
    edited("numbers by chance", EMPTY, made("RandomNormal", shape=[2**20, 2**20])),
    edited("an empty output", EMPTY, made("Relu", "flat", output="")),
    edited("no name", NAMES.format(1, "''"), node(1, name="")),
    edited("one name twice", NAMES.format(2, "'softmax'"), node(1, name="softmax")),
    edited("a name of code", NAMES.format(1, r"'x\\nimport y'"), node(1, name="x\nimport y")),
    # Shapes.
    edited("a hundred classes", CLASSES.format(r"\[\['batch', 100\]\]"), classes=100),
    edited("a fixed number of images", CLASSES.format(r"\[\[2, 10\]\]"), batch=2),
    edited("grey images", ".+invalid dimensions.+", shape="batch, 28, 28, 1"),
    edited("images of bytes", ".+", kind="uint8"),
    edited("another name of the input", "Required inputs .+", source="x"),
    edited("a shape that does not fit", ".+", misshape),
    edited("negative dimensions", ".+", lambda m: m.graph.initializer[0].dims.__setitem__(0, -1)),
    edited("two outputs", CLASSES.format(r"\[.+, .+\]"), lambda m: m.graph.output.append(ROWS)),
    # Numbers.
    edited("NaN", "NaN in 'weight'", with_weights(np.nan)),
    edited("infinity", "NaN in 'weight'", with_weights(np.inf)),
    edited("NaN in an attribute", "NaN in 'made'", made("Elu", "flat", alpha=np.nan)),
    edited("text", "data of type 8 in 'stored'", stored(np.array(["a"], object))),
    edited("data that is missing", "cannot reshape .+", stored(np.zeros(0), 2**40)),
    edited("sparse data", "sparse .+", lambda m: m.graph.sparse_initializer.add(**SPARSE)),
    # Sizes of what is computed, where no shape is declared.
    edited("a huge constant", SIZE, made("ConstantOfShape", [2**15, 2**15])),
    edited("an image, repeated", SIZE, made("Tile", "flat", [1, 2**15])),
    edited("a huge frame", SIZE, made("Pad", "flat", [0, 0, 0, 2**28])),
    edited("a long count", SIZE, made("Range", np.float32(0), np.float32(2**28), np.float32(1))),
    edited("all pairs", SIZE, made("Mul", np.zeros((2**13, 1), "f4"), np.zeros(2**13, "f4"))),
    edited("a size that depends on the images", "a size of 'made' .+", made("NonZero", "flat")),
    edited(
        "many large constants",
        r"4194304 numbers in 'made\d+', 67111936 so far",
        lambda model: [
            made("ConstantOfShape", [2**22], name=f"made{n}", output=f"made{n}")(model)
            for n in range(16)
        ],
    ),
)


@table(*CASES)
def test_evaluate_refuses(tmp_path: Path, capfd: pytest.CaptureFixture[str], case: Case) -> None:
    folder = tmp_path / "models"
    folder.mkdir()
    case.write(folder)
    arguments = evaluate_arguments(tmp_path, "onnx", folder / "model.onnx")
    refuse(evaluate.main, arguments, capfd, folder=folder, message=case.message)


@pytest.mark.parametrize(
    "stage", [convert_torch, fit, quantize_onnx, quantize_torch], ids=lambda x: x.__name__
)
def test_conversion_and_quantization_refuse(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], stage: Any
) -> None:
    folder, images = tmp_path / "models", tmp_path / "data" / "train_images.npy"
    write_arrays(tmp_path / "data")
    replaced("model.onnx", b"<!DOCTYPE html>")(folder)
    others: dict[Any, dict[str, object]] = {
        convert_torch: {"images": images, "verification": tmp_path / "out" / "verify.json"},
        fit: {"images": images, "params": write_params(tmp_path)},
        quantize_onnx: {"type": "int8", "quantization": tmp_path / "quantization"},
        quantize_torch: {"type": "int8", "quantization": tmp_path / "quantization"},
    }
    arguments = {"model": folder / "model.onnx", "out": tmp_path / "out" / "model", **others[stage]}
    kind = "an exported PyTorch program" if stage is quantize_torch else "an ONNX model"
    message = NONE.format(".+").replace("an ONNX model", kind)
    refuse(stage.main, arguments, capfd, folder=folder, message=message)
