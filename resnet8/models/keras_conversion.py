"""Turns a Keras model into the ONNX model that everything else starts from.

Shape letters: N images, H and W pixels, C channels.
"""

import json
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import onnx
from numpy.typing import NDArray

from resnet8.core.batches import IMAGE_SHAPE
from resnet8.core.names import INPUT
from resnet8.models import onnx_model, onnx_simplify
from resnet8.models.keras_export import export_onnx
from resnet8.models.keras_graph import Call, flatten
from resnet8.models.keras_library import keras
from resnet8.models.keras_model import make_function
from resnet8.models.onnx_graph import channels_first, metadata, with_outputs
from resnet8.models.parity import RTOL_LAYER

KERAS_LAYERS = "keras_layers"  # metadata: which Keras layer a node belongs to, JSON
PROBES = 4  # images on which nodes are told apart

Place = Literal["output", "before activation", "within", "input"]
PLACES: tuple[Place, ...] = ("output", "before activation")


class KerasLayer(NamedTuple):
    """The Keras layer that a node of an ONNX model belongs to.

    name: the layer's, `input` for the model's input.
    kind: its class, as in `Conv2D`.
    place: what the node computes: the layer's output, what the layer gives without its activation
        function, or something within the layer that Keras does not show.
    """

    name: str
    kind: str
    place: Place

    def in_words(self) -> str:
        if self.place == INPUT:
            return "the model's input"
        words = {"output": "", "before activation": " before its activation", "within": ""}
        return f"{'within ' * (self.place == 'within')}layer {self.name}{words[self.place]}"


def convert(model: keras.Model, *, opset: int, n_classes: int) -> onnx.ModelProto:
    """Converts a Keras model to ONNX: batch normalization folded, named after the Keras layers.

    Args:
        model: any that `keras_model.load_model` returned.
        opset: the ONNX operator set to write.
        n_classes: K, the length of an output row.

    Returns:
        A model with input `input` (N, 32, 32, 3) and output `probabilities` (N, K). Its metadata
        tell which node computes which Keras layer's output, see `read_keras_layers`.

    Raises:
        ArtifactError: a layer cannot be expressed.
    """
    exported = export_onnx(model, opset=opset)
    named, tokens = onnx_simplify.name_after_layers(
        onnx_simplify.fold(exported.model), exported.layer_names, n_classes=n_classes
    )
    for found in tokens.values():
        found[:0] = [exported.folded[x] for x in found if x in exported.folded]
    layers = _assign_layers(model, named, tokens)
    record = {node: layer._asdict() for node, layer in layers.items()}
    named.metadata_props.add(key=KERAS_LAYERS, value=json.dumps(record))
    return named


def read_keras_layers(model: onnx.ModelProto) -> dict[str, KerasLayer]:
    """The Keras layer that each node belongs to, as far as that is known; in order."""
    try:
        record = json.loads(metadata(model).get(KERAS_LAYERS, "{}"))
        layers = {str(node): KerasLayer(**layer) for node, layer in record.items()}
    except (AttributeError, TypeError, ValueError):
        return {}
    return {node: layer for node, layer in layers.items() if layer.place in get_args(Place)}


def _assign_layers(
    model: keras.Model, converted: onnx.ModelProto, tokens: Mapping[str, list[str]]
) -> dict[str, KerasLayer]:
    """Finds which node computes which layer's output: the last one with the same values.

    Names alone do not tell: a layer becomes several nodes, and a node may be several layers.

    Args:
        model: the original.
        converted: its nodes may compute the layers' outputs in another layout.
        tokens: by node, of the layers that it may belong to.
    """
    flat = flatten(model, dtype="float64")
    calls: dict[str, list[Call]] = {}
    for call in flat.calls:
        calls.setdefault(call.layer.name, []).append(call)
    wanted: dict[tuple[str, Place], Any] = {}
    for call in flat.calls:
        wanted[call.name, "output"] = call.output
        if (before := call.without_activation()) is not None:
            wanted[call.name, "before activation"] = before
    images = np.random.default_rng(0).integers(0, 256, (PROBES, *IMAGE_SHAPE)).astype(np.float32)
    expected = dict(
        zip(wanted, make_function(flat.model, list(wanted.values()))(images), strict=True)
    )
    first = channels_first(converted)
    tensors = {node.name: node.output[0] for node in converted.graph.node}
    session = onnx_model.open_session(with_outputs(converted, list(tensors.values())))
    outputs = dict(
        zip(tensors, session.run(list(tensors.values()), {INPUT: images}), strict=True)
    )

    def claim(node: str) -> KerasLayer | None:
        """The first layer with the node's values that no later node has."""
        own = [call for token in tokens[node] for call in calls[token]]
        for place in PLACES:
            for call in own:
                layer = KerasLayer(call.name, call.kind, place)
                values = expected.get((call.name, place))
                known = values is not None and layer not in found.values()
                if known and _same(values, outputs[node], transposed=node in first):
                    return layer
        return KerasLayer(own[0].name, own[0].kind, "within") if own else None

    found: dict[str, KerasLayer] = {}
    for node in reversed(converted.graph.node):
        if node.op_type == "Transpose" and node.input[0] == INPUT:
            found[node.name] = KerasLayer(INPUT, "InputLayer", "input")
        elif layer := claim(node.name):
            found[node.name] = layer
    return dict(reversed(found.items()))


def _same(
    expected: NDArray[np.float32], output: NDArray[np.float32], *, transposed: bool
) -> bool:
    """Whether an output of a node is that of a layer, but for rounding and layout."""
    if transposed and expected.ndim == 4:
        expected = expected.transpose(0, 3, 1, 2)
    if expected.shape != output.shape:
        return False
    return bool(np.abs(expected - output).max() <= RTOL_LAYER * np.abs(expected).max())
