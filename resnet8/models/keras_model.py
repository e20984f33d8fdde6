"""Loads Keras models and runs them.

Models run in float64, rounded to float32 once at the end: the same bits on every x86-64 CPU, where
float32 sums and TensorFlow's approximate instructions (RSQRTPS) differ by vendor. So the Keras
model is the exact baseline of every other runtime.

Shape letters: N images, H = W = 32 pixels, C = 3 channels, K classes.
"""

import re
import warnings
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
from resnet8.models.faults import FAULTS, refused
from resnet8.models.keras_graph import flatten
from resnet8.models.keras_library import keras as keras  # noqa: PLC0414
from resnet8.models.keras_library import tf

KERAS_FAULTS: tuple[type[Exception], ...] = (*FAULTS, tf.errors.OpError)
# Keras quotes a message in bold after the layer or function that failed.
_BEFORE = re.compile(r"Exception encountered(?:: | when calling \S+ (?=\x1b))")
_AFTER = re.compile(r"\x1b\[0m|\. ")


def load_model(path: Path, *, n_classes: int) -> keras.Model:
    """Loads a classifier from (N, 32, 32, 3) to (N, K), for any N.

    `path` is a `.h5` or `.keras` file, or the folder in which `fetch` left one.

    Raises:
        ArtifactError: the file is no model, its input or output has another form, a layer
            computes in another type than float32, or a weight is not finite.
    """
    path = find_model(path) if path.is_dir() else path
    load = partial(keras.saving.load_model, path, compile=False, safe_mode=True)
    is_model = f"{path} must be a Keras model (.h5 or .keras) without custom code"
    runs = f"{path} must be a model that runs on images"
    refused_by_keras = partial(refused, faults=KERAS_FAULTS, cause=_first_sentence)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they would precede an error message
        with refused_by_keras(is_model, "Choose another fetch.model."):
            keras_file.check_file(path)
            keras_file.check_model(load)
            model = load()
        _check_classifier(model, path, n_classes)
        with refused_by_keras(runs, "Mend the layer and save the model again."):
            model(np.zeros((2, *IMAGE_SHAPE), np.float32), training=False)
    return model


def _first_sentence(fault: Exception) -> str:
    """The first sentence of the message that Keras quotes."""
    message = _BEFORE.split(" ".join(str(fault).split()))[-1]
    return _AFTER.split(message.removeprefix("\x1b[1m"))[0]


def _check_classifier(model: Any, path: Path, n_classes: int) -> None:
    """Checks input, output, weights, and the types of all layers except nested models."""
    if not isinstance(model, keras.Model) or not model.built or not hasattr(model, "inputs"):
        raise ArtifactError(f"{path} must be a built Keras model with a known input shape.")
    for layer in model._flatten_layers(include_self=False):
        policy = layer.dtype_policy
        quantized = isinstance(policy, keras.dtype_policies.QuantizedDTypePolicy)
        types = {policy.compute_dtype, policy.variable_dtype}
        wrong = quantized or types & {"bfloat16", "float16", "float64"}
        if wrong and not isinstance(layer, keras.Model):
            raise ArtifactError(
                f"Layer {layer.name} ({type(layer).__name__}) must compute in float32, got the "
                f"type {policy.name} ({path}). Build the model with float32 layers, give them "
                "these weights and save it again."
            )
    for side, tensors, shape in (
        ("input", model.inputs, (None, *IMAGE_SHAPE)),
        ("output", model.outputs, (None, n_classes)),
    ):
        if [(tuple(x.shape), x.dtype) for x in tensors] != [(shape, "float32")]:
            forms = ", ".join(f"{tuple(x.shape)} {x.dtype}" for x in tensors)
            raise ArtifactError(
                f"The model's {side} must be one float32 tensor of shape {shape}, got {forms} "
                f"({path}). Choose another fetch.model."
            )
    for weight in model.weights:
        if not np.isfinite(weight.numpy()).all():
            name = weight.path if weight.path.isprintable() else shown(weight.path)
            raise ArtifactError(
                f"The model's weights must be finite, got NaN or infinity in {name} "
                f"({path}). Choose another fetch.model."
            )


def make_predictor(model: keras.Model) -> Predictor:
    """Compiles the forward pass of a model in float64 for batches of any size."""
    flat = flatten(model, dtype="float64").model
    compute = make_function(flat, flat.outputs)
    return lambda images: compute(images)[0]


def make_function(
    model: keras.Model, outputs: Sequence[Any]
) -> Callable[[NDArray[np.float32]], list[NDArray[np.float32]]]:
    """Compiles the computation of symbolic tensors of a flat model, for batches of any size."""
    forward = compiled(keras.Model(model.inputs, list(outputs)))
    return lambda images: [
        output.numpy().astype(np.float32) for output in keras.tree.flatten(forward(images))
    ]


def compiled(model: keras.Model) -> Any:
    """Compiles the forward pass of a model, in its own type, for batches of any size."""
    signature = [tf.TensorSpec((None, *IMAGE_SHAPE), tf.float32)]
    dtype = model.inputs[0].dtype
    return tf.function(
        lambda images: model(tf.cast(images, dtype), training=False), input_signature=signature
    )
