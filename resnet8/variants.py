"""Finds the models of the pipeline's variants and watches them."""

from collections.abc import Sequence
from pathlib import Path

from resnet8 import (
    keras_capture,
    keras_model,
    onnx_capture,
    onnx_model,
    torch_capture,
    torch_model,
)
from resnet8.capture import Watched


def watch(names: Sequence[str], folder: Path, *, raw: Path, n_classes: int) -> dict[str, Watched]:
    """Watches variants, Keras's layers under the names of the ONNX nodes.

    Args:
        names: as in `Params.variants`.
        folder: holds `<variant>.onnx` and `<variant>.pt2`.
        raw: holds the Keras model.
        n_classes: K.
    """
    return {
        name: _watch_keras(folder / "onnx_fp32.onnx", raw, n_classes=n_classes)
        if name == "keras_fp32"
        else watch_file(folder / f"{name}.{'onnx' if name.startswith('onnx') else 'pt2'}")
        for name in names
    }


def watch_file(path: Path) -> Watched:
    """Watches an ONNX model or a PyTorch program."""
    if path.suffix == ".onnx":
        return onnx_capture.watch(onnx_model.load_model(path))
    return torch_capture.watch(torch_model.load(path))


def _watch_keras(converted: Path, raw: Path, *, n_classes: int) -> Watched:
    model = onnx_model.load_model(converted)
    keras = keras_model.load_model(keras_model.find_model(raw), n_classes=n_classes)
    return keras_capture.watch(
        keras, onnx_capture.keras_layers(model), channels_first=onnx_capture.channels_first(model)
    )
