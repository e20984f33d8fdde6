"""Quantization parameters: how integer codes stand for numbers.

Shape letters: C channels, O outputs and I inputs of a layer, h x w pixels of a kernel.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


class QuantizationParameters(NamedTuple):
    """How integer codes stand for numbers: value = (code - zero point) * scale.

    scale: () or (C,) float32.
    zero_point: () or (C,) int64.
    dtype: `uint8`, `int8` or `int32`.
    axis: of the codes along which the scales differ, None for one scale.
    """

    scale: NDArray[np.float32]
    zero_point: NDArray[np.int64]
    dtype: str
    axis: int | None = None

    @property
    def codes(self) -> NDArray[np.int64]:
        """All codes of the type, from the smallest; for 8-bit types, 256."""
        limits = np.iinfo(self.dtype)
        return np.arange(limits.min, limits.max + 1)

    @property
    def levels(self) -> NDArray[np.float32]:
        """(256,) the number that each 8-bit code stands for; of one scale only."""
        return ((self.codes - self.zero_point) * self.scale).astype(np.float32)

    @property
    def clip_range(self) -> tuple[float, float]:
        """The ends of the range: numbers beyond them are clipped; of one scale only."""
        return float(self.levels[0]), float(self.levels[-1])

    def dequantize(self, codes: NDArray[Any]) -> NDArray[np.float32]:
        """The numbers that codes stand for, in the codes' shape."""
        if self.axis is None and self.dtype != "int32":
            return self.levels[codes.astype(np.intp) - np.iinfo(self.dtype).min]
        shape = [-1 if axis == self.axis else 1 for axis in range(codes.ndim)]
        scale, zero_point = self.scale.reshape(shape), self.zero_point.reshape(shape)
        return ((codes - zero_point) * scale).astype(np.float32)


class Parameter(NamedTuple):
    """A layer's weight or bias.

    values: float32 in the float model's units, (O, I, h, w) or (O, I) or (O,).
    quantization: of the codes behind them; None where the model has floats.
    unit: (O,) what a step of the model's own stands for in these units, the largest of all
        inputs; None where the units are the same.
    """

    values: NDArray[np.float32]
    quantization: QuantizationParameters | None = None
    unit: NDArray[np.float32] | None = None
