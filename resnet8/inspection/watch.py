"""Opens models of every kind and captures their layers.

Models of the pipeline are shown in the float model's units. Other ONNX models, PyTorch programs
and modules may take one input of any size.
"""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
import torch
from numpy.typing import NDArray

from resnet8.core.batches import IMAGE_SHAPE
from resnet8.core.errors import ArtifactError
from resnet8.core.names import INPUT, MODEL_SUFFIXES
from resnet8.core.variants import QUANTIZED_VARIANTS, Variant
from resnet8.inspection import module_capture, onnx_capture, torch_capture
from resnet8.inspection.capture import Watched
from resnet8.inspection.units import in_float_units, read_equalization, read_relu_aware
from resnet8.models import onnx_graph, onnx_model, torch_model

N_CLASSES = 10  # of CIFAR-10
_RUNTIMES = {".onnx": "onnx", ".pt2": "torch"}  # Keras otherwise
_NO_ROWS = "no array with a row for each image"
# Raised by models for images that they do not take, and for unknown kinds of graphs.
_FAULTS: tuple[type[Exception], ...] = (
    *(AssertionError, LookupError, RuntimeError, TypeError, ValueError),
    *onnx_model.ONNX_FAULTS,
)


def watch_variants(
    names: Sequence[Variant], folder: Path, *, raw: Path, n_classes: int
) -> dict[str, Watched]:
    """Opens variants of the pipeline, with layers named after the ONNX nodes.

    Args:
        names: as in `Params.variants`.
        folder: holds `<variant>.onnx` and `<variant>.pt2`.
        raw: holds the Keras model.
        n_classes: K.
    """
    from resnet8.inspection import keras_capture  # noqa: PLC0415 (TensorFlow takes seconds)

    return {
        name: keras_capture.watch_original(raw, folder / "onnx_fp32.onnx", n_classes=n_classes)
        if name == Variant.KERAS_FP32
        else watch_file(name.path(folder), n_classes=n_classes)
        for name in names
    }


def watch_file(path: Path, *, n_classes: int = N_CLASSES) -> Watched:
    """Opens the file of a Keras model, ONNX model or PyTorch program of the pipeline.

    Raises:
        ArtifactError: the file is missing, damaged, of an unknown kind, or does not map
            images to probabilities as the pipeline's models do.
    """
    if path.suffix == ".onnx":
        watched = onnx_capture.watch(onnx_model.load_model(path, n_classes=n_classes))
    elif path.suffix == ".pt2":
        watched = torch_capture.watch(torch_model.load_model(path, n_classes=n_classes))
    elif path.suffix in MODEL_SUFFIXES:
        from resnet8.inspection import keras_capture  # noqa: PLC0415

        return keras_capture.watch_file(path, n_classes=n_classes)
    else:
        known = ", ".join((*MODEL_SUFFIXES, ".onnx", ".pt2"))
        raise ArtifactError(f"The model must be a file of type {known}, got {path}.")
    return in_float_units(watched, read_equalization(path), clipped=read_relu_aware(path))


class Opened(NamedTuple):
    """A model to look at.

    name: a variant of the pipeline, the file's name, or the module's class.
    size: of one image as the model takes it, None where any size fits; empty if unknown.
    capture: (N, ...) images -> the layers, whose `run` returns the captured outputs.
    """

    name: str
    size: tuple[int | None, ...]
    capture: Callable[[NDArray[Any]], Watched]


def open_model(model: torch.nn.Module | torch.export.ExportedProgram | str | Path) -> Opened:
    """Opens a module, a program, or a `.h5`, `.keras`, `.onnx` or `.pt2` file.

    Raises:
        TypeError: the model is of another type.
        ArtifactError: a file is missing, damaged or of an unknown kind, or a model does not have
            exactly one input of floats.
    """
    if isinstance(model, torch.export.ExportedProgram):
        return _open_program(model, "ExportedProgram")
    if isinstance(model, torch.nn.Module):
        return Opened(type(model).__name__, (), partial(module_capture.capture, model))
    if not isinstance(model, str | Path):
        raise TypeError(
            f"model must be a PyTorch module, an exported program or a path, got {type(model)}."
        )
    path, n_classes = Path(model), N_CLASSES
    if not path.is_file():
        raise ArtifactError(f"no such file: {path}")
    if path.suffix == ".pt2":
        program = torch_model.load_any(path)
        found = torch_model.count_classes(program)
        if found is None:
            return _open_program(program, path.stem)
        n_classes = found
    if path.suffix == ".onnx":
        graph = onnx_model.load_model(path, takes_images=False)
        interface = onnx_model.describe(graph)
        inputs, (result, *_) = interface["inputs"], interface["outputs"]
        shapes = [(x["name"], x["shape"][1:]) for x in inputs]
        if shapes != [(INPUT, [*IMAGE_SHAPE])] or result["name"] != onnx_model.OUTPUT:
            return _open_graph(graph, path.stem, inputs)
        n_classes = result["shape"][-1]
    watched = watch_file(path, n_classes=n_classes)
    return Opened(_variant(path, watched), IMAGE_SHAPE, partial(_run_once, watched))


