"""Ranks layers by the effect of quantizing each one alone, in both runtimes.

The quantization of a layer is that of its weights and its output; if a ReLU or reshape follows,
the output of the last such operator is quantized. `input` stands for the images. Each
quantized tensor belongs to one layer, so all layers together are the quantized model.

Shape letters: N images, K classes.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
import torch
from numpy.typing import NDArray

from resnet8.compare.comparison import kl_divergence
from resnet8.core.digits import round_divergence
from resnet8.core.evaluation import Predictor, predict
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


class Isolation(NamedTuple):
    """The layers of a variant, and models in which only some of them are quantized."""

    layers: list[str]
    isolate: Isolate
    fully_quantized: bytes  # equal for variants that compute equal numbers


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
    baseline = predict(isolate([]), images, batch_size=BATCH_SIZE)

    def effect(quantized: Sequence[str]) -> dict[str, float]:
        changed = predict(isolate(quantized), images, batch_size=BATCH_SIZE)
        return {
            "kl_divergence": round_divergence(kl_divergence(baseline, changed)),
            "agreement": float(np.mean(baseline.argmax(axis=1) == changed.argmax(axis=1))),
        }

    effects = {
        layer: {"alone": effect([layer]), "spared": effect([x for x in layers if x != layer])}
        for layer in progress(layers)
    }
    order = sorted(layers, key=lambda layer: -effects[layer]["alone"]["kl_divergence"])
    return {
        "n_images": len(images),
        "all": effect(layers),
        "layers": {layer: effects[layer] | {"rank": order.index(layer) + 1} for layer in layers},
    }


def rank_variants(
    models: Mapping[Variant, Any],
    folder: Path,
    images: NDArray[np.uint8],
    *,
    progress: Callable[..., Iterable[str]],
) -> dict[Variant, dict[str, Any]]:
    """Ranks the layers of quantized variants; ONNX variants of equal numbers are ranked once.

    Args:
        models: loaded, by variant, with ONNX's float model.
        folder: has the variants' metadata.
        images: (N, 32, 32, 3).
        progress: wraps the loop over layers, as `show_progress` does.

    Returns:
        The results of `rank` by variant.
    """
    rankings: dict[Variant, dict[str, Any]] = {}
    by_fully_quantized: dict[bytes, dict[str, Any]] = {}
    for variant in (x for x in models if not x.is_float):
        opened = open_variant(variant, models, folder)
        if opened.fully_quantized not in by_fully_quantized:
            shown = partial(progress, desc=f"sensitivity of {variant}", unit="layers")
            ranking = rank(opened.layers, opened.isolate, images, progress=shown)
            by_fully_quantized[opened.fully_quantized] = ranking
        rankings[variant] = by_fully_quantized[opened.fully_quantized]
    return rankings


def open_variant(variant: Variant, models: Mapping[Variant, Any], folder: Path) -> Isolation:
    """Prepares a variant for `rank`; `models` have ONNX's float model, `folder` the metadata."""
    factors, _ = read_metadata(models[variant], variant.path(folder))
    original = equalized(models[Variant.ONNX_FP32], factors)
    if variant.runtime == "torch":
        layers, in_torch = isolate_torch(original, models[variant])
        return Isolation(
            layers, lambda chosen: torch_model.make_predictor(in_torch(chosen)), variant.encode()
        )
    layers, in_onnx = isolate_onnx(original, models[variant])
    # As written: otherwise ONNX Runtime also quantizes the weights of the float layers.
    return Isolation(
        layers,
        lambda chosen: onnx_model.make_predictor(in_onnx(chosen), as_written=True),
        in_onnx(layers).SerializeToString(deterministic=True),
    )


