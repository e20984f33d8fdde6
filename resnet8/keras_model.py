"""Keras: loads the pretrained model, runs it, and exports it to ONNX.

The only module that imports TensorFlow.
"""

import logging
import os
import zipfile
import zlib
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
from numpy.typing import NDArray

from resnet8.batches import IMAGE_SHAPE
from resnet8.capture import INPUT, Captured, Point, Watched
from resnet8.errors import ArtifactError
from resnet8.evaluation import Predictor, Probabilities


@contextmanager
def _native_messages_hidden() -> Iterator[None]:
    """Hides what C++ code writes to stderr, where TensorFlow greets before it can be told."""
    stderr, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        os.close(nowhere)


os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # read when TensorFlow is imported
with _native_messages_hidden():
    import keras
    import tensorflow as tf
    import tf2onnx

# Shape letters: N images, H = W = 32 pixels, C = 3 channels, K classes.

# One device on every machine, so that results do not depend on a GPU being there.
tf.config.set_visible_devices([], "GPU")
logging.getLogger("tf2onnx").setLevel(logging.WARNING)


# What Keras is known to raise for a file that is no model, is damaged, or needs custom code.
_LOADING_FAULTS = (
    AttributeError,
    EOFError,
    ImportError,
    LookupError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
    zipfile.BadZipFile,
    zlib.error,
)


class OnnxExport(NamedTuple):
    """An exported model and how to find the Keras layers in it.

    model: as tf2onnx wrote it, not yet simplified.
    layer_names: Keras layer name by the token that stands for the layer in node names.
    """

    model: onnx.ModelProto
    layer_names: dict[str, str]


def load_model(path: Path, *, n_classes: int) -> keras.Model:
    """Loads a classifier and checks that it fits the data.

    Args:
        path: a `.h5` or `.keras` file.
        n_classes: how many probabilities it must give.

    Returns:
        A model from (N, 32, 32, 3) to (N, n_classes), any N.

    Raises:
        ArtifactError: the file is no model, or its input or output has another form.
    """
    try:
        model = keras.saving.load_model(path, compile=False, safe_mode=True)
    except _LOADING_FAULTS as exc:
        reason = (str(exc).strip() or type(exc).__name__).splitlines()[0]
        raise ArtifactError(
            f"{path} must be a Keras model (.h5 or .keras) without custom code, got: {reason} "
            "Choose another fetch.model."
        ) from exc
    if not isinstance(model, keras.Model) or not model.built or not hasattr(model, "inputs"):
        raise ArtifactError(f"{path} must be a built Keras model with a known input shape.")
    for what, tensors, shape in (
        ("input", model.inputs, (None, *IMAGE_SHAPE)),
        ("output", model.outputs, (None, n_classes)),
    ):
        shapes = [tuple(tensor.shape) for tensor in tensors]
        if shapes != [shape] or tensors[0].dtype != "float32":
            found = ", ".join(f"{s} {t.dtype}" for s, t in zip(shapes, tensors, strict=True))
            raise ArtifactError(
                f"The model's {what} must be one float32 tensor of shape {shape}, got {found} "
                f"({path}). Choose another fetch.model."
            )
    return model


def find_model(folder: Path) -> Path:
    """Finds the one model file that the fetch stage left in a folder.

    Raises:
        ArtifactError: there is none, or more than one.
    """
    found = sorted(folder.glob("model.*"))
    if len(found) != 1:
        raise ArtifactError(
            f"{folder} must hold one model, got {[path.name for path in found]}. "
            "Run `dvc repro` to make it again."
        )
    return found[0]


def load_predictor(folder: Path, *, n_classes: int) -> Predictor:
    """Loads the model in a folder as a function of arrays; see `load_model`."""
    return make_predictor(load_model(find_model(folder), n_classes=n_classes))


def make_predictor(model: keras.Model) -> Predictor:
    """Compiles the model's forward pass for batches of any size."""
    forward = tf.function(
        lambda images: model(images, training=False),
        input_signature=[tf.TensorSpec((None, *IMAGE_SHAPE), tf.float32)],
    )

    def predict(images: NDArray[np.float32]) -> Probabilities:
        probabilities: Probabilities = forward(images).numpy()
        return probabilities

    return predict


def watch(
    model: keras.Model, layers: Mapping[str, str], *, channels_first: Collection[str]
) -> Watched:
    """Watches the layers whose outputs the ONNX model's nodes compute.

    Where a layer applies an activation function in itself, its node before the last is
    compared with what the layer gives without that function.

    Args:
        model: what `load_model` returned.
        layers: by node, the Keras layer that its output belongs to, or `input`; in order.
        channels_first: the nodes whose outputs are (N, C, H, W); Keras's are transposed.

    Returns:
        The layers by node name; nodes within a layer are absent.
    """
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
    forward = tf.function(keras.Model(model.inputs, [*tensors.values(), *model.outputs]))

    def run(images: NDArray[np.float32]) -> Captured:
        *outputs, probabilities = (x.numpy() for x in forward(images, training=False))
        transposed = {
            node: output.transpose(0, 3, 1, 2) if node in channels_first else output
            for node, output in zip(tensors, outputs, strict=True)
        }
        return Captured(transposed, probabilities)

    return Watched(points, {}, absent, run)


