"""Finds the models of the pipeline's variants and watches them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnx

from resnet8 import (
    keras_capture,
    keras_model,
    onnx_capture,
    onnx_model,
    torch_capture,
    torch_model,
)
from resnet8.capture import Watched
from resnet8.errors import ArtifactError
from resnet8.params import MODEL_SUFFIXES

N_CLASSES = 10  # of CIFAR-10
OPSET = 17  # of the conversion that only serves to name layers


def watch(names: Sequence[str], folder: Path, *, raw: Path, n_classes: int) -> dict[str, Watched]:
    """Watches variants, Keras's layers under the names of the ONNX nodes.

    Args:
        names: as in `Params.variants`.
        folder: holds `<variant>.onnx` and `<variant>.pt2`.
        raw: holds the Keras model.
        n_classes: K.
    """
    return {
        name: _watch_keras(
            keras_model.load_model(keras_model.find_model(raw), n_classes=n_classes),
            onnx_model.load_model(folder / "onnx_fp32.onnx"),
        )
        if name == "keras_fp32"
        else watch_file(folder / f"{name}.{'onnx' if name.startswith('onnx') else 'pt2'}")
        for name in names
    }


def watch_file(path: Path, *, n_classes: int = N_CLASSES) -> Watched:
    """Watches a Keras model, an ONNX model or a PyTorch program by itself.

    A Keras model is converted to ONNX on the way, for the names of its layers and for its
    parameters, into which batch normalization is folded.

    Raises:
        ArtifactError: the file is missing, damaged or of no kind that is known.
    """
    if path.suffix == ".onnx":
        return onnx_capture.watch(onnx_model.load_model(path))
    if path.suffix == ".pt2":
        return torch_capture.watch(torch_model.load(path))
    if path.suffix not in MODEL_SUFFIXES:
        known = ", ".join((*MODEL_SUFFIXES, ".onnx", ".pt2"))
        raise ArtifactError(f"The model must be a file of type {known}, got {path}.")
    keras = keras_model.load_model(path, n_classes=n_classes)
    exported, names = keras_model.export_onnx(keras, opset=OPSET)
    converted = onnx_model.name_after_layers(onnx_model.fold(exported), names, n_classes=n_classes)
    watched = _watch_keras(keras, converted)
    return watched._replace(parameters=onnx_capture.read_parameters(converted))


def _watch_keras(keras: Any, converted: onnx.ModelProto) -> Watched:
    return keras_capture.watch(
        keras,
        onnx_capture.keras_layers(converted),
        channels_first=onnx_capture.channels_first(converted),
    )
