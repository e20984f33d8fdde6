"""Captures the layers of a Keras model, named after the nodes of the ONNX model."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from resnet8.inspection.capture import Captured, Point, Watched
from resnet8.models import keras_conversion, keras_layers, keras_model, onnx_graph
from resnet8.models.keras_graph import Call, FlatModel, flatten
from resnet8.models.keras_layers import Place

# Shape letters: N images, H and W pixels, C channels.
OPSET = 17  # of conversions that only name layers


def watch_file(path: Path, *, n_classes: int) -> Watched:
    """Opens a Keras model, and converts it to ONNX for layer names and folded parameters.

    Raises:
        ArtifactError: the file is not a model that can be converted.
    """
    model = keras_model.load_model(path, n_classes=n_classes)
    converted = keras_conversion.convert(model, opset=OPSET, n_classes=n_classes)
    return watch(model, converted)._replace(parameters=onnx_graph.read_parameters(converted))


def watch(model: Any, converted: onnx.ModelProto) -> Watched:
    """Captures the outputs that correspond to nodes of the ONNX model, by node name.

    Where a node's output is (N, C, H, W), Keras's is transposed. Nodes inside a layer, or without
    a known layer, are absent.
    """
    flat = flatten(model, dtype="float64")
    calls = {call.name: call for call in flat.calls}
    tensors, points, absent = {}, {}, {}
    for node, layer in keras_layers.read(converted).items():
        tensor = _tensor(flat, calls.get(layer.name), layer.place)
        if tensor is None:
            absent[node] = layer.in_words()
        else:
            tensors[node], points[node] = tensor, Point(layer.in_words())
    compute = keras_model.make_function(flat.model, [*tensors.values(), *flat.model.outputs])
    transposed = onnx_graph.channels_first(converted)

    def run(images: NDArray[np.float32]) -> Captured:
        *outputs, probabilities = compute(images)
        named = {
            node: np.ascontiguousarray(output.transpose(0, 3, 1, 2))
            if node in transposed and output.ndim == 4
            else output
            for node, output in zip(tensors, outputs, strict=True)
        }
        return Captured(named, probabilities)

    return Watched(points, {}, absent, run)


def _tensor(flat: FlatModel, call: Call | None, place: Place) -> Any:
    """Returns the symbolic tensor that a node computes; None if unknown."""
    if place == "input":
        return flat.model.inputs[0]
    if call is None or place == "within":
        return None
    return call.output if place == "output" else call.without_activation()
