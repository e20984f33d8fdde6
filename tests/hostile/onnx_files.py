"""Makes ONNX files that are no model, or another than they should be."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from tests.hostile.harness import Case

NONE = r"\S+/model\.onnx must be an ONNX model, got: {}\. Run `dvc repro` to make it again\."
CLASSES = r"\S+ must give 10 probabilities, got outputs of shape {}\. Run `dvc repro` .+"
IMAGES = ["batch", 32, 32, 3]
Edit = Callable[[Any], object]


def build(
    *,
    shape: list[Any] = IMAGES,
    classes: int = 10,
    source: str = "input",
    kind: int = TensorProto.FLOAT,
    batch: Any = "batch",
) -> Any:
    """Flatten, a dense layer, softmax."""
    size = int(np.prod(shape[1:]))
    weight = np.random.default_rng(0).normal(size=(size, classes)).astype(np.float32) / size
    graph = helper.make_graph(
        [
            helper.make_node("Flatten", [source], ["flat"], name="flatten"),
            helper.make_node("MatMul", ["flat", "weight"], ["logits"], name="dense"),
            helper.make_node("Softmax", ["logits"], ["probabilities"], name="softmax"),
        ],
        "hostile",
        [helper.make_tensor_value_info(source, kind, shape)],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [batch, classes])],
        [numpy_helper.from_array(weight, "weight")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def edited(name: str, message: str, edit: Edit, **form: Any) -> Case:
    """A valid file, edited."""

    def write(folder: Path) -> None:
        model = build(**form)
        edit(model)
        (folder / "model.onnx").write_bytes(model.SerializeToString())

    return Case(name, write, message)


def raw(name: str, found: str, content: Callable[[bytes], bytes]) -> Case:
    def write(folder: Path) -> None:
        (folder / "model.onnx").write_bytes(content(build().SerializeToString()))

    return Case(name, write, NONE.format(found))


def external(location: str) -> Edit:
    """The weights are in another file, from its first byte."""

    def edit(model: Any) -> None:
        weight = model.graph.initializer[0]
        weight.ClearField("raw_data")
        weight.data_location = TensorProto.EXTERNAL
        for key, value in {"location": location, "offset": "0", "length": "122880"}.items():
            weight.external_data.add(key=key, value=value)

    return edit


def external_constant(model: Any) -> None:
    """A constant within the graph is in another file."""
    tensor = TensorProto(name="secret", data_type=TensorProto.FLOAT, dims=[10])
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")
    model.graph.node.append(helper.make_node("Constant", [], ["secret"], value=tensor, name="c"))


def with_weights(value: float) -> Edit:
    def edit(model: Any) -> None:
        weight = numpy_helper.to_array(model.graph.initializer[0]).copy()
        weight[0, 0] = value
        model.graph.initializer[0].CopyFrom(numpy_helper.from_array(weight, "weight"))

    return edit


def without_end(model: Any) -> None:
    """A loop of 2^62 turns."""
    turn = [helper.make_tensor_value_info("turn", TensorProto.INT64, [])]
    flags = [helper.make_tensor_value_info(x, TensorProto.BOOL, []) for x in ("go", "goes")]
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["goes"])], "body", [*turn, flags[0]], [flags[1]]
    )
    count = numpy_helper.from_array(np.array(2**62, np.int64), "count")
    model.graph.initializer.append(count)
    model.graph.node.append(helper.make_node("Loop", ["count", ""], [], body=body, name="loop"))


def node(operator: str, **settings: Any) -> Edit:
    return lambda model: model.graph.node[1].CopyFrom(
        helper.make_node(operator, ["flat", "weight"], ["logits"], name="dense", **settings)
    )


def constant_shape(*shape: int) -> Edit:
    """Reshapes the logits to a shape that does not go with two images."""

    def edit(model: Any) -> None:
        array = numpy_helper.from_array(np.array(shape, np.int64), "shape")
        model.graph.initializer.append(array)
        model.graph.node[2].input[0] = "shaped"
        reshape = helper.make_node("Reshape", ["logits", "shape"], ["shaped"], name="reshape")
        model.graph.node.insert(2, reshape)

    return edit


def stored(array: Any, *dims: int) -> Edit:
    """An array more, which may declare other dimensions."""

    def edit(model: Any) -> None:
        tensor = model.graph.initializer.add()
        tensor.CopyFrom(numpy_helper.from_array(array, "stored"))
        tensor.dims[:] = dims or array.shape

    return edit


def made(
    operator: str,
    *inputs: Any,
    name: str = "made",
    outputs: list[str] | None = None,
    **settings: Any,
) -> Edit:
    """A node more in front of the others but the first, of tensors or of constants."""

    def edit(model: Any) -> None:
        tensors = []
        for number, value in enumerate(inputs):
            tensors.append(value if isinstance(value, str) else f"{name}.{number}")
            if not isinstance(value, str):
                array = numpy_helper.from_array(np.asarray(value), tensors[-1])
                model.graph.initializer.append(array)
        results = [name] if outputs is None else outputs
        node = helper.make_node(operator, tensors, results, name=name, **settings)
        model.graph.node.insert(1, node)

    return edit


def named(name: str) -> Edit:
    return lambda model: setattr(model.graph.node[1], "name", name)


def cycle(model: Any) -> None:
    model.graph.node[0].input[0] = "logits"


def unchanged(_: Any) -> None:
    """The form is what is wrong."""
