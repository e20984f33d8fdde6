"""Keras: loads the pretrained model and runs it.

Models run in float64, rounded to float32 once at the end: the same bits on every x86-64 CPU, where
float32 sums and TensorFlow's approximate instructions (RSQRTPS) give each vendor its own. So the
Keras model is the exact baseline that every other runtime is held against.
"""

import re
import warnings
import zipfile
import zlib
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resnet8.core.batches import IMAGE_SHAPE
from resnet8.core.errors import ArtifactError, shown
from resnet8.core.evaluation import Predictor
from resnet8.core.files import find_model
from resnet8.models import keras_file
from resnet8.models.keras_graph import flatten, layers_within
from resnet8.models.keras_library import keras as keras  # noqa: PLC0414
from resnet8.models.keras_library import tf

# Shape letters: N images, H = W = 32 pixels, C = 3 channels, K classes.


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
# In what Keras says, around the message of the fault itself, in bold.
_BEFORE = re.compile(r"Exception encountered(?:: | when calling \S+ (?=\x1b))")
_BEHIND = re.compile(r"\x1b\[0m|\. ")


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
            keras_file.check_file(path)
            load = partial(keras.saving.load_model, path, compile=False, safe_mode=True)
            keras_file.check_model(load, keras)
            model = load()
        except _LOADING_FAULTS as exc:
            raise ArtifactError(
                f"{path} must be a Keras model (.h5 or .keras) without custom code, got: "
                f"{_reason(exc)}. Choose another fetch.model."
            ) from exc
    for note in noted:
        warnings.warn_explicit(note.message, note.category, note.filename, note.lineno)
    if not isinstance(model, keras.Model) or not model.built or not hasattr(model, "inputs"):
        raise ArtifactError(f"{path} must be a built Keras model with a known input shape.")
    _check_types(model, path)
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
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about a list of one input, which may be none
            model(np.zeros((2, *IMAGE_SHAPE), np.float32), training=False)
    except _LOADING_FAULTS as exc:
        raise ArtifactError(
            f"{path} must be a model that runs on images, got: {_reason(exc)}. Mend the layer and "
            "save the model again."
        ) from exc
    return model


def _check_types(model: keras.Model, path: Path) -> None:
    """Raises ArtifactError for a layer that computes, or keeps weights, in another float type."""
    for layer in layers_within(model):
        policy = layer.dtype_policy
        quantized = isinstance(policy, keras.dtype_policies.QuantizedDTypePolicy)
        types = {policy.compute_dtype, policy.variable_dtype}
        if quantized or not types.isdisjoint(("bfloat16", "float16", "float64")):
            raise ArtifactError(
                f"Layer {layer.name} ({type(layer).__name__}) must compute in float32, got the "
                f"type {policy.name} ({path}). Build the model with float32 layers, give them "
                "these weights and save it again."
            )


def _reason(fault: BaseException) -> str:
    """The first sentence about what went wrong; Keras quotes it after what it went wrong in."""
    text = " ".join(str(fault).split()) or type(fault).__name__
    sentence = _BEHIND.split(_BEFORE.split(text)[-1].removeprefix("\x1b[1m"))[0]
    return sentence[:200].rstrip(".")


def load_predictor(folder: Path, *, n_classes: int) -> Predictor:
    """Loads the model in a folder as a function of arrays; see `load_model`."""
    return make_predictor(load_model(find_model(folder), n_classes=n_classes))


def saturates(_folder: Path) -> bool:
    """Whether 8-bit products saturate on this CPU: there are none."""
    return False


def make_predictor(model: keras.Model) -> Predictor:
    """Compiles the model's forward pass in float64 for batches of any size."""
    forward = compiled(in_float64(model))
    return lambda images: forward(images).numpy().astype(np.float32)


def make_function(
    model: keras.Model, outputs: Sequence[Any]
) -> Callable[[NDArray[np.float32]], list[NDArray[np.float32]]]:
    """Compiles what computes symbolic tensors of a model from its input, any batch size.

    Args:
        model: what `in_float64` returned.
        outputs: tensors of that model.
    """
    forward = compiled(keras.Model(model.inputs, list(outputs)))
    return lambda images: [output.numpy().astype(np.float32) for output in forward(images)]


def in_float64(model: keras.Model) -> keras.Model:
    """Returns a flat copy of a model whose layers compute in float64; see `keras_graph`."""
    return flatten(model, dtype="float64").model


def compiled(model: keras.Model) -> Any:
    """Compiles the model's forward pass, in its own type, for batches of any size."""
    signature = [tf.TensorSpec((None, *IMAGE_SHAPE), tf.float32)]
    dtype = model.inputs[0].dtype
    return tf.function(
        lambda images: model(tf.cast(images, dtype), training=False), input_signature=signature
    )
