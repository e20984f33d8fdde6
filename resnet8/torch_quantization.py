"""Static quantization with torchao's PT2E flow."""

import logging

import numpy as np
import torch
from numpy.typing import NDArray

from resnet8.params import TorchType

# Missing CUDA kernels and deprecations inside the libraries; nothing a user can act on.
for _name in ("torchao", "torch.utils._pytree"):
    logging.getLogger(_name).setLevel(logging.ERROR)

from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e  # noqa: E402
from torchao.quantization.pt2e.quantizer.x86_inductor_quantizer import (  # noqa: E402
    X86InductorQuantizer,
    get_default_x86_inductor_quantization_config,
)

# Shape letters: N images, H = W = 32 pixels, C = 3 channels.
QUANT_TYPES: tuple[TorchType, ...] = ("int8",)


def quantize(
    program: torch.export.ExportedProgram, images: NDArray[np.uint8], *, batch_size: int = 100
) -> torch.nn.Module:
    """Quantizes weights to int8 and activations to uint8 with ranges seen on images.

    Activations: uint8, asymmetric, per tensor, histogram observer. Weights: int8, symmetric,
    per output channel. Those are the defaults of torchao's quantizer for x86 CPUs.

    Args:
        program: a float program from (N, 32, 32, 3) to (N, K).
        images: (N, 32, 32, 3) uint8 calibration images.
        batch_size: images run at once.

    Returns:
        A module whose quantize and dequantize steps are written in PyTorch's own operators,
        so that it exports to a file that stock PyTorch loads.

    Source: https://docs.pytorch.org/ao/stable/pt2e_quantization/pt2e_quant_x86_inductor.html
    """
    quantizer = X86InductorQuantizer()
    quantizer.set_global(get_default_x86_inductor_quantization_config())
    prepared = prepare_pt2e(program.module(), quantizer)
    with torch.no_grad():
        for start in range(0, len(images), batch_size):
            batch = images[start : start + batch_size].astype(np.float32)
            prepared(torch.from_numpy(batch))
    return _in_stock_operators(convert_pt2e(prepared))


def _quantize_per_tensor(
    x: torch.Tensor, scale: float, zero_point: int, low: int, high: int, dtype: torch.dtype
) -> torch.Tensor:
    return torch.clamp(torch.round(x * (1.0 / scale)) + zero_point, low, high).to(dtype)


def _dequantize_per_tensor(
    q: torch.Tensor, scale: float, zero_point: int, low: int, high: int, dtype: torch.dtype
) -> torch.Tensor:
    return (q.to(torch.float32) - zero_point) * scale


def _dequantize_per_channel(
    q: torch.Tensor,
    scales: torch.Tensor,
    zero_points: torch.Tensor,
    axis: int,
    low: int,
    high: int,
    dtype: torch.dtype,
) -> torch.Tensor:
    shape = [-1 if dim == axis else 1 for dim in range(q.dim())]
    return (q.to(torch.float32) - zero_points.view(shape)) * scales.view(shape)


_DECOMPOSED = torch.ops.quantized_decomposed
_STOCK = {
    _DECOMPOSED.quantize_per_tensor.default: _quantize_per_tensor,
    _DECOMPOSED.dequantize_per_tensor.default: _dequantize_per_tensor,
    _DECOMPOSED.dequantize_per_channel.default: _dequantize_per_channel,
}


def _in_stock_operators(module: torch.fx.GraphModule) -> torch.fx.GraphModule:
    """Writes torchao's quantization operators out in arithmetic, and drops float weights.

    The operators are only there in processes that imported torchao; the arithmetic is
    theirs. The float weights stay behind as unused parameters when their 8-bit copies
    take over.
    """
    for node in module.graph.nodes:
        if node.op == "call_function" and node.target in _STOCK:
            node.target = _STOCK[node.target]
    used = {str(node.target) for node in module.graph.nodes if node.op == "get_attr"}
    module.graph.eliminate_dead_code()
    for name, _ in list(module.named_parameters()):
        if name not in used:
            owner, _, attribute = name.rpartition(".")
            delattr(module.get_submodule(owner), attribute)
    module.recompile()
    return module
