"""Static quantization with torchao's PT2E flow."""
# The functions that stand in for torchao's operators take the operators' arguments.
# ruff: noqa: ARG001, PLR0913, PLR0917

import logging
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from resnet8.params import TorchType

# Missing CUDA kernels and deprecations inside the libraries; nothing a user can act on.
for _name in ("torchao", "torch.utils._pytree"):
    logging.getLogger(_name).setLevel(logging.ERROR)

from torchao.quantization.pt2e import (  # noqa: E402
    HistogramObserver,
    ObserverBase,
    PerChannelMinMaxObserver,
)
from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e  # noqa: E402
from torchao.quantization.pt2e.quantizer import QuantizationSpec  # noqa: E402
from torchao.quantization.pt2e.quantizer.utils import QuantizationConfig  # noqa: E402
from torchao.quantization.pt2e.quantizer.x86_inductor_quantizer import (  # noqa: E402
    X86InductorQuantizer,
    get_default_x86_inductor_quantization_config,
)

# Shape letters: N images, H = W = 32 pixels, C = 3 channels.
# torchao's quantizer does not let a scale go below 2**-12. The first convolution of a network
# that takes pixels up to 255 has smaller ones, and would lose most of its weights' levels.
SMALLEST_SCALE = torch.finfo(torch.float32).eps


def quantize(
    program: torch.export.ExportedProgram,
    images: NDArray[np.uint8],
    *,
    quant_type: TorchType,
    batch_size: int = 100,
) -> torch.nn.Module:
    """Quantizes weights and activations to 8 bits with ranges seen on calibration images.

    For `int8`, activations are uint8, asymmetric, per tensor, with a histogram observer, and
    weights int8, symmetric, per output channel: the defaults of torchao's quantizer for x86
    CPUs, but for the smallest scale and the range of a pool's output.

    Args:
        program: a float program from (N, 32, 32, 3) to (N, K).
        images: (N, 32, 32, 3) uint8 calibration images.
        quant_type: what to quantize to.
        batch_size: images run at once.

    Returns:
        A module whose quantize and dequantize steps are written in PyTorch's own operators,
        so that it exports to a file that stock PyTorch loads.

    Source: https://docs.pytorch.org/ao/stable/pt2e_quantization/pt2e_quant_x86_inductor.html
    """
    quantizer = _OwnPoolRangeQuantizer()
    quantizer.set_global(CONFIGURATIONS[quant_type]())
    prepared = prepare_pt2e(program.module(), quantizer)
    with torch.no_grad():
        for start in range(0, len(images), batch_size):
            batch = images[start : start + batch_size].astype(np.float32)
            prepared(torch.from_numpy(batch))
    return _in_stock_operators(convert_pt2e(prepared))


def _int8() -> QuantizationConfig:
    default = get_default_x86_inductor_quantization_config()

    def observed(spec: QuantizationSpec, observer: type[ObserverBase]) -> QuantizationSpec:
        return replace(spec, observer_or_fake_quant_ctr=observer.with_args(eps=SMALLEST_SCALE))

    return replace(
        default,
        input_activation=observed(default.input_activation, HistogramObserver),
        output_activation=observed(default.output_activation, HistogramObserver),
        weight=observed(default.weight, PerChannelMinMaxObserver),
    )


CONFIGURATIONS: dict[TorchType, Callable[[], QuantizationConfig]] = {"int8": _int8}


class _OwnPoolRangeQuantizer(X86InductorQuantizer):  # type: ignore[misc]
    """Gives a pool's output a range of its own; an average uses a fraction of its input's."""

    def annotate(self, model: torch.fx.GraphModule) -> torch.fx.GraphModule:
        model = super().annotate(model)
        for node in model.graph.nodes:
            annotation = node.meta.get("quantization_annotation")
            if node.target == torch.ops.aten.avg_pool2d.default and annotation is not None:
                annotation.output_qspec = self.global_config.output_activation
        return model


def _quantize_per_tensor(
    x: torch.Tensor, scale: float, zero_point: int, low: int, high: int, dtype: torch.dtype
) -> torch.Tensor:
    q = torch.round(x * (1.0 / scale))
    q = q + zero_point if zero_point else q
    return torch.clamp(q, low, high).to(dtype)


def _dequantize_per_tensor(
    q: torch.Tensor, scale: float, zero_point: int, low: int, high: int, dtype: torch.dtype
) -> torch.Tensor:
    x = q.to(torch.float32)
    return (x - zero_point if zero_point else x) * scale


def _dequantize_symmetric_per_channel(
    q: torch.Tensor, scales: torch.Tensor, axis: int
) -> torch.Tensor:
    return q.to(torch.float32) * scales.view([-1 if dim == axis else 1 for dim in range(q.dim())])


def _in_stock_operators(module: torch.fx.GraphModule) -> torch.fx.GraphModule:
    """Writes torchao's quantization operators out in arithmetic, and drops what nothing uses.

    The operators are only there in processes that imported torchao; the arithmetic is theirs.
    Float weights stay behind as unused parameters when their 8-bit copies take over.
    """
    operators = torch.ops.quantized_decomposed
    for node in module.graph.nodes:
        if node.target == operators.quantize_per_tensor.default:
            node.target = _quantize_per_tensor
        elif node.target == operators.dequantize_per_tensor.default:
            node.target = _dequantize_per_tensor
        elif node.target == operators.dequantize_per_channel.default:
            q, scales, _, axis, *_ = node.args  # zero points are all 0
            node.target, node.args = _dequantize_symmetric_per_channel, (q, scales, axis)
    module.graph.eliminate_dead_code()
    used = {str(node.target) for node in module.graph.nodes if node.op == "get_attr"}
    for name, _ in [*module.named_parameters(), *module.named_buffers()]:
        if name not in used:
            owner, _, attribute = name.rpartition(".")
            delattr(module.get_submodule(owner), attribute)
    module.recompile()
    return module
