"""Small ONNX models made by hand, and what they compute."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from resnet8.models.onnx_model import open_session

Arrays = dict[str, np.ndarray[Any, Any]]


def node(operator: str, name: str, *inputs: str, **attributes: Any) -> onnx.NodeProto:
    """A node whose output is called like it."""
    return helper.make_node(operator, inputs, [name], name=name, **attributes)


def build(
    nodes: Sequence[onnx.NodeProto], arrays: Arrays, *, shape: Sequence[int] = (3, 8, 8)
) -> onnx.ModelProto:
    """A model from `input` (N, *shape) to its last node's output."""
    graph = helper.make_graph(
        list(nodes),
        "by_hand",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", *shape])],
        [helper.make_tensor_value_info(nodes[-1].output[0], TensorProto.FLOAT, None)],
        [numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def weights(seed: int = 0, **shapes: tuple[int, ...]) -> Arrays:
    """`<layer>.weight`, and a `<layer>.bias` for its outputs, with unlike channels."""
    rng = np.random.default_rng(seed)
    arrays = {}
    for name, shape in shapes.items():
        unlike = np.exp(rng.normal(0, 1, (shape[0], *[1] * (len(shape) - 1))))
        arrays[f"{name}.weight"] = (rng.normal(0, 0.3, shape) * unlike).astype(np.float32)
        arrays[f"{name}.bias"] = rng.normal(0, 0.3, shape[0]).astype(np.float32)
    return arrays


def layer(operator: str, name: str, source: str, **attributes: Any) -> onnx.NodeProto:
    """A node with the weight and the bias of `weights`."""
    return node(operator, name, source, f"{name}.weight", f"{name}.bias", **attributes)


def drawn(model: onnx.ModelProto, count: int = 4, seed: int = 1) -> np.ndarray[Any, Any]:
    """Pixels for a model."""
    shape = [dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim[1:]]
    return np.random.default_rng(seed).integers(0, 256, (count, *shape), dtype=np.uint8)


def with_all_outputs(model: onnx.ModelProto) -> onnx.ModelProto:
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    del copy.graph.output[:]
    for step in model.graph.node:
        copy.graph.output.append(onnx.ValueInfoProto(name=step.output[0]))
    return copy


def computed(model: onnx.ModelProto, images: np.ndarray[Any, Any]) -> Arrays:
    """All tensors between nodes, by ONNX Runtime."""
    session = open_session(with_all_outputs(model), as_written=True)
    names = [value.name for value in session.get_outputs()]
    return dict(zip(names, session.run(names, {"input": images.astype(np.float32)}), strict=True))


def by_reference(model: onnx.ModelProto, images: np.ndarray[Any, Any]) -> Arrays:
    """All tensors between nodes, by ONNX's reference evaluator."""
    evaluator = ReferenceEvaluator(with_all_outputs(model))
    values = evaluator.run(None, {"input": images.astype(np.float32)})
    return dict(zip(evaluator.output_names, values, strict=True))


def small_resnet() -> onnx.ModelProto:
    """A residual block on 8 x 8 places of (N, 32, 32, 3), quick to run; named as pipelines do."""
    arrays = weights(
        conv0=(6, 3, 3, 3), conv1=(6, 6, 3, 3), conv2=(6, 6, 3, 3), conv3=(5, 6, 1, 1), dense=(4, 5)
    )
    arrays["conv0.weight"] /= 200  # of pixels up to 255
    arrays["dense.weight"] = np.ascontiguousarray(arrays["dense.weight"].T)
    arrays["flatten.constant1"] = np.array([-1, 5])
    same = {"pads": [1, 1, 1, 1]}
    nodes = [
        node("Transpose", "permute", "input", perm=[0, 3, 1, 2]),
        layer("Conv", "conv0", "permute", strides=[4, 4], **same),
        node("Relu", "relu0", "conv0"),
        layer("Conv", "conv1", "relu0", **same),
        node("Relu", "relu1", "conv1"),
        layer("Conv", "conv2", "relu1", **same),
        node("Add", "add", "relu0", "conv2"),
        node("Relu", "relu2", "add"),
        layer("Conv", "conv3", "relu2"),
        node("Relu", "relu3", "conv3"),
        node("GlobalAveragePool", "pool", "relu3"),
        node("Reshape", "flatten", "pool", "flatten.constant1"),
        layer("Gemm", "dense", "flatten"),
        node("Softmax", "probabilities", "dense"),
    ]
    model = build(nodes, arrays, shape=(32, 32, 3))
    rows = helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["batch", 4])
    model.graph.output[0].CopyFrom(rows)
    return model
