"""Ranks layers by the effect of quantizing each one alone, in both runtimes.

The quantization of a layer is that of its weights and its output; if a ReLU or reshape follows,
the output of the last such operator is quantized. `input` stands for the images. Each
quantized tensor belongs to one layer, so all layers together are the quantized model.

Shape letters: N images, K classes.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
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
from resnet8.core.qparams import parameter_values
from resnet8.core.variants import Variant
from resnet8.inspection.units import read_metadata
from resnet8.models import fx_graph, onnx_graph, onnx_model, torch_model
from resnet8.models.onnx_graph import Graph
from resnet8.quantize.equalization import equalized

BATCH_SIZE = 25  # images run at once on a core
# Returns a predictor in which the named layers are quantized and the others are float.
Isolate = Callable[[Sequence[str]], Predictor]


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
        program = torch_model.load_model(path)
        return find_layers(original, program), lambda layers: torch_model.make_predictor(
            in_torch(original, program, layers)
        )
    quantized = onnx_model.load_model(path)
    # As written: otherwise ONNX Runtime also quantizes the weights of the float layers.
    return find_layers(original, quantized), lambda layers: onnx_model.make_predictor(
        in_onnx(original, quantized, layers), as_written=True
    )


def find_layers(
    model: onnx.ModelProto, quantized: onnx.ModelProto | torch.export.ExportedProgram
) -> list[str]:
    """Returns the layers with 8-bit weights or an 8-bit output, in the order of computation."""
    if isinstance(quantized, onnx.ModelProto):
        tensors = [*Graph(quantized).quantize_steps()]
        parameters = onnx_graph.read_parameters(quantized)
    else:
        tensors = [*_torch_steps(quantized.module()).values()]
        parameters = fx_graph.read_parameters(quantized)
    in_codes = {x for x, kinds in parameters.items() if any(y.quantization for y in kinds.values())}
    names = in_codes.union(_owners(model, tensors).values())
    return [x for x in (INPUT, *(node.name for node in model.graph.node)) if x in names]


def _owners(model: onnx.ModelProto, tensors: Iterable[str]) -> dict[str, str]:
    """Maps tensors to the layers whose output they are, maybe behind pass-through operators."""
    producers = Graph(model).producers

    def owner(tensor: str) -> str:
        node = producers.get(tensor)
        if node is None:
            return INPUT
        is_passing = node.op_type in onnx_graph.PASSING
        return owner(node.input[0]) if is_passing else str(node.name)

    return {tensor: owner(tensor) for tensor in tensors}


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
    steps = graph.quantize_steps()
    owners = _owners(model, steps)
    kept = {x: graph.quantization_of(steps[x]) for x, owner in owners.items() if owner in layers}
    return onnx_graph.fake_quantized(onnx_graph.with_parameters(model, parameters), kept)


def in_torch(
    model: onnx.ModelProto, quantized: torch.export.ExportedProgram, layers: Collection[str]
) -> torch.fx.GraphModule:
    """Replaces the quantization of all but some layers in a program by the float model's numbers.

    Returns:
        A module from (N, 32, 32, 3) to (N, K).
    """
    module = quantized.module()
    steps = _torch_steps(module)
    owners = _owners(model, steps.values())
    for node, tensor in steps.items():
        if owners[tensor] not in layers:
            for multiply in fx_graph.dequantize_steps(node):
                multiply.replace_all_uses_with(node.all_input_nodes[0])
    originals = onnx_graph.read_parameters(model)
    float_layers = (fx_graph.layer_nodes(module).keys() & originals.keys()) - {*layers}
    fx_graph.set_parameters(
        module, {layer: parameter_values(originals[layer]) for layer in sorted(float_layers)}
    )
    for node in list(module.graph.nodes):
        if node.target == torch.ops.aten._assert_tensor_metadata.default:
            module.graph.erase_node(node)  # would keep its unused input alive
    module.graph.eliminate_dead_code()
    module.recompile()
    return module


def _torch_steps(module: torch.fx.GraphModule) -> dict[torch.fx.Node, str]:
    """Maps the first node of each quantize step to the tensor that it quantizes."""
    layers = {node: layer for layer, node in fx_graph.layer_nodes(module).items()}
    firsts = filter(fx_graph.quantization_after, module.graph.nodes)
    return {node: layers.get(node.all_input_nodes[0], INPUT) for node in firsts}
