"""Opens models of any kind for a single look: what they take, and how their layers are captured.

Models of the pipeline are watched as the pipeline watches them, in the float model's units. Other
ONNX models and PyTorch programs are taken with one input of any size.
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
from resnet8.core.names import INPUT
from resnet8.core.variants import QUANTIZED_VARIANTS, Variant
from resnet8.inspection import module_capture, onnx_capture, torch_capture, watch
from resnet8.inspection.capture import Watched
from resnet8.models import onnx_graph, onnx_model, torch_model

RUNTIMES = {".onnx": "onnx", ".pt2": "torch"}  # Keras otherwise
# What models raise for images that they do not take, and for graphs of a kind that is not known.
_FAULTS: tuple[type[Exception], ...] = (
    *(AssertionError, LookupError, RuntimeError, TypeError, ValueError),
    *onnx_model.ONNX_FAULTS,
)


class Opened(NamedTuple):
    """A model that can be looked at.

    name: a variant of the pipeline, the file's name, or the module's class.
    size: of one image as the model takes it, None where any number will do; empty if not known.
    capture: (N, ...) images -> the layers, whose `run` gives the captured outputs again.
    """

    name: str
    size: tuple[int | None, ...]
    capture: Callable[[NDArray[Any]], Watched]


def open_model(model: torch.nn.Module | torch.export.ExportedProgram | str | Path) -> Opened:
    """Opens a module, a program, or a `.h5`, `.keras`, `.onnx` or `.pt2` file.

    Raises:
        TypeError: the model is of another type.
        ArtifactError: a file is missing, damaged or of no kind that is known, or a model has not
            one input of floats.
    """
    if isinstance(model, torch.export.ExportedProgram):
        return _open_program(model, "ExportedProgram")
    if isinstance(model, torch.nn.Module):
        return Opened(type(model).__name__, (), partial(module_capture.capture, model))
    if not isinstance(model, str | Path):
        raise TypeError(
            f"model must be a PyTorch module, an exported program or a path, got {type(model)}."
        )
    path, n_classes = Path(model), watch.N_CLASSES
    if not path.is_file():
        raise ArtifactError(f"no such file: {path}")
    if path.suffix == ".pt2":
        program = torch_model.load_any(path)
        if not _is_classifier(program):
            return _open_program(program, path.stem)
        n_classes = torch_model.describe_interface(program)[1][0]["shape"][1]
    if path.suffix == ".onnx":
        graph = onnx_model.load_model(path, takes_images=False)
        found = onnx_model.describe(graph)
        sources, (result, *_) = found["inputs"], found["outputs"]
        shapes = [(x["name"], x["shape"][1:]) for x in sources]
        if shapes != [(INPUT, [*IMAGE_SHAPE])] or result["name"] != onnx_model.OUTPUT:
            return _open_graph(graph, path.stem, sources)
        n_classes = result["shape"][-1]
    watched = watch.watch_file(path, n_classes=n_classes)
    return Opened(_variant(path, watched), IMAGE_SHAPE, partial(_kept, watched))


def _kept(watched: Watched, images: NDArray[Any]) -> Watched:
    """Runs a model, and keeps what it gave; a layer without a row for each image is absent."""
    captured = watched.run(images.astype(np.float32))
    rows = {x for x, out in captured.outputs.items() if out.ndim > 1 and len(out) == len(images)}
    points = {layer: point for layer, point in watched.points.items() if layer in rows}
    absent = dict.fromkeys(watched.points.keys() - rows, "no array with a row for each image")
    return watched._replace(
        points=points, absent={**watched.absent, **absent}, run=lambda _: captured
    )


def _open_program(program: torch.export.ExportedProgram, name: str) -> Opened:
    if _is_classifier(program):
        return Opened(name, IMAGE_SHAPE, partial(_kept, torch_capture.watch(program)))
    inputs = program.graph_signature.user_inputs
    values = [x.meta.get("val") for x in program.graph.nodes if x.name in inputs]
    if len(values) != 1 or not isinstance(values[0], torch.Tensor):
        raise ArtifactError(f"{name} must have one input, an array, got {len(inputs)}.")
    size = tuple(x if isinstance(x, int) else None for x in values[0].shape[1:])
    module = torch.export.unflatten(program)
    return Opened(name, size, _naming(name, partial(module_capture.capture, module)))


def _open_graph(graph: onnx.ModelProto, name: str, inputs: Sequence[Any]) -> Opened:
    if len(inputs) != 1 or inputs[0]["dtype"] != "float32":
        found = ", ".join(f"{x['name']} ({x['dtype']})" for x in inputs)
        raise ArtifactError(f"{name} must have one input, of float32, got {found}.")
    size = tuple(x if isinstance(x, int) and x else None for x in inputs[0]["shape"][1:])

    def capture(images: NDArray[Any]) -> Watched:
        watched = onnx_capture.watch(graph)
        types = {x.quantization.dtype for x in watched.points.values() if x.quantization}
        if types - {"int8", "uint8"}:
            raise ValueError(f"codes of {', '.join(sorted(types))}")
        tensors = {node.name: node.output[0] for node in graph.graph.node}
        parameters = {
            layer: found
            for node, found in onnx_graph.read_parameters(graph).items()
            for layer in (node, tensors[node])
            if layer in watched.points
        }
        return _kept(watched._replace(parameters=parameters), images)

    return Opened(name, size, _naming(name, capture))


def _naming(
    name: str, capture: Callable[[NDArray[Any]], Watched]
) -> Callable[[NDArray[Any]], Watched]:
    """Names a model, and what it was given, in what it raises."""

    def named(images: NDArray[Any]) -> Watched:
        try:
            return capture(images)
        except _FAULTS as exc:
            reason = " ".join(str(exc).split())[:300].rstrip(".")
            raise ArtifactError(
                f"{name} must run on images of shape {images.shape}, got: {reason}."
            ) from exc

    return named


def _is_classifier(program: torch.export.ExportedProgram) -> bool:
    """Whether a program maps images to probabilities as those of the pipeline do."""
    try:
        return torch_model.maps_images(*torch_model.describe_interface(program))
    except (AttributeError, LookupError):  # several inputs, or other things than tensors
        return False


def _variant(path: Path, watched: Watched) -> Variant:
    """The variant that a file is, by what is in it, or by its name where types are mixed."""
    runtime = RUNTIMES.get(path.suffix, "keras")
    quantized = (point.quantization for point in watched.points.values())
    dtype = next((found.dtype for found in quantized if found), None)
    if dtype is None:
        return Variant(f"{runtime}_fp32")
    if path.stem in QUANTIZED_VARIANTS:
        return Variant(path.stem)
    return Variant.TORCH_INT8 if runtime == "torch" else Variant(f"onnx_{dtype}")
