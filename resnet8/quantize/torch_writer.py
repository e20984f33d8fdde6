"""Static quantization with torchao's PT2E flow."""

import logging

import numpy as np
import torch

from resnet8.core.names import INPUT, TorchType
from resnet8.core.qparams import QuantizationParameters
from resnet8.models.fx_graph import (
    WITH_PARAMETERS,
    dequantize_steps,
    layer_nodes,
    quantization_after,
    read_parameters,
    set_parameters,
)
from resnet8.quantize.checks import check_shapes, check_written, no_warnings
from resnet8.quantize.quantization import Quantization
from resnet8.quantize.stock_operators import in_stock_operators

# Silences missing CUDA kernels and deprecations inside the libraries, which users cannot fix.
for _name in ("torchao", "torch.utils._pytree"):
    logging.getLogger(_name).setLevel(logging.ERROR)

from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e  # noqa: E402
from torchao.quantization.pt2e.quantizer import (  # noqa: E402
    DerivedQuantizationSpec,
    QuantizationAnnotation,
    Quantizer,
)

TYPES: tuple[TorchType, ...] = ("int8",)
_ATEN = torch.ops.aten
# Operators that only move values: their outputs take over the codes of their inputs.
_MOVING = (
    _ATEN.flatten.using_ints, _ATEN.pad.default, _ATEN.permute.default,
    _ATEN.reshape.default, _ATEN.unflatten.int, _ATEN.view.default,
)  # fmt: skip


def quantize(program: torch.export.ExportedProgram, quantization: Quantization) -> torch.nn.Module:
    """Quantizes a float program with the result of `fit` for the ONNX model that it is made from.

    Rounds the tensors of the ONNX model to uint8, and the weights to int8. Biases stay in float,
    as PyTorch's kernels take them.

    Returns:
        A module from (N, 32, 32, 3) to (N, K) whose quantize and dequantize steps are PyTorch's own
        operators. Stock PyTorch loads the exported file.

    Raises:
        ArtifactError: the quantization belongs to another model, or the library warned.

    Source: https://docs.pytorch.org/ao/stable/pt2e_quantization/quantizer.html
    """
    check_shapes(quantization, read_parameters(program))
    module = program.module()
    set_parameters(module, quantization.parameters)
    with no_warnings("torchao"):
        prepared = prepare_pt2e(module, _GivenQuantizer(quantization))
        converted = convert_pt2e(prepared)
    return in_stock_operators(converted)


def check(
    quantized: torch.export.ExportedProgram,
    program: torch.export.ExportedProgram,
    quantization: Quantization,
) -> None:
    """Raises an ArtifactError unless an exported result of `quantize` holds a quantization."""
    module = quantized.module()
    names = {node: layer for layer, node in layer_nodes(module).items()}
    steps = []
    for node in module.graph.nodes:
        if match := quantization_after(node):
            source, parameters = node.all_input_nodes[0], match[1]
            tensor = INPUT if source.op == "placeholder" else names[source]
            scales = [np.array(x.args[1], np.float32) for x in dequantize_steps(node)]
            steps += [(tensor, parameters._replace(scale=x)) for x in (parameters.scale, *scales)]
    moved = {name for name, x in layer_nodes(program.module()).items() if x.target in _MOVING}
    activations = {name: x for name, x in quantization.activations.items() if name not in moved}
    given, types = quantization._replace(activations=activations), ("uint8", "int8")
    check_written("torchao", given, types, steps, read_parameters(quantized))


class _GivenQuantizer(Quantizer):  # type: ignore[misc]
    """Annotates the outputs and weights that have given quantization parameters."""

    def __init__(self, quantization: Quantization) -> None:
        super().__init__()
        self._activations = quantization.activations
        self._weights = quantization.weights

    def annotate(self, model: torch.fx.GraphModule) -> torch.fx.GraphModule:
        names = {node: layer for layer, node in layer_nodes(model).items()}
        for node in model.graph.nodes:
            name = INPUT if node.op == "placeholder" else names.get(node, "")
            output = None if node.target in _MOVING else self._activations.get(name)
            weight = self._weights.get(name) if node.target in WITH_PARAMETERS else None
            if weight or output:
                node.meta["quantization_annotation"] = QuantizationAnnotation(
                    {node.args[1]: _spec(weight)} if weight else {},
                    _spec(output) if output else None,
                    _annotated=True,
                )
        return model

    def validate(self, model: torch.fx.GraphModule) -> None:
        """Accepts the annotations: each has parameters."""


def _spec(parameters: QuantizationParameters) -> DerivedQuantizationSpec:
    """Returns torchao's specification of a tensor: parameters that are derived from no other."""
    limits = np.iinfo(parameters.dtype)
    tensors = torch.from_numpy(parameters.scale), torch.from_numpy(parameters.zero_point)
    return DerivedQuantizationSpec(
        derived_from=[],
        derive_qparams_fn=lambda _: tensors,
        dtype=getattr(torch, parameters.dtype),
        quant_min=limits.min,
        quant_max=limits.max,
        qscheme=torch.per_tensor_affine if parameters.axis is None else torch.per_channel_symmetric,
        ch_axis=parameters.axis,
    )
