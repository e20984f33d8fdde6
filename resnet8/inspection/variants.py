"""Finds the models of the pipeline's variants and watches them."""

from collections.abc import Sequence
from pathlib import Path

from resnet8.core.errors import ArtifactError
from resnet8.core.names import FLOAT_VARIANTS, MODEL_SUFFIXES
from resnet8.inspection import onnx_capture, torch_capture
from resnet8.inspection.capture import Watched
from resnet8.inspection.units import in_float_units
from resnet8.models import onnx_model, torch_model
from resnet8.quantize.layers import read_layers
from resnet8.quantize.storage import Numbers

N_CLASSES = 10  # of CIFAR-10


def watch(
    names: Sequence[str], folder: Path, *, raw: Path, numbers: Numbers, n_classes: int
) -> dict[str, Watched]:
    """Watches variants in the float model's units, under the names of the ONNX nodes.

    Args:
        names: as in `Params.variants`.
        folder: holds `<variant>.onnx` and `<variant>.pt2`.
        raw: holds the Keras model.
        numbers: with which the variants were quantized.
        n_classes: K.
    """
    # TensorFlow takes seconds to load, and who looks at other models need not wait for it.
    from resnet8.inspection import keras_capture  # noqa: PLC0415

    watched = {
        name: keras_capture.watch_original(raw, folder / "onnx_fp32.onnx", n_classes=n_classes)
        if name == "keras_fp32"
        else watch_file(
            folder / f"{name}.{'onnx' if name.startswith('onnx') else 'pt2'}", n_classes=n_classes
        )
        for name in names
    }
    layers = read_layers(onnx_model.load_model(folder / "onnx_fp32.onnx"))
    return {
        name: model if name in FLOAT_VARIANTS else in_float_units(model, numbers.factors, layers)
        for name, model in watched.items()
    }


def watch_file(path: Path, *, n_classes: int = N_CLASSES) -> Watched:
    """Watches a Keras model, an ONNX model or a PyTorch program by itself.

    Raises:
        ArtifactError: the file is missing, damaged, of no kind that is known, or does not map
            images to probabilities as the pipeline's models do.
    """
    if path.suffix == ".onnx":
        return onnx_capture.watch(onnx_model.load_classifier(path, n_classes=n_classes))
    if path.suffix == ".pt2":
        return torch_capture.watch(torch_model.load_classifier(path, n_classes=n_classes))
    if path.suffix in MODEL_SUFFIXES:
        from resnet8.inspection import keras_capture  # noqa: PLC0415

        return keras_capture.watch_file(path, n_classes=n_classes)
    known = ", ".join((*MODEL_SUFFIXES, ".onnx", ".pt2"))
    raise ArtifactError(f"The model must be a file of type {known}, got {path}.")
