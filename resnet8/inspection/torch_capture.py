"""Watches the layers of a PyTorch program, float or quantized, with forward hooks.

Shape letters: N images, O outputs and I inputs of a layer, h x w pixels of a kernel.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from resnet8.inspection.capture import Captured, Point, Watched
from resnet8.models.fx_graph import layer_nodes, module_path, quantization_after, read_parameters


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


def watch(program: torch.export.ExportedProgram) -> Watched:
    """Watches the output of every named layer.

    A float program gives its layers back as modules, which are hooked. In a quantized one
    the quantization steps lie between the layers and belong to no module: there an identity
    module is put behind each layer's last node and hooked, and where codes are made of a
    layer's output, behind the node that makes them. PyTorch computes on one core from then on.
    """
    torch.set_num_threads(1)
    flat = program.module()
    module: torch.nn.Module
    tapped = _points(flat)
    if any(point.quantization for point, _ in tapped.values()):
        module = _with_taps(flat, {layer: node for layer, (_, node) in tapped.items()})
        names = {f"taps.{position}": layer for position, layer in enumerate(tapped)}
        points = {
            layer: Point(f"forward hook behind node {node.name}", point.quantization)
            for layer, (point, node) in tapped.items()
        }
    else:
        module = torch.export.unflatten(program)
        names = {module_path(node): layer for layer, (_, node) in tapped.items()}
        points = {layer: Point(f"forward hook on {path}") for path, layer in names.items()}

    def run(images: NDArray[np.float32]) -> Captured:
        outputs: dict[str, NDArray[Any]] = {}

        def keep(layer: str, output: torch.Tensor) -> None:
            outputs[layer] = output.detach().contiguous().numpy()

        with torch.inference_mode(), forward_hooks(module, names, keep):
            probabilities = module(torch.from_numpy(images)).numpy()
        return Captured({layer: outputs[layer] for layer in points}, probabilities)

    return Watched(points, read_parameters(program), {}, run)


def _points(module: torch.fx.GraphModule) -> dict[str, tuple[Point, torch.fx.Node]]:
    """Points of capture by layer, and the node behind each: codes where there are any."""
    points = {}
    for layer, node in layer_nodes(module).items():
        codes = next(filter(None, (quantization_after(user) for user in node.users)), None)
        points[layer] = (Point("", codes[1]), codes[0]) if codes else (Point(""), node)
    return points


def _with_taps(
    module: torch.fx.GraphModule, nodes: Mapping[str, torch.fx.Node]
) -> torch.fx.GraphModule:
    """Puts an identity module, `taps.0`, `taps.1`, …, behind each node."""
    module.add_module("taps", torch.nn.ModuleList(torch.nn.Identity() for _ in nodes))
    for position, node in enumerate(nodes.values()):
        with module.graph.inserting_after(node):
            module.graph.call_module(f"taps.{position}", (node,))
    module.recompile()
    return module
