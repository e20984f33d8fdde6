"""Converts a Keras model to the ONNX model that all other stages start from, with tf2onnx.

Shape letters: N images, H and W pixels, C channels, K classes.
"""

from functools import partial
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from resnet8.core.batches import IMAGE_SHAPE
from resnet8.core.errors import ArtifactError
from resnet8.core.names import INPUT
from resnet8.models import keras_layers, onnx_model, onnx_simplify
from resnet8.models.faults import refused
from resnet8.models.keras_folding import fold_batch_normalization
from resnet8.models.keras_graph import FlatModel, flatten
from resnet8.models.keras_layers import KerasLayer
from resnet8.models.keras_library import keras, tf, tf2onnx
from resnet8.models.keras_model import KERAS_FAULTS, compiled, make_function
from resnet8.models.onnx_graph import channels_first, with_outputs
from resnet8.models.parity import RTOL_LAYER

PROBES = 4  # images whose layer outputs identify nodes


def convert(model: keras.Model, *, opset: int, n_classes: int) -> onnx.ModelProto:
    """Converts a Keras model to ONNX: batch normalization folded, named after the Keras layers.

    Input `input` is (N, 32, 32, 3), output `probabilities` (N, K). The metadata of the result map
    nodes to the Keras layers whose outputs they compute, see `keras_layers`.

    Raises:
        ArtifactError: a layer cannot be expressed.
    """
    flat = flatten(model)
    normalizations = fold_batch_normalization(flat)
    exported = _export(flat, opset)
    with refused(
        "The model must be one that ONNX Runtime runs",
        "Replace the layer that it is about by others that compute the same.",
        faults=onnx_model.ONNX_FAULTS,
    ):
        converted = onnx_simplify.fold(exported)
    layers = _match_layers(model, converted, normalizations)
    constants = {x.name for x in converted.graph.initializer}
    names = []
    for node, layer in zip(converted.graph.node, layers, strict=True):
        # A folded convolution may bear the token of its batch normalization; its weights do not.
        weights = [tensor for tensor in node.input if tensor in constants]
        calls = flat.calls_in(*weights, node.name, *node.output)
        fallback = layer.name if layer else "model"
        names.append(calls[0].name if calls else fallback)
    onnx_simplify.name_after_layers(converted, names, n_classes=n_classes)
    pairs = zip(converted.graph.node, layers, strict=True)
    keras_layers.record(converted, {node.name: layer for node, layer in pairs if layer})
    for tensor, problem in onnx_model.oversized_tensors(converted):
        raise ArtifactError(
            f"{keras_layers.describe(converted, tensor)} must compute tensors of a limited size "
            f"that is known before, got {problem}. Replace the layer by others that compute the "
            "same."
        )
    return converted


def unmatched_layers(model: onnx.ModelProto) -> list[str]:
    """Returns the Keras layers none of whose nodes computes their output; they are not compared."""
    layers = keras_layers.read(model).values()
    known = {layer.name for layer in layers if layer.place in ("output", "input")}
    return sorted({layer.name for layer in layers} - known)


def _export(flat: FlatModel, opset: int) -> onnx.ModelProto:
    """Exports a model with input in NHWC and any batch size; its layers are changed."""
    for layer in flat.model.layers:
        _use_exportable_operators(layer)
    forward = compiled(flat.model)
    exported: onnx.ModelProto
    try:
        exported, _ = tf2onnx.convert.from_function(forward, forward.input_signature, opset=opset)
    except KERAS_FAULTS as exc:
        raise _not_expressible(flat, opset, str(exc), str(exc)) from exc
    _store_captured_tensors(exported.graph, forward)
    _replace_tensorflow_operators(exported.graph)
    for node in exported.graph.node:
        has_subgraph = any(x.HasField("g") or x.graphs for x in node.attribute)
        if has_subgraph or node.domain or not onnx.defs.has(node.op_type, opset):
            operator = "loop" if has_subgraph else node.op_type
            raise _not_expressible(flat, opset, f"a {operator} operator", node.name, *node.output)
    return exported


def _not_expressible(flat: FlatModel, opset: int, message: str, *texts: str) -> ArtifactError:
    """The error about the layer whose token occurs in one of the texts."""
    subject = next((f"Layer {x.name} ({x.kind})" for x in flat.calls_in(*texts)), "The model")
    last_line = message.strip().rpartition("\n")[2].strip()
    return ArtifactError(
        f"{subject} must be expressible in ONNX operator set {opset}, got: "
        f"{last_line.rstrip('.')[:200]}. Replace the layer by others that compute the same, or try "
        "another convert_onnx.opset."
    )


