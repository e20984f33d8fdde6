"""Watches the layers of a Keras model under the names that they have in the ONNX model."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from resnet8.core.files import find_model
from resnet8.core.names import INPUT
from resnet8.inspection import onnx_capture
from resnet8.inspection.capture import Captured, Point, Watched
from resnet8.models import keras_export, keras_model, onnx_graph, onnx_model, onnx_simplify

# Shape letters: N images, H and W pixels, C channels.
OPSET = 17  # of a conversion that only serves to name layers


def watch_original(folder: Path, converted: Path, *, n_classes: int) -> Watched:
    """Watches the Keras model in a folder beside the ONNX model that was made from it."""
    model = keras_model.load_model(find_model(folder), n_classes=n_classes)
    return _watch_beside(model, onnx_model.load_model(converted))


def watch_file(path: Path, *, n_classes: int) -> Watched:
    """Watches a Keras model by itself.

    It is converted to ONNX on the way, for the names of its layers and for its parameters, into
    which batch normalization is folded.

    Raises:
        ArtifactError: the file is no model that can be converted.
    """
    model = keras_model.load_model(path, n_classes=n_classes)
    exported, *names = keras_export.export_onnx(model, opset=OPSET)
    converted = onnx_simplify.name_after_layers(
        onnx_simplify.fold(exported), *names, n_classes=n_classes
    )
    watched = _watch_beside(model, converted)
    return watched._replace(parameters=onnx_graph.read_parameters(converted))


def _watch_beside(model: Any, converted: onnx.ModelProto) -> Watched:
    layers = onnx_capture.keras_layers(converted)
    return watch(model, layers, channels_first=onnx_capture.channels_first(converted))


def watch(model: Any, layers: Mapping[str, str], *, channels_first: Collection[str]) -> Watched:
    """Watches the layers whose outputs the ONNX model's nodes compute.

    Where a layer applies an activation function in itself, its node before the last is
    compared with what the layer gives without that function.

    Args:
        model: what `keras_model.load_model` returned.
        layers: by node, the Keras layer that its output belongs to, or `input`; in order.
        channels_first: the nodes whose outputs are (N, C, H, W); Keras's are transposed.

    Returns:
        The layers by node name; nodes within a layer are absent.
    """
    model = keras_model.in_float64(model)
    nodes: dict[str, list[str]] = {}  # by Keras layer
    for node, layer in layers.items():
        nodes.setdefault(layer, []).append(node)
    tensors, points = {}, {}
    for node, name in layers.items():
        if name == INPUT:
            tensors[node], points[node] = model.inputs[0], Point("the model's input")
        elif node == nodes[name][-1]:
            tensors[node], points[node] = model.get_layer(name).output, Point(f"layer {name}")
        elif len(nodes[name]) == 2 and hasattr(layer := model.get_layer(name), "activation"):
            tensors[node] = _without_activation(layer)
            points[node] = Point(f"layer {name} before its activation")
    absent = {node: f"within layer {layers[node]}" for node in layers if node not in points}
    compute = keras_model.make_function(model, [*tensors.values(), *model.outputs])

    def run(images: NDArray[np.float32]) -> Captured:
        *outputs, probabilities = compute(images)
        found = {
            node: np.ascontiguousarray(output.transpose(0, 3, 1, 2))
            if node in channels_first
            else output
            for node, output in zip(tensors, outputs, strict=True)
        }
        return Captured(found, probabilities)

    return Watched(points, {}, absent, run)


def _without_activation(layer: Any) -> Any:
    """What a layer with an activation function of its own gives without it."""
    config = {**layer.get_config(), "activation": "linear", "name": f"{layer.name}_linear"}
    linear = layer.__class__.from_config(config)
    output = linear(layer.input)
    linear.set_weights(layer.get_weights())
    return output
