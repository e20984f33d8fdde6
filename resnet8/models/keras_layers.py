"""The Keras layer of each node of an ONNX model, as recorded in the model's metadata."""

import json
from collections.abc import Mapping
from typing import Literal, NamedTuple, get_args

import onnx

from resnet8.models.onnx_graph import metadata

KEY = "keras_layers"

Place = Literal["output", "before activation", "within", "input"]


class KerasLayer(NamedTuple):
    """The Keras layer that a node of an ONNX model belongs to.

    name: of the layer.
    kind: its class, as in `Conv2D`.
    place: the value that the node computes: the layer's output, the output without the layer's
        activation function, an intermediate value of the layer, or the model's input.
    """

    name: str
    kind: str
    place: Place

    def in_words(self) -> str:
        """Describes the value that the node computes."""
        return {
            "output": f"layer {self.name}",
            "before activation": f"layer {self.name} before its activation",
            "within": f"within layer {self.name}",
            "input": "the model's input",
        }[self.place]


def record(model: onnx.ModelProto, layers: Mapping[str, KerasLayer]) -> None:
    """Writes the Keras layers by node into the metadata of a model."""
    text = json.dumps({node: layer._asdict() for node, layer in layers.items()})
    model.metadata_props.add(key=KEY, value=text)


def read(model: onnx.ModelProto) -> dict[str, KerasLayer]:
    """The known Keras layers by node, in the order of the nodes."""
    try:
        entries = json.loads(metadata(model).get(KEY, "{}"))
        layers = {str(node): KerasLayer(**layer) for node, layer in entries.items()}
    except (AttributeError, TypeError, ValueError):
        return {}
    return {node: layer for node, layer in layers.items() if layer.place in get_args(Place)}


def describe(model: onnx.ModelProto, tensor: str) -> str:
    """Names the layer that computes a tensor, or else the next known layer."""
    layers, nodes = read(model), list(model.graph.node)
    start = next((i for i, node in enumerate(nodes) if tensor in node.output), 0)
    layer = next((layers[node.name] for node in nodes[start:] if node.name in layers), None)
    return f"Layer {layer.name} ({layer.kind})" if layer else "The model"
