"""Captures the layers of a Keras model, named after the nodes of the ONNX model.

Shape letters: N images, H and W pixels, C channels.
"""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from resnet8.inspection.capture import Captured, Point, Watched
from resnet8.models import keras_conversion, keras_layers, keras_model, onnx_graph
from resnet8.models.keras_graph import flatten

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
    transposed = onnx_graph.channels_first(converted)
    tensors, points, absent = {}, {}, {}
    for node, layer in keras_layers.read(converted).items():
        call = calls.get(layer.name)
        if layer.place == "input":
            tensors[node] = flat.model.inputs[0]
        elif call is None or layer.place == "within":
            absent[node] = layer.in_words()
            continue
        else:
            tensors[node] = call.output if layer.place == "output" else call.without_activation()
        points[node] = Point(layer.in_words())
    compute = keras_model.make_function(flat.model, [*tensors.values(), *flat.model.outputs])

    def run(images: NDArray[np.float32]) -> Captured:
        *outputs, probabilities = compute(images)
        named = dict(zip(tensors, outputs, strict=True))
        for node in transposed & {x for x, output in named.items() if output.ndim == 4}:
            named[node] = np.ascontiguousarray(named[node].transpose(0, 3, 1, 2))
        return Captured(named, probabilities)

    return Watched(points, {}, absent, run)