def _without_activation(layer: keras.Layer) -> Any:
    """What a layer with an activation function of its own gives without it."""
    config = {**layer.get_config(), "activation": "linear", "name": f"{layer.name}_linear"}
    linear = layer.__class__.from_config(config)
    output = linear(layer.input)
    linear.set_weights(layer.get_weights())
    return output


def export_onnx(model: keras.Model, *, opset: int) -> OnnxExport:
    """Exports to ONNX with tf2onnx, input in NHWC and any batch size.

    The layers are renamed to tokens first. TensorFlow puts a layer's name into the names of
    all operations made in it, so a token in an ONNX node's name tells its layer, whatever
    characters the layer's own name has and however similar it is to another.

    Args:
        model: what `load_model` returned.
        opset: the ONNX operator set to write.

    Raises:
        ArtifactError: tf2onnx cannot express a layer.
    """
    layer_names: dict[str, str] = {}

    def rename(layer: keras.Layer) -> keras.Layer:
        token = f"keraslayer{len(layer_names):04d}"
        layer_names[token] = layer.name
        return layer.__class__.from_config({**layer.get_config(), "name": token})

    renamed = keras.models.clone_model(model, clone_function=rename)
    renamed.set_weights(model.get_weights())
    signature = [tf.TensorSpec((None, *IMAGE_SHAPE), tf.float32)]
    forward = tf.function(lambda images: renamed(images, training=False), input_signature=signature)
    try:
        exported, _ = tf2onnx.convert.from_function(forward, signature, opset=opset)
    except (ValueError, KeyError, NotImplementedError, RuntimeError) as exc:
        raise ArtifactError(
            f"The model must be expressible in ONNX operator set {opset}, got: {exc}. "
            "Try another convert_onnx.opset."
        ) from exc
    return OnnxExport(exported, layer_names)


def count_folded_parameters(model: keras.Model) -> int | None:
    """Counts the parameters that are left once batch normalization is folded.

    A batch normalization that is alone behind a convolution disappears into its kernel and
    bias. Biases and offsets that are all zero disappear too.

    Returns:
        The count, or None for a model with layers or connections of which an exporter may
        fold the constants in ways that cannot be told from the model.
    """
    total = 0
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            convolution = _convolution_before(layer)
            if convolution is None:
                return None
            if not _count_bias(convolution):
                total += _count_unless_zero(_batch_normalization_offset(layer))
        elif isinstance(layer, _CONVOLUTIONS | keras.layers.Dense):
            total += int(np.prod(layer.kernel.shape)) + _count_bias(layer)
        elif not isinstance(layer, _WITHOUT_CONSTANTS):
            return None
    return total


_CONVOLUTIONS = keras.layers.Conv2D | keras.layers.DepthwiseConv2D
_WITHOUT_CONSTANTS = (
    keras.layers.InputLayer
    | keras.layers.Activation
    | keras.layers.ReLU
    | keras.layers.Softmax
    | keras.layers.Add
    | keras.layers.AveragePooling2D
    | keras.layers.MaxPooling2D
    | keras.layers.GlobalAveragePooling2D
    | keras.layers.Flatten
    | keras.layers.Dropout
)


def _count_unless_zero(vector: NDArray[Any]) -> int:
    return vector.size if np.any(vector) else 0


def _count_bias(layer: keras.Layer) -> int:
    return _count_unless_zero(layer.bias.numpy()) if layer.use_bias else 0


def _batch_normalization_offset(layer: keras.layers.BatchNormalization) -> NDArray[Any]:
    """What the layer adds to each channel: beta - mean * gamma / sqrt(variance + epsilon)."""
    gamma = layer.gamma.numpy() if layer.scale else 1.0
    beta = layer.beta.numpy() if layer.center else 0.0
    deviation = np.sqrt(layer.moving_variance.numpy() + layer.epsilon)
    return np.asarray(beta - layer.moving_mean.numpy() * gamma / deviation)


def _convolution_before(layer: keras.Layer) -> Any | None:
    """The convolution that feeds only this layer, if there is one and nothing is between."""
    source = layer.input._keras_history.operation
    alone = {node.operation for node in source._outbound_nodes} == {layer}
    linear = getattr(source, "activation", None) is keras.activations.linear
    return source if isinstance(source, _CONVOLUTIONS) and alone and linear else None