def _run_once(watched: Watched, images: NDArray[Any]) -> Watched:
    """Runs a model and keeps its outputs; layers without a row for each image become absent."""
    captured = watched.run(images.astype(np.float32))
    rows = {x for x, out in captured.outputs.items() if out.ndim > 1 and len(out) == len(images)}
    points = {layer: point for layer, point in watched.points.items() if layer in rows}
    absent = watched.absent | dict.fromkeys(watched.points.keys() - rows, _NO_ROWS)
    return watched._replace(points=points, absent=absent, run=lambda _: captured)


def _open_program(program: torch.export.ExportedProgram, name: str) -> Opened:
    if torch_model.count_classes(program):
        return Opened(name, IMAGE_SHAPE, partial(_run_once, torch_capture.watch(program)))
    inputs = program.graph_signature.user_inputs
    values = [x.meta.get("val") for x in program.graph.nodes if x.name in inputs]
    if len(values) != 1 or not isinstance(values[0], torch.Tensor):
        raise ArtifactError(f"{name} must have one input, an array, got {len(inputs)}.")
    size = tuple(x if isinstance(x, int) else None for x in values[0].shape[1:])
    module = torch.export.unflatten(program)
    return Opened(name, size, _naming(name, partial(module_capture.capture, module)))


def _open_graph(graph: onnx.ModelProto, name: str, inputs: Sequence[Any]) -> Opened:
    if len(inputs) != 1 or inputs[0]["dtype"] != "float32":
        described = ", ".join(f"{x['name']} ({x['dtype']})" for x in inputs)
        raise ArtifactError(f"{name} must have one input, of float32, got {described}.")
    size = tuple(x if isinstance(x, int) and x else None for x in inputs[0]["shape"][1:])

    def capture(images: NDArray[Any]) -> Watched:
        watched = onnx_capture.watch(graph)
        types = {x.quantization.dtype for x in watched.points.values() if x.quantization}
        if types - {"int8", "uint8"}:
            raise ValueError(f"codes of {', '.join(sorted(types))}")
        tensors = {node.name: node.output[0] for node in graph.graph.node}
        parameters = {
            layer: kinds
            for node, kinds in onnx_graph.read_parameters(graph).items()
            for layer in (node, tensors[node])
            if layer in watched.points
        }
        return _run_once(watched._replace(parameters=parameters), images)

    return Opened(name, size, _naming(name, capture))


def _naming(
    name: str, capture: Callable[[NDArray[Any]], Watched]
) -> Callable[[NDArray[Any]], Watched]:
    """Adds the model's name and the images' shape to errors."""

    def named(images: NDArray[Any]) -> Watched:
        try:
            return capture(images)
        except _FAULTS as exc:
            reason = " ".join(str(exc).split())[:300].rstrip(".")
            raise ArtifactError(
                f"{name} must run on images of shape {images.shape}, got: {reason}."
            ) from exc

    return named


def _variant(path: Path, watched: Watched) -> Variant:
    """Returns the variant of a file by its content, or by its name where types are mixed."""
    runtime = _RUNTIMES.get(path.suffix, "keras")
    quantized = (point.quantization for point in watched.points.values())
    dtype = next((x.dtype for x in quantized if x), None)
    if dtype is None:
        return Variant(f"{runtime}_fp32")
    if path.stem in QUANTIZED_VARIANTS:
        return Variant(path.stem)
    return Variant.TORCH_INT8 if runtime == "torch" else Variant(f"onnx_{dtype}")
