"""Static quantization with ONNX Runtime, in QDQ form."""

from collections.abc import Iterator

import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)

from resnet8.files import scratch_folder
from resnet8.onnx_model import INPUT
from resnet8.params import OnnxType

# Shape letters: N images, H = W = 32 pixels, C = 3 channels.
# Activation and weight type by the name that params.yaml uses.
QUANT_TYPES: dict[OnnxType, tuple[QuantType, QuantType]] = {
    "int8": (QuantType.QInt8, QuantType.QInt8),
    "uint8": (QuantType.QUInt8, QuantType.QUInt8),
    "uint8_int8": (QuantType.QUInt8, QuantType.QInt8),
}
# ONNX Runtime gives a pool's output the scale of its input, of which an average uses a
# fraction. Left out of the list, the pool gets the same Q/DQ pairs from its neighbours, but
# the one behind it with a range of its own.
_OWN_RANGE = ("AveragePool", "GlobalAveragePool")
# 8-bit probabilities tie: the top-1 class becomes a matter of order.
_FLOAT = ("Softmax",)


class _Reader(CalibrationDataReader):  # type: ignore[misc]
    """Hands out calibration images batch by batch, as ONNX Runtime asks for them."""

    def __init__(self, images: NDArray[np.uint8], batch_size: int) -> None:
        self._batches: Iterator[NDArray[np.uint8]] = iter(
            images[start : start + batch_size] for start in range(0, len(images), batch_size)
        )

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        batch = next(self._batches, None)
        return None if batch is None else {INPUT: batch.astype(np.float32)}


def quantize(
    model: onnx.ModelProto,
    images: NDArray[np.uint8],
    *,
    quant_type: OnnxType,
    per_channel: bool,
    batch_size: int = 100,
) -> onnx.ModelProto:
    """Quantizes weights and activations to 8 bits with ranges seen on calibration images.

    Activation ranges are the smallest and largest value (MinMax). Convolutions, additions,
    pooling and the dense layer run in 8 bits; the softmax stays in float.

    Args:
        model: a folded float model.
        images: (N, 32, 32, 3) uint8 calibration images.
        quant_type: `int8`, `uint8`, or `uint8_int8` for uint8 activations and int8 weights.
        per_channel: one weight scale for each output channel instead of one in all.
        batch_size: images run at once.

    Returns:
        The quantized model, with QuantizeLinear and DequantizeLinear around each operator.

    Source: https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html
    """
    activation_type, weight_type = QUANT_TYPES[quant_type]
    excluded = [node.name for node in model.graph.node if node.op_type in _OWN_RANGE + _FLOAT]
    with scratch_folder() as scratch:
        # As a file: given the model itself, quantize_static moves its weights out of it.
        before, after = scratch / "before.onnx", scratch / "after.onnx"
        onnx.save(model, before)
        quantize_static(
            before,
            after,
            _Reader(images, batch_size),
            quant_format=QuantFormat.QDQ,
            calibrate_method=CalibrationMethod.MinMax,
            activation_type=activation_type,
            weight_type=weight_type,
            per_channel=per_channel,
            nodes_to_exclude=excluded,
            # Also what only moves values gets Q/DQ pairs where its input comes from float.
            extra_options={"ForceQuantizeNoInputCheck": True},
        )
        return onnx.load(after)
