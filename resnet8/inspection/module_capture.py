"""Captures the layers of any PyTorch module with forward hooks, and restores its state.

Layers are the modules without submodules, by their dotted names; the second call of `relu` is
`relu:2`. Shape letters: N images, O outputs and I inputs of a layer, h x w pixels of a kernel.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.modules.conv import _ConvTransposeNd
from torch.nn.parameter import is_lazy
from torch.utils._pytree import tree_leaves

from resnet8.core.qparams import Parameter
from resnet8.inspection.capture import Captured, Point, Watched
from resnet8.inspection.torch_capture import forward_hooks
from resnet8.models.torch_model import as_tensor


def capture(module: torch.nn.Module, images: NDArray[np.float32]) -> Watched:
    """Runs a module once in evaluation mode, without gradients, and keeps its layers' outputs.

    Images are converted to the module's floating-point type and device. Training modes, buffers,
    gradients, hooks and PyTorch's random state are restored, even after an error; only lazy modules
    keep the shapes inferred from the images.

    Args:
        module: with one input.
        images: (N, ...) as the module takes them.

    Returns:
        The layers in the order of computation; `run` returns the captured outputs. Layers that are
        not called, or do not return floats with a row for each image, are absent.
    """
    module = getattr(module, "_orig_mod", module)  # torch.compile skips hooks
    layers = {
        path: layer
        for path, layer in module.named_modules()
        if {name for name, _ in layer.named_children()} <= {"parametrizations"}
        and "parametrizations" not in path.split(".")
    }
    names = {path: path or type(module).__name__ for path in layers}
    calls = dict.fromkeys(names.values(), 0)
    outputs: dict[str, NDArray[np.float32]] = {}
    absent: dict[str, str] = {}

    def keep(name: str, output: object) -> None:
        calls[name] += 1
        layer = f"{name}:{calls[name]}" if calls[name] > 1 else name
        tensor = _first_tensor(output)
        if reason := _find_fault(tensor, len(images)):
            absent[layer] = reason
        else:
            outputs[layer] = _copied(tensor)  # before the next layer works in place

    device, dtype = _place_of(module)
    with _restored(module, device), forward_hooks(module, names, keep):
        result = _first_tensor(module(as_tensor(images).to(device, dtype)))
        parameters = {names[path]: _parameters(layer) for path, layer in layers.items()}
    absent |= {name: "not called" for name, count in calls.items() if not count}
    points = {layer: Point(f"forward hook on {layer}") for layer in outputs}
    captured = Captured(outputs, _copied(result))
    return Watched(points, {k: x for k, x in parameters.items() if x}, absent, lambda _: captured)


@contextmanager
def _restored(module: torch.nn.Module, device: torch.device) -> Iterator[None]:
    """Sets evaluation mode in the block, then restores training modes, buffers and random state."""
    modes = {part: part.training for part in module.modules()}
    buffers = {part: dict(part._buffers) for part in modes}
    saved = [x for of_part in buffers.values() for x in of_part.values() if x is not None]
    copies = [None if is_lazy(x) else x.clone() for x in saved]
    try:
        with torch.no_grad(), torch.random.fork_rng([device] if device.type == "cuda" else []):
            for part in modes:
                part.training = False  # `eval` may be another method, or refused
            yield
    finally:
        for part, mode in modes.items():
            part.training = mode
            part._buffers.clear()
            part._buffers.update(buffers[part])
        for buffer, copy in zip(saved, copies, strict=True):
            if copy is not None and not (buffer.shape == copy.shape and buffer.equal(copy)):
                buffer.data = copy


def _place_of(module: torch.nn.Module) -> tuple[torch.device, torch.dtype]:
    """Returns device and floating-point type of a module's first parameter or buffer."""
    tensors = chain(module.parameters(), module.buffers())
    usable = (x for x in tensors if not is_lazy(x) and x.is_floating_point())
    first = next(usable, torch.empty(0, dtype=torch.float32))
    return first.device, first.dtype


def _first_tensor(output: object) -> torch.Tensor:
    """Returns the first tensor in a nested structure; an empty tensor if it has none."""
    leaves = tree_leaves(output)
    return next((x for x in leaves if isinstance(x, torch.Tensor)), torch.empty(0))


def _find_fault(tensor: torch.Tensor, n_images: int) -> str | None:
    """Returns the reason why an output cannot be captured, or None."""
    if not tensor.is_floating_point():
        return f"gives {str(tensor.dtype).removeprefix('torch.')}"
    has_rows = tensor.ndim > 1 and len(tensor) == n_images and tensor.numel()
    return None if has_rows else "no array with a row for each image"


def _copied(tensor: torch.Tensor) -> NDArray[np.float32]:
    copy = tensor.detach().to("cpu", torch.float32, copy=True)
    return np.ascontiguousarray(copy.numpy())


def _parameters(layer: torch.nn.Module) -> dict[str, Parameter]:
    """Returns a layer's finite weight and bias, output channels along the first axis."""
    parameters = {}
    for kind in ("weight", "bias"):
        tensor = getattr(layer, kind, None)
        if isinstance(tensor, torch.Tensor) and tensor.is_floating_point() and tensor.numel():
            if kind == "weight" and isinstance(layer, _ConvTransposeNd) and layer.groups == 1:
                tensor = tensor.transpose(0, 1)
            values = np.atleast_1d(_copied(tensor))
            if np.isfinite(values).all():
                parameters[kind] = Parameter(values)
    return parameters
