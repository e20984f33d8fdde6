"""Exports Keras models to ONNX.

Shape letters: N images, H and W pixels, h x w pixels of a kernel, I inputs, O outputs, G groups.
"""

import re
from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from resnet8.core.errors import ArtifactError
from resnet8.models.keras_folding import fold_batch_normalization
from resnet8.models.keras_graph import Call, FlatModel, flatten
from resnet8.models.keras_library import keras, tf, tf2onnx
from resnet8.models.keras_model import compiled

_EXPORT_FAULTS = (
    *(AttributeError, KeyError, NotImplementedError, RuntimeError, TypeError, ValueError),
    tf.errors.OpError,
)


class OnnxExport(NamedTuple):
    """An exported model and how to find the Keras layers in it.

    model: as tf2onnx wrote it, not yet simplified.
    layers: first call of a layer by the token that stands for the layer in node names.
    folded: batch normalizations that are part of the layer before them: by that layer's token, the
        token of the batch normalization, whose output the layer's node computes.
    groups: by token, the groups of convolutions that are written as one group.
    """

    model: onnx.ModelProto
    layers: dict[str, Call]
    folded: dict[str, str]
    groups: dict[str, int]

    def find_tokens(self, *texts: str) -> list[str]:
        """The tokens in some texts, in order, each once."""
        token = re.compile("|".join(self.layers))
        return list(dict.fromkeys(found for text in texts for found in token.findall(text)))


def export_onnx(model: keras.Model, *, opset: int) -> OnnxExport:
    """Exports to ONNX with tf2onnx, input in NHWC and any batch size.

    Batch normalization is folded, see `keras_folding`.

    Args:
        model: any that `load_model` returned.
        opset: the ONNX operator set to write.

    Raises:
        ArtifactError: tf2onnx cannot express a layer, which it names.
    """
    flat = flatten(model)
    layers: dict[str, Call] = {}
    for call in flat.calls:
        layers.setdefault(call.layer.name, call)
    folded = fold_batch_normalization(flat)
    groups = _join_groups(flat)
    _resize_at_once(flat)
    forward = compiled(flat.model)
    try:
        exported, _ = tf2onnx.convert.from_function(forward, forward.input_signature, opset=opset)
    except _EXPORT_FAULTS as exc:
        raise _refusal(_find_layer(layers, str(exc)), opset, str(exc)) from exc
    _store_captured(exported.graph, forward)
    _write_in_onnx(exported.graph)
    for node in exported.graph.node:
        inner = any(x.HasField("g") or x.graphs for x in node.attribute)
        if inner or not _is_known(node, opset):
            layer = _find_layer(layers, node.name, *node.output)
            raise _refusal(layer, opset, f"a {'loop' if inner else node.op_type} operator")
    return OnnxExport(exported, layers, folded, groups)


def _find_layer(layers: Mapping[str, Call], *texts: str) -> Call | None:
    """The layer whose token is in one of some texts."""
    token = re.compile("|".join(layers))
    found = next(filter(None, map(token.search, texts)), None)
    return layers[found.group()] if found else None


def _refusal(layer: Call | None, opset: int, reason: str) -> ArtifactError:
    subject = f"Layer {layer.name} ({layer.kind})" if layer else "The model"
    lines = [line.strip() for line in reason.splitlines() if line.strip()]
    return ArtifactError(
        f"{subject} must be expressible in ONNX operator set {opset}, got: "
        f"{lines[-1].rstrip('.')[:200]}. Replace the layer by others that compute the same, or try "
        "another convert_onnx.opset."
    )


def _is_known(node: onnx.NodeProto, opset: int) -> bool:
    try:
        return not node.domain and bool(onnx.defs.get_schema(node.op_type, opset))
    except onnx.defs.SchemaError:
        return False


def _write_in_onnx(graph: onnx.GraphProto) -> None:
    """Writes TensorFlow's operators that tf2onnx leaves alone with others that compute the same."""
    nodes = list(graph.node)
    del graph.node[:]
    for node in nodes:
        operator = {"Erfc": "Erf", "Expm1": "Exp"}.get(node.op_type)
        if operator:  # 1 - erf(x), exp(x) - 1
            one, value = f"{node.name}/one", f"{node.name}/value"
            graph.initializer.append(numpy_helper.from_array(np.array(1, np.float32), one))
            graph.node.append(helper.make_node(operator, node.input, [value], name=value))
            node.input[:] = [one, value] if operator == "Erf" else [value, one]
            node.op_type = "Sub"
        graph.node.append(node)


def _join_groups(flat: FlatModel) -> dict[str, int]:
    """Lets grouped convolutions be one group with zeros between groups, as tf2onnx takes them.

    Args:
        flat: is changed: its layers compute the same.

    Returns:
        The number of groups by the layer's name.
    """
    found = {}
    for layer in flat.model.layers:
        if isinstance(layer, keras.layers.Conv2D) and layer.groups > 1:
            joined = keras.layers.Conv2D.from_config(layer.get_config() | {"groups": 1})
            joined.build(layer.input.shape)
            kernel, *bias = layer.get_weights()
            joined.set_weights([_with_zeros(kernel, layer.groups), *bias])
            layer.call = joined.call
            found[layer.name] = layer.groups
    return found


def _with_zeros(kernel: NDArray[Any], groups: int) -> NDArray[Any]:
    """A kernel (h, w, I / G, O) as (h, w, I, O)."""
    *size, inputs, outputs = kernel.shape
    joined = np.zeros((*size, inputs * groups, outputs), kernel.dtype)
    for group, part in enumerate(np.split(kernel, groups, axis=-1)):
        rows = slice(group * inputs, (group + 1) * inputs)
        joined[:, :, rows, group * part.shape[-1] : (group + 1) * part.shape[-1]] = part
    return joined


def _resize_at_once(flat: FlatModel) -> None:
    """Lets nearest upsampling become one Resize, where Keras repeats rows and columns.

    Args:
        flat: is changed: its layers compute the same.
    """
    for layer in flat.model.layers:
        if isinstance(layer, keras.layers.UpSampling2D) and layer.interpolation == "nearest":
            channels_first = layer.data_format == "channels_first"
            _, *shape = layer.input.shape
            before = shape[1:] if channels_first else shape[:2]
            after = tuple(n * times for n, times in zip(before, layer.size, strict=True))
            layer.call = partial(
                keras.ops.image.resize,
                size=after,
                interpolation="nearest",
                data_format=layer.data_format,
            )


def _store_captured(graph: onnx.GraphProto, forward: Any) -> None:
    """Makes constants of the tensors that a compiled function captured; tf2onnx makes inputs."""
    for value, placeholder in forward.get_concrete_function().graph.captures:
        found = [x for x in graph.input if x.name == placeholder.name]
        if found:
            graph.input.remove(found[0])
            graph.initializer.append(numpy_helper.from_array(value.numpy(), placeholder.name))
