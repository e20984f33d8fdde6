"""Keras: loads the pretrained model, runs it, and exports it to ONNX.

The only module that imports TensorFlow.
"""

import logging
import os
import sys
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
from numpy.typing import NDArray

from resnet8.common.batches import IMAGE_SHAPE
from resnet8.common.errors import ArtifactError, shown
from resnet8.common.evaluation import Predictor


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


@contextmanager
def _not_installed(*modules: str) -> Iterator[None]:
    """Makes modules seem not to be installed, but for those that are imported already."""
    hidden: dict[str, Any] = {name: None for name in modules if name not in sys.modules}
    sys.modules.update(hidden)
    yield
    for name in hidden:
        del sys.modules[name]


os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # read when TensorFlow is imported
# Keras tries to import these, for uses that are not ours, and takes half as long without.
with _native_messages_hidden(), _not_installed("matplotlib", "pandas", "sklearn"):
    import keras
    import tensorflow as tf
    import tf2onnx

# Shape letters: N images, H = W = 32 pixels, C = 3 channels, K classes.

# One device on every machine, so that results do not depend on a GPU being there.
tf.config.set_visible_devices([], "GPU")
tf.config.threading.set_intra_op_parallelism_threads(1)  # what runs at once are batches
logging.getLogger("tf2onnx").setLevel(logging.WARNING)

# What Keras is known to raise for a file that is no model, is damaged, or needs custom code.
_LOADING_FAULTS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    ImportError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
    tf.errors.OpError,
    zipfile.BadZipFile,
    zlib.error,
)
_MEMBERS = ["config.json", "metadata.json", "model.weights.h5"]  # of a .keras file
MAX_UNPACKED_BYTES = 2**30


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
        ArtifactError: the file is no model, its input or output has another form, or a
            weight is not finite.
    """
    with warnings.catch_warnings(record=True) as noted:
        warnings.simplefilter("default")
        try:
            _check_members(path)
            model = keras.saving.load_model(path, compile=False, safe_mode=True)
        except _LOADING_FAULTS as exc:
            raise ArtifactError(
                f"{path} must be a Keras model (.h5 or .keras) without custom code, got: "
                f"{_reason(exc)}. Choose another fetch.model."
            ) from exc
    for note in noted:
        warnings.warn_explicit(note.message, note.category, note.filename, note.lineno)
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
    for weight in model.weights:
        if not np.isfinite(weight.numpy()).all():
            name = weight.path if weight.path.isprintable() else shown(weight.path)
            raise ArtifactError(
                f"The model's weights must be finite, got NaN or infinity in {name} "
                f"({path}). Choose another fetch.model."
            )
    return model


def _check_members(path: Path) -> None:
    """Raises ValueError for a .keras file with more in it than a model: Keras unpacks it."""
    if path.suffix == ".keras":
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
        if sorted(member.filename for member in members) != _MEMBERS:
            raise ValueError(f"an archive of {shown([member.filename for member in members])}")
        if (size := sum(member.file_size for member in members)) > MAX_UNPACKED_BYTES:
            raise ValueError(f"{size} bytes when unpacked")


def _reason(fault: BaseException) -> str:
    """The first sentence about what went wrong; Keras quotes it after what it went wrong in."""
    text = " ".join(str(fault).split()) or type(fault).__name__
    return text.rpartition("Exception encountered: ")[2].split(". ")[0][:200].rstrip(".")


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


def saturates(_folder: Path) -> bool:
    """Whether 8-bit products saturate on this CPU: there are none."""
    return False


def make_predictor(model: keras.Model) -> Predictor:
    """Compiles the model's forward pass for batches of any size."""
    forward = _compiled(model)
    return lambda images: forward(images).numpy()


def make_function(
    model: keras.Model, outputs: Sequence[Any]
) -> Callable[[NDArray[np.float32]], list[NDArray[np.float32]]]:
    """Compiles what computes symbolic tensors of a model from its input, any batch size."""
    forward = _compiled(keras.Model(model.inputs, list(outputs)))
    return lambda images: [output.numpy() for output in forward(images)]


def _compiled(model: keras.Model) -> Any:
    signature = [tf.TensorSpec((None, *IMAGE_SHAPE), tf.float32)]
    return tf.function(lambda images: model(images, training=False), input_signature=signature)


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
    forward = _compiled(renamed)
    try:
        exported, _ = tf2onnx.convert.from_function(forward, forward.input_signature, opset=opset)
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