def _use_exportable_operators(layer: keras.Layer) -> None:
    """Replaces XLA's grouped convolution, and upsampling by repeated rows and columns."""
    is_channels_first = getattr(layer, "data_format", None) == "channels_first"
    if isinstance(layer, keras.layers.Conv2D) and layer.groups > 1:
        layer.convolution_op = partial(
            tf.nn.convolution,
            strides=list(layer.strides),
            padding=layer.padding.upper(),
            data_format="NCHW" if is_channels_first else "NHWC",
            dilations=list(layer.dilation_rate),
        )
    elif isinstance(layer, keras.layers.UpSampling2D) and layer.interpolation == "nearest":
        pixels = layer.input.shape[2:] if is_channels_first else layer.input.shape[1:3]
        layer.call = partial(
            keras.ops.image.resize,
            size=tuple(n * times for n, times in zip(pixels, layer.size, strict=True)),
            interpolation="nearest",
            data_format=layer.data_format,
        )


def _replace_tensorflow_operators(graph: onnx.GraphProto) -> None:
    """Replaces operators that tf2onnx leaves as they are: 1 - erf(x), exp(x) - 1."""
    nodes = list(graph.node)
    del graph.node[:]
    for node in nodes:
        if operator := {"Erfc": "Erf", "Expm1": "Exp"}.get(node.op_type):
            one, value = f"{node.name}/one", f"{node.name}/value"
            graph.initializer.append(numpy_helper.from_array(np.array(1, np.float32), one))
            graph.node.append(helper.make_node(operator, node.input, [value], name=value))
            node.input[:] = [one, value] if operator == "Erf" else [value, one]
            node.op_type = "Sub"
        graph.node.append(node)


def _store_captured_tensors(graph: onnx.GraphProto, forward: Any) -> None:
    """Turns tensors that a compiled function captured, inputs to tf2onnx, into initializers."""
    inputs = {value.name: value for value in graph.input}
    for tensor, placeholder in forward.get_concrete_function().graph.captures:
        if placeholder.name in inputs:
            graph.input.remove(inputs[placeholder.name])
            graph.initializer.append(numpy_helper.from_array(tensor.numpy(), placeholder.name))


def _match_layers(
    model: keras.Model, converted: onnx.ModelProto, normalizations: dict[str, str]
) -> list[KerasLayer | None]:
    """Finds the layer of each node, and the last node with the values of each layer's output.

    Names alone do not suffice: a layer becomes several nodes, and a node may be several layers.
    `normalizations` has, by token of a layer, that of the batch normalization folded into it.
    """
    flat = flatten(model, dtype="float64")
    images = np.random.default_rng(0).integers(0, 256, (PROBES, *IMAGE_SHAPE)).astype(np.float32)
    expected, outputs = _layer_outputs(flat, images), _node_outputs(converted, images)
    layers: list[KerasLayer | None] = []
    for node in reversed(converted.graph.node):  # so that a layer's last match is the first here
        if node.op_type == "Transpose":  # rearranges the output of another node
            of_input = node.input[0] == converted.graph.input[0].name
            layers.append(KerasLayer(INPUT, "InputLayer", "input") if of_input else None)
            continue
        calls = flat.calls_in(*node.output, node.name)
        folded = [normalizations.get(call.layer.name, "") for call in calls]
        calls = [*flat.calls_in(*folded), *calls]
        names = {call.name for call in calls or flat.calls}
        layer = KerasLayer(calls[0].name, calls[0].kind, "within") if calls else None
        values = outputs[node.output[0]]
        equal = (x for x in expected if x.name in names and _equal(expected[x], values))
        if match := next(equal, None):
            layer = match
            del expected[match]
        layers.append(layer)
    return layers[::-1]


def _layer_outputs(
    flat: FlatModel, images: NDArray[np.float32]
) -> dict[KerasLayer, NDArray[np.float32]]:
    """The outputs of all calls, the last one first; then those without activation functions."""
    calls = flat.calls[::-1]
    tensors = {KerasLayer(call.name, call.kind, "output"): call.output for call in calls}
    for call in calls:
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
    atol = RTOL_LAYER * np.abs(expected).max()
    return expected.shape == output.shape and np.allclose(output, expected, rtol=0, atol=atol)
