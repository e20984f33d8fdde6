"""Turns a Keras model into the ONNX model that everything else starts from.

Shape letters: N images, H and W pixels, C channels.
"""

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from resnet8.core.batches import IMAGE_SHAPE
from resnet8.core.errors import ArtifactError
from resnet8.core.names import INPUT
from resnet8.models import keras_layers, onnx_file, onnx_model, onnx_simplify
from resnet8.models.keras_export import OnnxExport, export_onnx
from resnet8.models.keras_graph import Call, flatten
from resnet8.models.keras_layers import KerasLayer, Place
from resnet8.models.keras_library import keras
from resnet8.models.keras_model import make_function
from resnet8.models.onnx_graph import channels_first, with_outputs
from resnet8.models.parity import RTOL_LAYER

PROBES = 4  # images on which nodes are told apart
PLACES: tuple[Place, ...] = ("output", "before activation")


def convert(model: keras.Model, *, opset: int, n_classes: int) -> onnx.ModelProto:
    """Converts a Keras model to ONNX: batch normalization folded, named after the Keras layers.

    Args:
        model: any that `keras_model.load_model` returned.
        opset: the ONNX operator set to write.
        n_classes: K, the length of an output row.

    Returns:
        A model with input `input` (N, 32, 32, 3) and output `probabilities` (N, K). Its metadata
        tell which node computes which Keras layer's output, see `keras_layers`.

    Raises:
        ArtifactError: a layer cannot be expressed.
    """
    exported = export_onnx(model, opset=opset)
    try:
        folded = onnx_simplify.fold(exported.model)
    except onnx_model.ONNX_FAULTS as exc:
        reason = " ".join(str(exc).split())[:300].rstrip(".")
        raise ArtifactError(
            f"The model must be one that ONNX Runtime runs, got: {reason}. Replace the layer that "
            "it is about by others that compute the same."
        ) from exc
    simple = onnx_simplify.with_groups(folded, exported.groups)
    assigned = _assign_layers(model, simple, exported)
    names = {tensor: layer.name for tensor, layer in assigned.items()}
    names |= _find_names(simple, exported)
    named, nodes = onnx_simplify.name_after_layers(simple, names, n_classes=n_classes)
    keras_layers.record(named, {nodes[tensor]: layer for tensor, layer in assigned.items()})
    try:
        onnx_file.check_sizes(named)
    except onnx_file.SizeError as exc:
        raise ArtifactError(
            f"{keras_layers.describe(named, exc.tensor)} must compute tensors of a limited size "
            f"that is known before, got {exc}. Replace the layer by others that compute the same."
        ) from exc
    return named


def unmatched_layers(model: onnx.ModelProto) -> list[str]:
    """The Keras layers that became nodes none of which computes what the layer gives.

    Their outputs are unknown in the converted model, and not compared.
    """
    layers = keras_layers.read(model).values()
    known = {layer.name for layer in layers if layer.place == "output"}
    return sorted({layer.name for layer in layers} - known - {INPUT})


def _find_names(model: onnx.ModelProto, exported: OnnxExport) -> dict[str, str]:
    """The name of the layer that a node is named after, by the node's first output.

    A convolution with folded batch normalization is named after the convolution.
    """
    constants = {x.name for x in model.graph.initializer}
    found = {}
    for node in model.graph.node:
        # Weights first: a folded convolution may be called like its batch normalization.
        weights = [tensor for tensor in node.input if tensor in constants]
        if tokens := exported.find_tokens(*weights, node.name, *node.output):
            found[node.output[0]] = exported.layers[tokens[0]].name
    return found


def _assign_layers(
    model: keras.Model, converted: onnx.ModelProto, exported: OnnxExport
) -> dict[str, KerasLayer]:
    """Finds which node computes which layer's output: the last one with the same values.

    Names alone do not tell: a layer becomes several nodes, and a node may be several layers.

    Args:
        model: the original.
        converted: its nodes may compute the layers' outputs in another layout.
        exported: what `converted` was made of.

    Returns:
        By a node's first output, in the order of the nodes.
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
    transposed = channels_first(converted)
    tensors = [node.output[0] for node in converted.graph.node]
    session = onnx_model.open_session(with_outputs(converted, tensors))
    source = converted.graph.input[0].name
    outputs = dict(zip(tensors, session.run(tensors, {source: images}), strict=True))
    found: dict[str, KerasLayer] = {}

    def claim(node: onnx.NodeProto) -> KerasLayer | None:
        """The first layer with the node's values that no later node has."""
        tokens = exported.find_tokens(*node.output, node.name)
        tokens[:0] = [exported.folded[x] for x in tokens if x in exported.folded]
        own = [call for token in tokens for call in calls[token]]
        for place in PLACES:
            for call in own or flat.calls:
                layer = KerasLayer(call.name, call.kind, place)
                values, output = expected.get((call.name, place)), outputs[node.output[0]]
                if values is None or layer in found.values():
                    continue
                if _same(values, output, transposed=node.output[0] in transposed):
                    return layer
        return KerasLayer(own[0].name, own[0].kind, "within") if own else None

    for node in reversed(converted.graph.node):
        if node.op_type != "Transpose":  # which rearranges what another node computed
            layer = claim(node)
        else:
            layer = KerasLayer(INPUT, "InputLayer", "input") if node.input[0] == source else None
        if layer:
            found[node.output[0]] = layer
    return dict(reversed(found.items()))


def _same(expected: NDArray[np.float32], output: NDArray[np.float32], *, transposed: bool) -> bool:
    """Whether an output of a node is that of a layer, but for rounding and layout."""
    if transposed and expected.ndim == 4:
        expected = expected.transpose(0, 3, 1, 2)
    if expected.shape != output.shape:
        return False
    return bool(np.abs(expected - output).max() <= RTOL_LAYER * np.abs(expected).max())