def isolate_onnx(
    model: onnx.ModelProto, quantized: onnx.ModelProto
) -> tuple[list[str], Callable[[Collection[str]], onnx.ModelProto]]:
    """Returns the quantized layers, and a function that quantizes some in the float model.

    Weights become their dequantized codes, and quantized tensors get a QuantizeLinear to uint8 and
    a DequantizeLinear, so that models of signed and unsigned codes are equal.
    """
    stored = onnx_graph.read_parameters(quantized)
    graph = Graph(quantized)
    steps = graph.quantize_steps()
    owners = _owners(model, steps)

    def isolate(layers: Collection[str]) -> onnx.ModelProto:
        parameters = {x: parameter_values(kinds) for x, kinds in stored.items() if x in layers}
        kept = {
            x: graph.quantization_of(step).as_dtype("uint8")
            for x, step in steps.items()
            if owners[x] in layers
        }
        return onnx_graph.fake_quantized(onnx_graph.with_parameters(model, parameters), kept)

    return _quantized_layers(model, stored, owners), isolate


def isolate_torch(
    model: onnx.ModelProto, quantized: torch.export.ExportedProgram
) -> tuple[list[str], Callable[[Collection[str]], torch.fx.GraphModule]]:
    """Returns the quantized layers, and a function that makes the other layers float.

    The function returns a copy of the program from (N, 32, 32, 3) to (N, K), with the float
    model's numbers in the layers that are not named.
    """
    module = quantized.module()
    owners = _owners(model, _torch_steps(module).values())
    stored, originals = fx_graph.read_parameters(quantized), onnx_graph.read_parameters(model)
    floats = {
        x: parameter_values(originals[x]) for x in fx_graph.layer_nodes(module) if x in originals
    }
    for node in list(module.graph.nodes):
        if node.target == torch.ops.aten._assert_tensor_metadata.default:
            module.graph.erase_node(node)  # would keep its unused input alive

    def isolate(layers: Collection[str]) -> torch.fx.GraphModule:
        isolated = torch.fx.GraphModule(module, deepcopy(module.graph))  # shares all tensors
        for node, tensor in _torch_steps(isolated).items():
            if owners[tensor] not in layers:
                for multiply in fx_graph.dequantize_steps(node):
                    multiply.replace_all_uses_with(node.all_input_nodes[0])
        others = {layer: values for layer, values in floats.items() if layer not in layers}
        fx_graph.set_parameters(isolated, others)
        isolated.graph.eliminate_dead_code()
        isolated.recompile()
        return isolated

    return _quantized_layers(model, stored, owners), isolate


def _torch_steps(module: torch.fx.GraphModule) -> dict[torch.fx.Node, str]:
    """Maps the first node of each quantize step to the tensor that it quantizes."""
    layers = {node: layer for layer, node in fx_graph.layer_nodes(module).items()}
    firsts = filter(fx_graph.quantization_after, module.graph.nodes)
    return {node: layers.get(node.all_input_nodes[0], INPUT) for node in firsts}


def _owners(model: onnx.ModelProto, tensors: Iterable[str]) -> dict[str, str]:
    """Maps tensors to the layers whose output they are, maybe behind pass-through operators.

    What no node computes, and what only passes the images on, belongs to `input`.
    """
    owners: dict[str, str] = {}
    for node in model.graph.node:
        passed = node.op_type in onnx_graph.PASSING
        owner = owners.get(node.input[0], INPUT) if passed else node.name
        owners |= dict.fromkeys(node.output, owner)
    return {tensor: owners.get(tensor, INPUT) for tensor in tensors}


def _quantized_layers(
    model: onnx.ModelProto,
    parameters: Mapping[str, Mapping[str, Parameter]],
    owners: Mapping[str, str],
) -> list[str]:
    """Returns the layers with 8-bit parameters or an 8-bit output, in the order of computation.

    Args:
        model: the float model.
        parameters: of the quantized model, by layer.
        owners: the layers of its quantized tensors.
    """
    quantized = set(owners.values())
    quantized |= {
        x for x, kinds in parameters.items() if any(y.quantization for y in kinds.values())
    }
    order = [INPUT, *(node.name for node in model.graph.node)]
    return [layer for layer in order if layer in quantized]
