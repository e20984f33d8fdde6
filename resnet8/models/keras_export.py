"""Exports Keras models to ONNX with tf2onnx."""

import re
from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import onnx
from onnx import helper, numpy_helper

from resnet8.core.errors import ArtifactError
from resnet8.models.faults import FAULTS
from resnet8.models.keras_folding import fold_batch_normalization
from resnet8.models.keras_graph import Call, FlatModel, flatten
from resnet8.models.keras_library import keras, tf, tf2onnx
from resnet8.models.keras_model import compiled

_FAULTS: tuple[type[Exception], ...] = (*FAULTS, tf.errors.OpError)


class OnnxExport(NamedTuple):
    """An exported model and the Keras layers in it.

    model: as tf2onnx wrote it, not yet simplified.
    layers: first call of each layer, by the token that stands for the layer in node names.
    folded: by token of a layer, the token of the batch normalization that was folded into it.
    """

    model: onnx.ModelProto
    layers: dict[str, Call]
    folded: dict[str, str]

    def find_tokens(self, *texts: str) -> list[str]:
        """The tokens in some texts, in order, each once."""
        return _find_tokens(self.layers, *texts)


def export_onnx(model: keras.Model, *, opset: int) -> OnnxExport:
    """Exports a model with input in NHWC, any batch size, and batch normalization folded.

    Args:
        model: from `keras_model.load_model`.
        opset: the ONNX operator set to write.

    Raises:
        ArtifactError: tf2onnx cannot express a layer, which the message names.
    """
    flat = flatten(model)
    layers: dict[str, Call] = {}
    for call in flat.calls:
        layers.setdefault(call.layer.name, call)
    folded = fold_batch_normalization(flat)
    _use_exportable_operators(flat)
    forward = compiled(flat.model)
    try:
        exported, _ = tf2onnx.convert.from_function(forward, forward.input_signature, opset=opset)
    except _FAULTS as exc:
        raise _not_expressible(layers, [str(exc)], opset, str(exc)) from exc
    _store_captured_tensors(exported.graph, forward)
    _replace_tensorflow_operators(exported.graph)
    for node in exported.graph.node:
        has_subgraph = any(x.HasField("g") or x.graphs for x in node.attribute)
        if has_subgraph or not _is_known(node, opset):
            operator = "loop" if has_subgraph else node.op_type
            texts = [node.name, *node.output]
            raise _not_expressible(layers, texts, opset, f"a {operator} operator")
    return OnnxExport(exported, layers, folded)


def _find_tokens(layers: Mapping[str, Call], *texts: str) -> list[str]:
    token = re.compile("|".join(layers))
    return list(dict.fromkeys(match for text in texts for match in token.findall(text)))


def _not_expressible(
    layers: Mapping[str, Call], texts: list[str], opset: int, message: str
) -> ArtifactError:
    """The error about the layer whose token is in one of some texts."""
    tokens = _find_tokens(layers, *texts)
    layer = layers[tokens[0]] if tokens else None
    subject = f"Layer {layer.name} ({layer.kind})" if layer else "The model"
    last_line = message.strip().rpartition("\n")[2].strip()
    return ArtifactError(
        f"{subject} must be expressible in ONNX operator set {opset}, got: "
        f"{last_line.rstrip('.')[:200]}. Replace the layer by others that compute the same, or try "
        "another convert_onnx.opset."
    )


def _is_known(node: onnx.NodeProto, opset: int) -> bool:
    try:
        return not node.domain and bool(onnx.defs.get_schema(node.op_type, opset))
    except onnx.defs.SchemaError:
        return False


def _use_exportable_operators(flat: FlatModel) -> None:
    """Lets layers compute the same with operators that have one counterpart in ONNX.

    Keras compiles grouped convolutions with XLA, and repeats rows and columns for upsampling.

    Args:
        flat: its layers are changed.
    """
    for layer in flat.model.layers:
        if isinstance(layer, keras.layers.Conv2D) and layer.groups > 1:
            layer.convolution_op = partial(
                tf.nn.convolution,
                strides=list(layer.strides),
                padding=layer.padding.upper(),
                data_format="NCHW" if layer.data_format == "channels_first" else "NHWC",
                dilations=list(layer.dilation_rate),
            )
        elif isinstance(layer, keras.layers.UpSampling2D) and layer.interpolation == "nearest":
            _, *shape = layer.input.shape
            pixels = shape[1:] if layer.data_format == "channels_first" else shape[:2]
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
