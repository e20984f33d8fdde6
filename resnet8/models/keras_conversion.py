"""Converts a Keras model to the ONNX model that all other stages start from.

Shape letters: N images, H and W pixels, C channels.
"""

import numpy as np
import onnx
from numpy.typing import NDArray

from resnet8.core.batches import IMAGE_SHAPE
from resnet8.core.errors import ArtifactError
from resnet8.core.names import INPUT
from resnet8.models import keras_layers, onnx_file, onnx_model, onnx_simplify
from resnet8.models.faults import reason
from resnet8.models.keras_export import OnnxExport, export_onnx
from resnet8.models.keras_graph import FlatModel, flatten
from resnet8.models.keras_layers import KerasLayer, Place
from resnet8.models.keras_library import keras
from resnet8.models.keras_model import make_function
from resnet8.models.onnx_graph import channels_first, with_outputs
from resnet8.models.parity import RTOL_LAYER

PROBES = 4  # images whose layer outputs identify nodes
PLACES: tuple[Place, ...] = ("output", "before activation")


def convert(model: keras.Model, *, opset: int, n_classes: int) -> onnx.ModelProto:
    """Converts a Keras model to ONNX: batch normalization folded, named after the Keras layers.

    Args:
        model: from `keras_model.load_model`.
        opset: the ONNX operator set to write.
        n_classes: K, the length of an output row.

    Returns:
        A model with input `input` (N, 32, 32, 3) and output `probabilities` (N, K). Its metadata
        map nodes to the Keras layers whose outputs they compute, see `keras_layers`.

    Raises:
        ArtifactError: a layer cannot be expressed.
    """
    exported = export_onnx(model, opset=opset)
    try:
        folded = onnx_simplify.fold(exported.model)
    except onnx_model.ONNX_FAULTS as exc:
        raise ArtifactError(
            f"The model must be one that ONNX Runtime runs, got: {reason(exc, limit=300)}. "
            "Replace the layer that it is about by others that compute the same."
        ) from exc
    layers = _match_layers(model, folded, exported)
    names = [
        _name_in(node, folded, exported) or (layer.name if layer else "model")
        for node, layer in zip(folded.graph.node, layers, strict=True)
    ]
    named = onnx_simplify.name_after_layers(folded, names, n_classes=n_classes)
    pairs = zip(named.graph.node, layers, strict=True)
    keras_layers.record(named, {node.name: layer for node, layer in pairs if layer})
    try:
        onnx_file.check_sizes(named)
    except onnx_file.SizeError as exc:
        raise ArtifactError(
            f"{keras_layers.describe(named, exc.tensor)} must compute tensors of a limited size "
            f"that is known before, got {exc}. Replace the layer by others that compute the same."
        ) from exc
    return named


def unmatched_layers(model: onnx.ModelProto) -> list[str]:
    """The Keras layers with nodes in the converted model of which none computes their output.

    Their outputs are not compared.
    """
    layers = keras_layers.read(model).values()
    known = {layer.name for layer in layers if layer.place == "output"}
    return sorted({layer.name for layer in layers} - known - {INPUT})


def _name_in(node: onnx.NodeProto, model: onnx.ModelProto, exported: OnnxExport) -> str | None:
    """The name of the layer whose token is in the names of a node, its weights first.

    A folded convolution may be called like its batch normalization; its weights are not.
    """
    constants = {x.name for x in model.graph.initializer}
    weights = [tensor for tensor in node.input if tensor in constants]
    tokens = exported.find_tokens(*weights, node.name, *node.output)
    return exported.layers[tokens[0]].name if tokens else None


def _match_layers(
    model: keras.Model, converted: onnx.ModelProto, exported: OnnxExport
) -> list[KerasLayer | None]:
    """Finds the layer of each node, and the last node with the values of each layer's output.

    Names alone do not suffice: a layer becomes several nodes, and a node may be several layers.
    """
    flat = flatten(model, dtype="float64")
    calls: dict[str, list[tuple[str, str]]] = {}  # names and kinds by token
    for call in flat.calls:
        calls.setdefault(call.layer.name, []).append((call.name, call.kind))
    images = np.random.default_rng(0).integers(0, 256, (PROBES, *IMAGE_SHAPE)).astype(np.float32)
    expected, outputs = _layer_outputs(flat, images), _node_outputs(converted, images)
    matches: list[KerasLayer | None] = []
    for node in reversed(converted.graph.node):
        if node.op_type == "Transpose":  # rearranges the output of another node
            of_input = node.input[0] == converted.graph.input[0].name
            matches.append(KerasLayer(INPUT, "InputLayer", "input") if of_input else None)
            continue
        tokens = exported.find_tokens(*node.output, node.name)
        tokens[:0] = [exported.folded[x] for x in tokens if x in exported.folded]
        own = [call for token in tokens for call in calls[token]]
        candidates = (
            layer
            for place in PLACES
            for call in own or [(call.name, call.kind) for call in flat.calls]
            if (layer := KerasLayer(*call, place)) in expected and layer not in matches
        )
        output = outputs[node.output[0]]
        within = KerasLayer(*own[0], "within") if own else None
        matches.append(next((x for x in candidates if _equal(expected[x], output)), within))
    return matches[::-1]


def _layer_outputs(
    flat: FlatModel, images: NDArray[np.float32]
) -> dict[KerasLayer, NDArray[np.float32]]:
    """The outputs of all calls of layers, with and without their activation functions."""
    tensors = {}
    for call in flat.calls:
        tensors[KerasLayer(call.name, call.kind, "output")] = call.output
        if (before := call.without_activation()) is not None:
            tensors[KerasLayer(call.name, call.kind, "before activation")] = before
    outputs = make_function(flat.model, list(tensors.values()))(images)
    return dict(zip(tensors, outputs, strict=True))


def _node_outputs(
    model: onnx.ModelProto, images: NDArray[np.float32]
) -> dict[str, NDArray[np.float32]]:
    """The first outputs of all nodes, with channels last as in Keras."""
    tensors = [node.output[0] for node in model.graph.node]
    session = onnx_model.open_session(with_outputs(model, tensors))
    outputs = session.run(tensors, {model.graph.input[0].name: images})
    transposed = channels_first(model)
    return {
        tensor: output.transpose(0, 2, 3, 1) if tensor in transposed else output
        for tensor, output in zip(tensors, outputs, strict=True)
    }


def _equal(expected: NDArray[np.float32], output: NDArray[np.float32]) -> bool:
    """Returns whether arrays are equal up to rounding."""
    if expected.shape != output.shape:
        return False
    return bool(np.abs(expected - output).max() <= RTOL_LAYER * np.abs(expected).max())
