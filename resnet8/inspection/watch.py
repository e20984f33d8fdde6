"""Finds the models of the pipeline's variants and watches them."""

from collections.abc import Sequence
from pathlib import Path

from resnet8.core.errors import ArtifactError
from resnet8.core.names import MODEL_SUFFIXES
from resnet8.core.variants import Variant
from resnet8.inspection import onnx_capture, torch_capture
from resnet8.inspection.capture import Watched
from resnet8.inspection.units import (
    in_float_units,
    read_equalization,
    read_relu_aware,
    with_clipped_on_purpose,
)
from resnet8.models import onnx_model, torch_model

N_CLASSES = 10  # of CIFAR-10


def watch_variants(
    names: Sequence[Variant], folder: Path, *, raw: Path, n_classes: int
) -> dict[str, Watched]:
    """Watches variants in the float model's units, under the names of the ONNX nodes.

    Args:
        names: as in `Params.variants`.
        folder: holds `<variant>.onnx` and `<variant>.pt2`.
        raw: holds the Keras model.
        n_classes: K.
    """
    # TensorFlow takes seconds to load, and who looks at other models need not wait for it.
    from resnet8.inspection import keras_capture  # noqa: PLC0415

    return {
        name: keras_capture.watch_original(raw, folder / "onnx_fp32.onnx", n_classes=n_classes)
        if name == Variant.KERAS_FP32
        else watch_file(name.path(folder), n_classes=n_classes)
        for name in names
    }


def watch_file(path: Path, *, n_classes: int = N_CLASSES) -> Watched:
    """Watches a Keras model, an ONNX model or a PyTorch program in the float model's units.

    Raises:
        ArtifactError: the file is missing, damaged, of no kind that is known, or does not map
            images to probabilities as the pipeline's models do.
    """
    if path.suffix == ".onnx":
        model = onnx_model.load_classifier(path, n_classes=n_classes)
        return _shown_rightly(onnx_capture.watch(model), path)
    if path.suffix == ".pt2":
        program = torch_model.load_classifier(path, n_classes=n_classes)
        return _shown_rightly(torch_capture.watch(program), path)
    if path.suffix in MODEL_SUFFIXES:
        from resnet8.inspection import keras_capture  # noqa: PLC0415

        return keras_capture.watch_file(path, n_classes=n_classes)
    known = ", ".join((*MODEL_SUFFIXES, ".onnx", ".pt2"))
    raise ArtifactError(f"The model must be a file of type {known}, got {path}.")


def _shown_rightly(watched: Watched, path: Path) -> Watched:
    """Watches a model with what its file says about equalization and clipping."""
    in_units = in_float_units(watched, read_equalization(path))
    return with_clipped_on_purpose(in_units, read_relu_aware(path))
