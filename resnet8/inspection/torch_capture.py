"""Watches the layers of a PyTorch program, float or quantized, with forward hooks.

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

_TYPES = (torch.float32, torch.uint8, torch.int8)  # of numbers, and of codes
# What steps raise that look like those of quantization, but are not.
_FAULTS = ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError


@contextmanager
def forward_hooks(
    module: torch.nn.Module, names: Mapping[str, str], keep: Callable[[str, torch.Tensor], None]
) -> Iterator[None]:
    """Hands the output of named submodules to `keep` while the block runs.

    The hooks return nothing, so outputs stay as they are, and are removed when the block
    ends, also by an error.

    Args:
        module: holds the submodules.
        names: what `keep` calls a submodule's output, by the submodule's dotted name.
        keep: called with that name and the output.
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
    """PyTorch's number of threads is as before behind the block."""
    threads = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def watch(program: torch.export.ExportedProgram) -> Watched:
    """Watches the output of every named layer.

    The program gives its layers back as modules, which are hooked. Where codes are made of a
    layer's output, the module that makes them is hooked instead. A layer that gives something else
    than an array with a row for each image is absent. PyTorch computes on one core from then on.

    Raises:
        ArtifactError: codes are made outside of modules, as earlier versions wrote it, or codes,
            scales and weights do not belong together.
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
    seen = {layer for layer, output in black.items() if output.ndim > 1 and len(output) == 2}
    absent = {layer: "no array with a row for each image" for layer in points if layer not in seen}
    points = {layer: point for layer, point in points.items() if layer in seen}
    return Watched(points, read_parameters(program), absent, run)
