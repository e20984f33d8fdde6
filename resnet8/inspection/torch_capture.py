"""Captures the layers of PyTorch programs and modules with forward hooks.

Layers of a program of the pipeline, float or quantized, have the names of ONNX nodes. Layers of
any module are the modules without submodules, by their dotted names; the second call of `relu` is
`relu:2`.

Shape letters: N images, O outputs and I inputs of a layer, h x w pixels of a kernel.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from itertools import chain
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.modules.conv import _ConvTransposeNd
from torch.nn.parameter import is_lazy
from torch.utils._pytree import tree_leaves

from resnet8.core.batches import IMAGE_SHAPE
from resnet8.core.errors import ArtifactError
from resnet8.core.qparams import Parameter
from resnet8.inspection.capture import NO_ROWS, Captured, Point, Watched
from resnet8.models.faults import FAULTS, reason
from resnet8.models.fx_graph import layer_nodes, module_path, quantization_after, read_parameters
from resnet8.models.torch_model import as_tensor

_TYPES = (torch.float32, torch.uint8, torch.int8)  # of floats and codes


@contextmanager
def _hooked(
    module: torch.nn.Module, names: Mapping[str, str], keep: Callable[[str, torch.Tensor], None]
) -> Iterator[None]:
    """Calls `keep` with name and output of submodules within the block; `names` are by path."""
    with ExitStack() as handles:
        for path, name in names.items():
            handle = module.get_submodule(path).register_forward_hook(
                lambda _module, _inputs, output, name=name: keep(name, output)
            )
            handles.callback(handle.remove)
        yield


def watch(program: torch.export.ExportedProgram) -> Watched:
    """Captures the output of every named layer.

    The modules of the unflattened program are hooked; for a quantized output, the module that
    quantizes it. A layer whose output is not an array with a row for each image is absent. Sets
    PyTorch to one thread.

    Raises:
        ArtifactError: outputs are quantized outside of modules, or codes, scales and weights do
            not fit together.
    """
    torch.set_num_threads(1)
    names: dict[str, str] = {}
    points = {}

    def run(images: NDArray[np.float32]) -> Captured:
        outputs: dict[str, NDArray[Any]] = {}

        def keep(layer: str, output: object) -> None:
            if isinstance(output, torch.Tensor) and output.dtype in _TYPES:
                outputs[layer] = output.detach().contiguous().numpy()

        with torch.inference_mode(), _hooked(module, names, keep):
            probabilities = module(as_tensor(images)).numpy()
        return Captured(outputs, probabilities)

    try:
        module = torch.export.unflatten(program)
        for layer, node in layer_nodes(program.module()).items():
            steps = [x for x in map(quantization_after, node.users) if x]
            captured, quantization = steps[0] if steps else (node, None)
            name = module_path(captured)
            if not name:
                raise ValueError(f"the output of {layer} quantized outside of modules")
            names[name] = layer
            points[layer] = Point(f"forward hook on {name}", quantization)
        watched = Watched(points, read_parameters(program), {}, run)
        return watched.with_rows(run(np.zeros((2, *IMAGE_SHAPE), np.float32)), 2)
    except FAULTS as exc:  # programs that only resemble quantized ones
        raise ArtifactError(
            "The program must quantize layers as `dvc repro` writes it, or not at all, got: "
            f"{type(exc).__name__}: {reason(exc)}. Run `dvc repro` to make it again."
        ) from exc


def capture(module: torch.nn.Module, images: NDArray[np.float32]) -> Watched:
    """Runs a module once in evaluation mode, without gradients, and keeps its layers' outputs.

    Images (N, ...) are converted to the module's floating-point type and device. Training modes,
    buffers, gradients, hooks and PyTorch's random state are restored, even after an error; only
    lazy modules keep the shapes inferred from the images. Layers that are not called, or do not
    return floats with a row for each image, are absent.
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
        if not tensor.is_floating_point():
            absent[layer] = f"returns {str(tensor.dtype).removeprefix('torch.')}"
        elif tensor.ndim < 2 or len(tensor) != len(images) or not tensor.numel():
            absent[layer] = NO_ROWS
        else:
            outputs[layer] = _copied(tensor)  # before the next layer works in place

    device, dtype = _place_of(module)
    with _restored(module, device), _hooked(module, names, keep):
        result = _first_tensor(module(as_tensor(images).to(device, dtype)))
        parameters = {names[path]: _parameters(layer) for path, layer in layers.items()}
    absent |= {name: "not called" for name, count in calls.items() if not count}
    points = {layer: Point(f"forward hook on {layer}") for layer in outputs}
    captured = Captured(outputs, _copied(result))
    parameters = {name: kinds for name, kinds in parameters.items() if kinds}
    return Watched(points, parameters, absent, lambda _: captured)


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
    tensors = chain(module.parameters(), module.buffers(), [torch.empty(0, dtype=torch.float32)])
    first = next(x for x in tensors if not is_lazy(x) and x.is_floating_point())
    return first.device, first.dtype


def _first_tensor(output: object) -> torch.Tensor:
    """Returns the first tensor in a nested structure; an empty tensor if it has none."""
    leaves = tree_leaves(output)
    return next((x for x in leaves if isinstance(x, torch.Tensor)), torch.empty(0))


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
