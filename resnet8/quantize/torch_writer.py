"""Static quantization with torchao's PT2E flow."""

import logging
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
from resnet8.quantize.written import Written, check_written, expected, layer_parameters

# Silences missing CUDA kernels and deprecations inside the libraries, which users cannot fix.
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
_ATEN = torch.ops.aten
# Operators that only move values: their outputs take over the codes of their inputs.
_MOVING = (
    _ATEN.flatten.using_ints,
    _ATEN.pad.default,
    _ATEN.permute.default,
    _ATEN.reshape.default,
    _ATEN.unflatten.int,
    _ATEN.view.default,
)


def quantize(program: torch.export.ExportedProgram, quantization: Quantization) -> torch.nn.Module:
    """Quantizes a program with given quantization parameters.

    Rounds the tensors of the ONNX model to uint8, and the weights to int8. Biases stay in float,
    as PyTorch's kernels take them.

    Args:
        program: the float program from (N, 32, 32, 3) to (N, K).
        quantization: the result of `fit` for the ONNX model that the program was converted from.

    Returns:
        A module whose quantize and dequantize steps are PyTorch's own operators. Stock PyTorch
        loads the exported file.

    Raises:
        ArtifactError: the quantization belongs to another model, or the library warned.

    Source: https://docs.pytorch.org/ao/stable/pt2e_quantization/quantizer.html
    """
    module = program.module()
    quantization.check_shapes(_parameter_shapes(module))
    set_parameters(module, quantization.parameters)
    with no_warnings("torchao", expected={}):
        prepared = prepare_pt2e(module, _GivenQuantizer(quantization))
        converted = convert_pt2e(prepared)
    return in_stock_operators(converted)


def check(
    quantized: torch.export.ExportedProgram,
    program: torch.export.ExportedProgram,
    quantization: Quantization,
) -> None:
    """Checks that a program holds a quantization.

    Args:
        quantized: the result of `quantize`, exported, written and read again.
        program: the float program.
        quantization: the result of `fit`.

    Raises:
        ArtifactError: naming the first difference.
    """
    nodes = layer_nodes(program.module())
    decided = expected(
        quantization,
        tensors=[
            x for x in quantization.activations if x not in nodes or nodes[x].target not in _MOVING
        ],
        operators={layer: str(node.target) for layer, node in nodes.items()},
        types=("uint8", "int8"),
    )
    check_written(_read_written(quantized), decided, library="torchao")


def _read_written(program: torch.export.ExportedProgram) -> Written:
    module = program.module()
    nodes = layer_nodes(module)
    names = {node: layer for layer, node in nodes.items()}
    activations: list[tuple[str, QuantizationParameters]] = []
    for node in module.graph.nodes:
        quantized = quantization_after(node)
        if quantized is not None:
            source, parameters = node.all_input_nodes[0], quantized[1]
            tensor = INPUT if source.op == "placeholder" else names[source]
            scales: list[Any] = [multiply.args[1] for multiply in dequantize_steps(node)]
            steps = [parameters._replace(scale=np.array(x, np.float32)) for x in scales]
            activations += [(tensor, x) for x in (parameters, *steps)]
    operators = {layer: str(node.target) for layer, node in nodes.items()}
    return Written(activations, layer_parameters(read_parameters(program)), operators)


def _parameter_shapes(module: torch.fx.GraphModule) -> dict[str, list[tuple[int, ...]]]:
    """Returns the shapes of the stored weight and bias of each layer."""
    return {
        layer: [tuple(stored_tensor(module, x).shape) for x in node.args[1:3] if _is_stored(x)]
        for layer, node in layer_nodes(module).items()
        if node.target in WITH_PARAMETERS and _is_stored(node.args[1])
    }


def _is_stored(source: object) -> TypeGuard[torch.fx.Node]:
    return isinstance(source, torch.fx.Node) and source.op == "get_attr"


class _GivenPerChannel(ObserverBase):  # type: ignore[misc]
    """An observer of weights that returns given scales, one for each channel."""

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
                    output and _spec(output),
                    _annotated=True,
                )
        return model

    def validate(self, model: torch.fx.GraphModule) -> None:
        """Accepts the annotations: each has parameters."""


def _spec(parameters: QuantizationParameters) -> QuantizationSpecBase:
    """Returns torchao's specification of a tensor."""
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
