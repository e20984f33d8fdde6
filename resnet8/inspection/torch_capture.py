"""Captures the layers of a PyTorch program, float or quantized, with forward hooks.

Shape letters: N images, O outputs and I inputs of a layer, h x w pixels of a kernel.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from resnet8.core.batches import IMAGE_SHAPE
from resnet8.core.errors import ArtifactError
from resnet8.inspection.capture import Captured, Point, Watched
from resnet8.models.fx_graph import layer_nodes, module_path, quantization_after, read_parameters
from resnet8.models.torch_model import as_tensor

_TYPES = (torch.float32, torch.uint8, torch.int8)  # of floats and codes
# Raised for programs that only resemble quantized ones.
_FAULTS = ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError


@contextmanager
def forward_hooks(
    module: torch.nn.Module, names: Mapping[str, str], keep: Callable[[str, torch.Tensor], None]
) -> Iterator[None]:
    """Passes the outputs of submodules to `keep` within the block.

    Hooks do not change outputs, and are removed after the block, even if it fails.

    Args:
        module: holds the submodules.
        names: passed to `keep`, by the submodule's dotted name.
        keep: called with this name and the output.
    """

    def hook(name: str) -> Callable[..., None]:
        return lambda _module, _inputs, output: keep(name, output)

    handles = []
    try:
        for path, name in names.items():
            handles.append(module.get_submodule(path).register_forward_hook(hook(name)))
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def threads_kept() -> Iterator[None]:
    """Restores PyTorch's number of threads after the block."""
    threads = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def watch(program: torch.export.ExportedProgram) -> Watched:
    """Captures the output of every named layer.

    The modules of the unflattened program are hooked; for a quantized output, the module that
    quantizes it. A layer whose output is not an array with a row for each image is absent. Sets
    PyTorch to one thread.

    Raises:
        ArtifactError: outputs are quantized outside of modules, or codes, scales and weights do
            not fit together.
    """
    try:
        return _watch(program)
    except _FAULTS as exc:
        reason = f"{type(exc).__name__}: {' '.join(str(exc).split())[:200]}"
        raise ArtifactError(
            "The program must quantize layers as `dvc repro` writes it, or not at all, got: "
            f"{reason.rstrip('.')}. Run `dvc repro` to make it again."
        ) from exc


def _watch(program: torch.export.ExportedProgram) -> Watched:
    torch.set_num_threads(1)
    module = torch.export.unflatten(program)
    names, points = {}, {}
    for layer, node in layer_nodes(program.module()).items():
        codes = next(filter(None, map(quantization_after, node.users)), None)
        name = module_path(codes[0] if codes else node)
        if not name:
            raise ArtifactError(
                f"The program must quantize the output of {layer} in a module, got steps in none. "
                "Run `dvc repro` to make it again."
            )
        names[name] = layer
        points[layer] = Point(f"forward hook on {name}", codes[1] if codes else None)

    def run(images: NDArray[np.float32]) -> Captured:
        outputs: dict[str, NDArray[Any]] = {}

        def keep(layer: str, output: object) -> None:
            if isinstance(output, torch.Tensor) and output.dtype in _TYPES:
                outputs[layer] = output.detach().contiguous().numpy()

        with torch.inference_mode(), forward_hooks(module, names, keep):
            probabilities = module(as_tensor(images)).numpy()
        kept = {layer: outputs[layer] for layer in points if layer in outputs}
        return Captured(kept, probabilities)

    black = run(np.zeros((2, *IMAGE_SHAPE), np.float32)).outputs
    layers = {layer for layer, output in black.items() if output.ndim > 1 and len(output) == 2}
    absent = {
        layer: "no array with a row for each image" for layer in points if layer not in layers
    }
    points = {layer: point for layer, point in points.items() if layer in layers}
    return Watched(points, read_parameters(program), absent, run)
