"""Opens models of every kind and captures their layers.

Models of the pipeline are shown in the float model's units. Other ONNX models, PyTorch programs
and modules may take one input of any size.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
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
from resnet8.inspection import onnx_capture, torch_capture
from resnet8.inspection.capture import Watched
from resnet8.inspection.units import in_float_units, read_metadata
from resnet8.models import onnx_model, torch_model
from resnet8.models.faults import FAULTS, reason

N_CLASSES = 10  # of CIFAR-10
_RUNTIMES = {".onnx": "onnx", ".pt2": "torch"}  # Keras otherwise
Capture = Callable[[NDArray[Any]], Watched]


def load_variants(
    names: Iterable[Variant], folder: Path, *, raw: Path, n_classes: int
) -> dict[Variant, Any]:
    """Loads variants from `folder`, and the Keras model from `raw`."""
    from resnet8.models import keras_model  # noqa: PLC0415 (TensorFlow takes seconds)

    libraries = {"keras": keras_model, "onnx": onnx_model, "torch": torch_model}
    paths = {name: name.path(folder, raw=raw) for name in names}
    return {x: libraries[x.runtime].load_model(paths[x], n_classes=n_classes) for x in names}


def watch_variants(models: Mapping[Variant, Any], folder: Path) -> dict[str, Watched]:
    """Captures loaded variants, with layers named after nodes; `folder` has their metadata."""
    from resnet8.inspection import keras_capture  # noqa: PLC0415

    def watch(name: Variant) -> Watched:
        if name == Variant.KERAS_FP32:
            return keras_capture.watch(models[name], models[Variant.ONNX_FP32])
        return _watch(models[name], name.path(folder))

    return {name: watch(name) for name in models}


def _watch(model: onnx.ModelProto | torch.export.ExportedProgram, path: Path) -> Watched:
    """Captures a loaded model; `path` has its metadata."""
    library = onnx_capture if isinstance(model, onnx.ModelProto) else torch_capture
    factors, clipped = read_metadata(model, path)
    return in_float_units(library.watch(model), factors, clipped=clipped)


class Opened(NamedTuple):
    """A model to look at.

    name: a variant of the pipeline, the file's name, or the module's class.
    size: of one image as the model takes it, None where any size fits; empty if unknown.
    capture: (N, ...) images -> the layers, whose `run` returns the captured outputs.
    """

    name: str
    size: tuple[int | None, ...]
    capture: Capture


def open_model(model: torch.nn.Module | torch.export.ExportedProgram | str | Path) -> Opened:
    """Opens a module, a program, or a `.h5`, `.keras`, `.onnx` or `.pt2` file.

    Raises:
        TypeError: the model is of another type.
        ArtifactError: a file is missing, damaged or of an unknown kind, or a model does not have
            exactly one input of floats.
    """
    if isinstance(model, torch.nn.Module):
        return Opened(type(model).__name__, (), partial(torch_capture.capture, model))
    if isinstance(model, torch.export.ExportedProgram):
        if torch_model.count_classes(model):
            capture = partial(_run_once, torch_capture.watch(model))
            return Opened("ExportedProgram", IMAGE_SHAPE, capture)
        return _open_program(model, "ExportedProgram")
    if not isinstance(model, str | Path):
        raise TypeError(
            f"model must be a PyTorch module, an exported program or a path, got {type(model)}."
        )
    return _open_file(Path(model))


def _open_file(path: Path) -> Opened:
    if not path.is_file():
        raise ArtifactError(
            f"The model must be a file, got {path}. Name another one, or run `dvc repro` to make "
            "those of the pipeline."
        )
    if path.suffix == ".pt2":
        program = torch_model.load_any(path)
        if not torch_model.count_classes(program):
            return _open_program(program, path.stem)
        watched = _watch(torch_model.load_model(path), path)
    elif path.suffix == ".onnx":
        graph = onnx_model.load_model(path, takes_images=False)
        interface = onnx_model.describe(graph)
        inputs, (result, *_) = interface["inputs"], interface["outputs"]
        shapes = [(x["name"], x["shape"][1:]) for x in inputs]
        if shapes != [(INPUT, [*IMAGE_SHAPE])] or result["name"] != onnx_model.OUTPUT:
            return _open_graph(graph, path.stem, inputs)
        watched = _watch(onnx_model.load_model(path, n_classes=result["shape"][-1]), path)
    elif path.suffix in MODEL_SUFFIXES:
        from resnet8.inspection import keras_capture  # noqa: PLC0415

        watched = keras_capture.watch_file(path, n_classes=N_CLASSES)
    else:
        known = ", ".join((*MODEL_SUFFIXES, ".onnx", ".pt2"))
        raise ArtifactError(f"The model must be a file of type {known}, got {path}.")
    return Opened(_variant(path, watched), IMAGE_SHAPE, partial(_run_once, watched))


def _run_once(watched: Watched, images: NDArray[Any]) -> Watched:
    """Runs a model and keeps its outputs; layers without a row for each image become absent."""
    captured = watched.run(images.astype(np.float32))
    return watched.with_rows(captured, len(images))._replace(run=lambda _: captured)


def _open_program(program: torch.export.ExportedProgram, name: str) -> Opened:
    inputs = program.graph_signature.user_inputs
    values = [x.meta.get("val") for x in program.graph.nodes if x.name in inputs]
    if len(values) != 1 or not isinstance(values[0], torch.Tensor):
        raise ArtifactError(f"{name} must have one input, an array, got {len(inputs)}.")
    module = torch.export.unflatten(program)
    return _open_other(name, values[0].shape, partial(torch_capture.capture, module))


def _open_graph(graph: onnx.ModelProto, name: str, inputs: Sequence[Any]) -> Opened:
    if len(inputs) != 1 or inputs[0]["dtype"] != "float32":
        described = ", ".join(f"{x['name']} ({x['dtype']})" for x in inputs)
        raise ArtifactError(f"{name} must have one input, of float32, got {described}.")

    def capture(images: NDArray[Any]) -> Watched:
        watched = onnx_capture.watch(graph)
        types = {x.quantization.dtype for x in watched.points.values() if x.quantization}
        if types - {"int8", "uint8"}:
            raise ValueError(f"codes of {', '.join(sorted(types))}")
        parameters = {  # of a node whose layer is named after its output
            layer: watched.parameters[node.name]
            for node in graph.graph.node
            for layer in (node.name, node.output[0])
            if node.name in watched.parameters and layer in watched.points
        }
        return _run_once(watched._replace(parameters=parameters), images)

    return _open_other(name, inputs[0]["shape"], capture)


def _open_other(name: str, shape: Sequence[Any], capture: Capture) -> Opened:
    """Opens a model of any input, whose errors get the model's name and the images' shape."""

    def capture_named(images: NDArray[Any]) -> Watched:
        try:
            return capture(images)
        except (*FAULTS, *onnx_model.ONNX_FAULTS) as exc:
            raise ArtifactError(
                f"{name} must run on images of shape {images.shape}, got: {reason(exc)}."
            ) from exc

    size = tuple(x if isinstance(x, int) and x else None for x in shape[1:])
    return Opened(name, size, capture_named)


def _variant(path: Path, watched: Watched) -> Variant:
    """Returns the variant of a file by its content, or by its name where types are mixed."""
    runtime = _RUNTIMES.get(path.suffix, "keras")
    quantized = (point.quantization for point in watched.points.values())
    dtype = next((x.dtype for x in quantized if x), None)
    if dtype is None:
        return Variant(f"{runtime}_fp32")
    if path.stem in QUANTIZED_VARIANTS:
        return Variant(path.stem)
    return Variant("torch_int8" if runtime == "torch" else f"{runtime}_{dtype}")
