"""Static quantization with torchao's PT2E flow."""

import logging
from collections.abc import Mapping
from typing import Any, TypeGuard

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
    stored_tensor,
)
from resnet8.quantize.library_warnings import no_warnings
from resnet8.quantize.quantization import Quantization
from resnet8.quantize.stock_operators import in_stock_operators
from resnet8.quantize.written import Written, check_written, written_layers

# Missing CUDA kernels and deprecations inside the libraries; nothing a user can act on.
for _name in ("torchao", "torch.utils._pytree"):
    logging.getLogger(_name).setLevel(logging.ERROR)

from torchao.quantization.pt2e import ObserverBase  # noqa: E402
from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e  # noqa: E402
from torchao.quantization.pt2e.quantizer import (  # noqa: E402
    FixedQParamsQuantizationSpec,
    QuantizationAnnotation,
    QuantizationSpec,
    QuantizationSpecBase,
    Quantizer,
)

TYPES: tuple[TorchType, ...] = ("int8",)
# Of torchao, with the reason why each may come.
_EXPECTED_WARNINGS: dict[str, str] = {}
_ATEN = torch.ops.aten
# Operators that only move values.
_MOVING = (
    _ATEN.flatten.using_ints,
    _ATEN.pad.default,
    _ATEN.permute.default,
    _ATEN.reshape.default,
    _ATEN.unflatten.int,
    _ATEN.view.default,
)


def quantize(program: torch.export.ExportedProgram, quantization: Quantization) -> torch.nn.Module:
    """Puts 8-bit weights and activations with the quantization that is given into a program.

    Rounded are the same tensors as in the ONNX model, to uint8, and the weights, to int8.
    Biases stay in float, as PyTorch's kernels take them.

    Args:
        program: the float program from (N, 32, 32, 3) to (N, K).
        quantization: what `fit` decided about the ONNX model that it was made from.

    Returns:
        A module whose quantize and dequantize steps are written in PyTorch's own operators,
        so that it exports to a file that stock PyTorch loads.

    Source: https://docs.pytorch.org/ao/stable/pt2e_quantization/quantizer.html
    """
    module = program.module()
    _set_parameters(module, quantization)
    with no_warnings("torchao", expected=_EXPECTED_WARNINGS):
        prepared = prepare_pt2e(module, _GivenQuantizer(quantization))
        converted = convert_pt2e(prepared)
    return in_stock_operators(converted)


def check(
    quantized: torch.export.ExportedProgram,
    program: torch.export.ExportedProgram,
    quantization: Quantization,
) -> None:
    """Checks that a program holds the quantization that it was to get.

    Args:
        quantized: what became of `quantize`'s module once it was exported, and written.
        program: the float program.
        quantization: what `fit` decided.

    Raises:
        ArtifactError: something is different.
    """
    nodes = layer_nodes(program.module())
    moving = {layer for layer, node in nodes.items() if node.target in _MOVING}
    check_written(
        _read_written(quantized),
        quantization,
        activations={x: y for x, y in quantization.activations.items() if x not in moving},
        operators={layer: str(node.target) for layer, node in nodes.items()},
        types=("uint8", "int8"),
        library="torchao",
    )


def _read_written(program: torch.export.ExportedProgram) -> Written:
    module = program.module()
    nodes = layer_nodes(module)
    names = {node: layer for layer, node in nodes.items()}
    activations: dict[str, list[QuantizationParameters]] = {}
    for node in module.graph.nodes:
        if (found := quantization_after(node)) is not None:
            source = node.all_input_nodes[0]
            tensor = INPUT if source.op == "placeholder" else names[source]
            scales: list[Any] = [multiply.args[1] for multiply in dequantize_steps(node)]
            activations[tensor] = [
                found[1],
                *(found[1]._replace(scale=np.array(scale, np.float32)) for scale in scales),
            ]
    operators = {layer: str(node.target) for layer, node in nodes.items()}
    return Written(activations, written_layers(read_parameters(program)), operators)


def _set_parameters(module: torch.fx.GraphModule, quantization: Quantization) -> None:
    """Writes the weights and biases that were found in the place of the float ones."""
    nodes = {
        layer: node
        for layer, node in layer_nodes(module).items()
        if node.target in WITH_PARAMETERS and _is_parameter(node.args[1])
    }
    shapes = {
        layer: [tuple(stored_tensor(module, x).shape) for x in node.args[1:3] if _is_parameter(x)]
        for layer, node in nodes.items()
    }
    quantization.check_shapes(shapes)
    set_parameters(module, quantization.parameters)


def _is_parameter(source: object) -> TypeGuard[torch.fx.Node]:
    return isinstance(source, torch.fx.Node) and source.op == "get_attr"


class _GivenPerChannel(ObserverBase):  # type: ignore[misc]
    """Stands where weights would be observed, with scales that are known already."""

    def __init__(
        self, *, parameters: QuantizationParameters, dtype: torch.dtype, **spec: Any
    ) -> None:
        super().__init__(dtype=dtype)
        self.qscheme, self.ch_axis = spec["qscheme"], spec["ch_axis"]
        self.quant_min, self.quant_max = spec["quant_min"], spec["quant_max"]
        self._scale = torch.from_numpy(parameters.scale)
        self._zero_point = torch.from_numpy(parameters.zero_point)

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        return weight

    def calculate_qparams(self) -> tuple[torch.Tensor, torch.Tensor]:
        return self._scale, self._zero_point


class _GivenQuantizer(Quantizer):  # type: ignore[misc]
    """Asks for 8 bits where there are parameters: behind operators, and for weights."""

    def __init__(self, quantization: Quantization) -> None:
        super().__init__()
        self._activations = quantization.activations
        self._weights = quantization.weights

    def annotate(self, model: torch.fx.GraphModule) -> torch.fx.GraphModule:
        names = {node: layer for layer, node in layer_nodes(model).items()}
        for node in model.graph.nodes:
            weight = self._weights.get(names.get(node, ""))
            weights = {}
            if weight is not None and node.target in WITH_PARAMETERS:
                weights[node.args[1]] = _spec(weight)
            output = self._find(node, names)
            if weights or output:
                annotation = QuantizationAnnotation(
                    weights, output and _spec(output), _annotated=True
                )
                node.meta["quantization_annotation"] = annotation
        return model

    def validate(self, model: torch.fx.GraphModule) -> None:
        """All that is annotated has parameters."""

    def _find(
        self, node: torch.fx.Node, names: Mapping[torch.fx.Node, str]
    ) -> QuantizationParameters | None:
        """Parameters of a node's output; None where it is in float, or has codes already."""
        name = INPUT if node.op == "placeholder" else names.get(node, "")
        return None if node.target in _MOVING else self._activations.get(name)


def _spec(parameters: QuantizationParameters) -> QuantizationSpecBase:
    """Specification of a tensor for torchao."""
    limits = np.iinfo(parameters.dtype)
    dtype = getattr(torch, parameters.dtype)
    if parameters.axis is None:
        return FixedQParamsQuantizationSpec(
            dtype, float(parameters.scale), int(parameters.zero_point), limits.min, limits.max
        )
    return QuantizationSpec(
        dtype,
        _GivenPerChannel.with_args(parameters=parameters),
        limits.min,
        limits.max,
        torch.per_channel_symmetric,
        ch_axis=parameters.axis,
    )
