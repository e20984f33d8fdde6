"""Small ONNX models made by hand, and what they compute."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from onnxruntime.quantization import CalibrationDataReader

from resnet8.core.sections import Fit
from resnet8.models.onnx_graph import with_outputs
from resnet8.models.onnx_model import open_session
from resnet8.quantize.fit import fit
from resnet8.quantize.quantization import Quantization

Arrays = dict[str, np.ndarray[Any, Any]]


class Reader(CalibrationDataReader):  # type: ignore[misc]
    """Batches of images, once, as ONNX Runtime's tools read them."""

    def __init__(self, batches: Iterable[np.ndarray[Any, Any]]) -> None:
        self.batches = iter(batches)

    def get_next(self) -> Arrays | None:
        batch = next(self.batches, None)
        return None if batch is None else {"input": batch.astype(np.float32)}


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


def computed(model: onnx.ModelProto, images: np.ndarray[Any, Any]) -> Arrays:
    """All tensors between nodes, by ONNX Runtime."""
    tensors = [step.output[0] for step in model.graph.node]
    session = open_session(with_outputs(model, tensors), as_written=True)
    values = session.run(tensors, {"input": images.astype(np.float32)})
    return dict(zip(tensors, values, strict=True))


def by_reference(model: onnx.ModelProto, images: np.ndarray[Any, Any]) -> Arrays:
    """All tensors between nodes, by ONNX's reference evaluator."""
    tensors = [step.output[0] for step in model.graph.node]
    evaluator = ReferenceEvaluator(with_outputs(model, tensors))
    values = evaluator.run(tensors, {"input": images.astype(np.float32)})
    return dict(zip(tensors, values, strict=True))


def classifier(
    nodes: Sequence[onnx.NodeProto], channels: int, *, divisor: float = 1.0, **shapes: Any
) -> onnx.ModelProto:
    """A model of (N, 32, 32, 3) to 4 probabilities, with some nodes in the middle.

    Args:
        nodes: from `permute` (N, 3, 32, 32) to `channels` channels.
        channels: of the last node.
        divisor: of the first layer's weights, because pixels are up to 255.
        shapes: of the nodes' weights, by layer.
    """
    arrays = weights(**shapes, dense=(4, channels))
    arrays[f"{next(iter(shapes))}.weight"] /= np.float32(divisor)
    arrays["dense.weight"] = np.ascontiguousarray(arrays["dense.weight"].T)
    arrays["flatten.constant1"] = np.array([-1, channels])
    nodes = [
        node("Transpose", "permute", "input", perm=[0, 3, 1, 2]),
        *nodes,
        node("GlobalAveragePool", "pool", nodes[-1].name),
        node("Reshape", "flatten", "pool", "flatten.constant1"),
        layer("Gemm", "dense", "flatten"),
        node("Softmax", "probabilities", "dense"),
    ]
    model = build(nodes, arrays, shape=(32, 32, 3))
    rows = helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["batch", 4])
    model.graph.output[0].CopyFrom(rows)
    return model


SAME = {"pads": [1, 1, 1, 1]}


def small_resnet() -> onnx.ModelProto:
    """A residual block on 8 x 8 places, quick to run; named as pipelines do."""
    nodes = [
        layer("Conv", "conv0", "permute", strides=[4, 4], **SAME),
        node("Relu", "relu0", "conv0"),
        layer("Conv", "conv1", "relu0", **SAME),
        node("Relu", "relu1", "conv1"),
        layer("Conv", "conv2", "relu1", **SAME),
        node("Add", "add", "relu0", "conv2"),
        node("Relu", "relu2", "add"),
        layer("Conv", "conv3", "relu2"),
        node("Relu", "relu3", "conv3"),
    ]
    block = dict.fromkeys(("conv1", "conv2"), (6, 6, 3, 3))
    return classifier(nodes, 5, divisor=200, conv0=(6, 3, 3, 3), **block, conv3=(5, 6, 1, 1))


def depthwise() -> onnx.ModelProto:
    """Blocks like MobileNet's, with an activation that is clipped and one that is scaled."""
    nodes = [
        layer("Conv", "conv0", "permute", strides=[4, 4], auto_pad="SAME_UPPER"),
        node("Clip", "clip", "conv0", "low", "high"),
        layer("Conv", "deep", "clip", group=6, **SAME),
        node("LeakyRelu", "leaky", "deep", alpha=0.1),
        layer("Conv", "point", "leaky"),
        node("Relu", "relu", "point"),
    ]
    shapes = {"conv0": (6, 3, 3, 3), "deep": (6, 1, 3, 3), "point": (8, 6, 1, 1)}
    model = classifier(nodes, 8, divisor=50, **shapes)
    for name, value in (("low", 0), ("high", 6)):
        model.graph.initializer.append(numpy_helper.from_array(np.array(value, np.float32), name))
    return model


# Settings of `fit` that need no second look at the images.
QUICK = {
    "activation_range": "minmax",
    "equalization": 0.0,
    "weight_rounding": "nearest",
    "bias_correction": False,
}


def fitted(
    model: onnx.ModelProto, settings: Fit, images: Any = None, **changes: Any
) -> Quantization:
    """The quantization of a model with other settings, from 40 random images by default."""
    chosen = settings.model_copy(update=changes)
    return fit(model, drawn(model, 40) if images is None else images, chosen)
