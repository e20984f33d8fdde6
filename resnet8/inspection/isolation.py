"""Ranks layers by the effect of quantizing each one alone, in both runtimes.

The quantization of a layer is that of its weights and its output; if a ReLU or reshape follows,
the output of the last such operator is quantized. `input` stands for the images. Each
quantized tensor belongs to one layer, so all layers together are the quantized model.

Shape letters: N images, K classes.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray

from resnet8.compare.comparison import kl_divergence
from resnet8.core.digits import divergence
from resnet8.core.evaluation import Predictor, Probabilities, predict
from resnet8.core.names import INPUT
from resnet8.core.qparams import Parameter, parameter_values
from resnet8.core.variants import Variant
from resnet8.inspection.units import read_metadata
from resnet8.models import fx_graph, onnx_graph, onnx_model, torch_model
from resnet8.models.onnx_graph import Graph
from resnet8.quantize.equalization import equalized

BATCH_SIZE = 25  # images run at once on a core
# Returns a predictor in which the named layers are quantized and the others are float.
Isolate = Callable[[Sequence[str]], Predictor]
_ATEN = torch.ops.aten
# Pass-through operators: their output is quantized in place of their input.
_PASSING = (
    *(_ATEN.clamp.default, _ATEN.flatten.using_ints, _ATEN.hardtanh.default),
    *(_ATEN.leaky_relu.default, _ATEN.pad.default, _ATEN.permute.default, _ATEN.relu.default),
    *(_ATEN.reshape.default, _ATEN.unflatten.int, _ATEN.view.default),
)


def rank(
    layers: Sequence[str],
    isolate: Isolate,
    images: NDArray[np.uint8],
    *,
    progress: Callable[[Iterable[str]], Iterable[str]] = iter,
) -> dict[str, Any]:
    """Measures the model with each layer quantized alone, and with all layers but each one.

    Args:
        layers: the quantized layers.
        isolate: makes the models.
        images: (N, 32, 32, 3).
        progress: wraps the loop over layers, as `tqdm.tqdm` does.

    Returns:
        `all`: divergence and agreement of the fully quantized model with the float one;
        `layers`: by layer, the same two figures with only this layer quantized (`alone`) and
        with all other layers quantized (`spared`), and its `rank` by `alone`, from 1 for the
        largest divergence.
    """

    def run(quantized: Sequence[str]) -> Probabilities:
        return predict(isolate(quantized), images, batch_size=BATCH_SIZE)

    baseline = run([])
    effects = {
        layer: {
            "alone": _effect(baseline, run([layer])),
            "spared": _effect(baseline, run([other for other in layers if other != layer])),
        }
        for layer in progress(layers)
    }
    order = sorted(layers, key=lambda layer: -effects[layer]["alone"]["kl_divergence"])
    return {
        "n_images": len(images),
        "all": _effect(baseline, run(layers)),
        "layers": {layer: effects[layer] | {"rank": order.index(layer) + 1} for layer in layers},
    }


def _effect(baseline: Probabilities, changed: Probabilities) -> dict[str, float]:
    agreement = np.mean(baseline.argmax(axis=1) == changed.argmax(axis=1))
    return {
        "kl_divergence": divergence(kl_divergence(baseline, changed)),
        "agreement": float(agreement),
    }


def load(variant: Variant, folder: Path) -> tuple[list[str], Isolate]:
    """Returns the quantized layers of a variant, and a function that quantizes some of them."""
    path = variant.path(folder)
    original = onnx_model.load_model(Variant.ONNX_FP32.path(folder))
    original = equalized(original, read_metadata(path)[0])
    if variant.runtime == "torch":
        parameters, program = onnx_graph.read_parameters(original), torch_model.load(path)
        return torch_layers(program), lambda layers: torch_model.as_predictor(
            in_torch(parameters, program, layers)
        )
    quantized = onnx_model.load_model(path)
    # As written: otherwise ONNX Runtime also quantizes the weights of the float layers.
    return onnx_layers(original, quantized), lambda layers: onnx_model.make_predictor(
        in_onnx(original, quantized, layers), as_written=True
    )


def onnx_layers(model: onnx.ModelProto, quantized: onnx.ModelProto) -> list[str]:
    """Returns the layers with 8-bit weights or an 8-bit output, in the order of computation."""
    names, owners = (x.name for x in model.graph.node), _onnx_owners(model, quantized)
    return _quantized(names, owners.values(), onnx_graph.read_parameters(quantized))


def in_onnx(
    model: onnx.ModelProto, quantized: onnx.ModelProto, layers: Collection[str]
) -> onnx.ModelProto:
    """Adds the quantization of some layers to the float model.

    Weights become their dequantized codes, and quantized tensors get their QuantizeLinear and
    DequantizeLinear.
    """
    stored = onnx_graph.read_parameters(quantized)
    parameters = {x: parameter_values(stored[x]) for x in stored if x in layers}
    graph = Graph(quantized)
    steps, owners = graph.quantize_steps(), _onnx_owners(model, quantized)
    kept = {x: graph.quantization_of(steps[x]) for x, owner in owners.items() if owner in layers}
    return onnx_graph.fake_quantized(onnx_graph.with_parameters(model, parameters), kept)


def _onnx_owners(model: onnx.ModelProto, quantized: onnx.ModelProto) -> dict[str, str]:
    """Maps each 8-bit tensor to its layer."""
    producers = Graph(model).producers

    def owner(tensor: str) -> str:
        node = producers.get(tensor)
        if node is None:
            return INPUT
        is_passing = node.op_type in onnx_graph.PASSING
        return owner(node.input[0]) if is_passing else str(node.name)

    return {tensor: owner(tensor) for tensor in Graph(quantized).quantize_steps()}


def _quantized(
    names: Iterable[str],
    owners: Collection[str],
    parameters: Mapping[str, Mapping[str, Parameter]],
) -> list[str]:
    in_codes = {x for x, kinds in parameters.items() if any(y.quantization for y in kinds.values())}
    return [name for name in (INPUT, *names) if name in owners or name in in_codes]


def torch_layers(quantized: torch.export.ExportedProgram) -> list[str]:
    """Returns the layers with 8-bit weights or an 8-bit output, in the order of computation."""
    names, owners = fx_graph.layer_nodes(quantized.module()), _torch_owners(quantized.module())
    return _quantized(names, owners.values(), fx_graph.read_parameters(quantized))


def in_torch(
    originals: Mapping[str, Mapping[str, Parameter]],
    quantized: torch.export.ExportedProgram,
    layers: Collection[str],
) -> torch.fx.GraphModule:
    """Removes the quantization of all but some layers from a program, given float parameters.

    Returns:
        A module from (N, 32, 32, 3) to (N, K).
    """
    module = quantized.module()
    for node, owner in _torch_owners(module).items():
        if owner not in layers:
            for multiply in fx_graph.dequantize_steps(node):
                multiply.replace_all_uses_with(node.all_input_nodes[0])
    float_layers = (fx_graph.layer_nodes(module).keys() & originals.keys()) - {*layers}
    fx_graph.set_parameters(
        module, {layer: parameter_values(originals[layer]) for layer in sorted(float_layers)}
    )
    for node in list(module.graph.nodes):
        if node.target == _ATEN._assert_tensor_metadata.default:
            module.graph.erase_node(node)  # would keep its unused input alive
    module.graph.eliminate_dead_code()
    module.recompile()
    return module


def _torch_owners(module: torch.fx.GraphModule) -> dict[torch.fx.Node, str]:
    """Maps the first node of each quantize step to its layer."""
    layers = {node: layer for layer, node in fx_graph.layer_nodes(module).items()}

    def owner(node: torch.fx.Node) -> str:
        if node.target in _PASSING:
            return owner(node.all_input_nodes[0])
        return layers.get(node, INPUT)

    return {
        node: owner(node.all_input_nodes[0])
        for node in module.graph.nodes
        if fx_graph.quantization_after(node)
    }
