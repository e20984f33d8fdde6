"""Quantization parameters: the affine map between integer codes and real numbers.

Shape letters: C channels, O outputs and I inputs of a layer, h x w pixels of a kernel.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

N_CODES = 256  # of an 8-bit type


class QuantizationParameters(NamedTuple):
    """Quantization parameters of a tensor: value = (code - zero point) * scale.

    scale: () or (C,) float32.
    zero_point: () or (C,) int64.
    dtype: `uint8`, `int8` or `int32`.
    axis: the channel axis of the codes; None for one scale.
    """

    scale: NDArray[np.float32]
    zero_point: NDArray[np.int64]
    dtype: str
    axis: int | None = None

    @classmethod
    def per_tensor(
        cls, scale: float, zero_point: int, dtype: str = "uint8"
    ) -> "QuantizationParameters":
        """Returns parameters with one scale for a whole tensor."""
        return cls(np.array(scale, np.float32), np.array(zero_point, np.int64), dtype)

    @classmethod
    def per_channel(
        cls, scale: NDArray[np.float32], dtype: str, axis: int
    ) -> "QuantizationParameters":
        """Returns symmetric parameters with a scale for each channel; all zero points are 0."""
        return cls(scale, np.zeros(scale.shape, np.int64), dtype, axis)

    def as_dtype(self, dtype: str) -> "QuantizationParameters":
        """Returns parameters of the same values, with codes of another 8-bit type."""
        offset = int(np.iinfo(dtype).min - np.iinfo(self.dtype).min)
        return self._replace(zero_point=np.asarray(self.zero_point + offset), dtype=dtype)

    def scaled(self, factors: NDArray[np.float32], axis: int) -> "QuantizationParameters":
        """Returns parameters of the same codes, with values multiplied by (C,) along an axis."""
        scale = self.scale * factors
        return self._replace(
            scale=scale, zero_point=np.broadcast_to(self.zero_point, scale.shape), axis=axis
        )

    @property
    def codes(self) -> NDArray[np.int64]:
        """All codes of the type, from the smallest; for 8-bit types, 256."""
        limits = np.iinfo(self.dtype)
        return np.arange(limits.min, limits.max + 1)

    @property
    def levels(self) -> NDArray[np.float32]:
        """(256,) the value of each 8-bit code, for parameters with one scale."""
        return ((self.codes - self.zero_point) * self.scale).astype(np.float32)

    @property
    def clip_range(self) -> tuple[float, float]:
        """The smallest and the largest value of all channels; values beyond are clipped."""
        low, high = self._ends()
        return float(low.min()), float(high.max())

    def count_clipped(self, values: NDArray[np.float32]) -> tuple[int, int]:
        """Counts the values more than half a step below the first code, and above the last."""
        half = self.scale / 2  # closer values are rounded, not clipped
        low, high = self._ends()
        below = values < self._along((low - half).astype(np.float32), values.ndim)
        above = values > self._along((high + half).astype(np.float32), values.ndim)
        return int(np.count_nonzero(below)), int(np.count_nonzero(above))

    def clip_below(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Clips values from below at the value of the smallest code."""
        return np.asarray(np.maximum(values, self._along(self._ends()[0], values.ndim)))

    def _ends(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """() or (C,) values of the smallest and the largest code."""
        first, last = ((code - self.zero_point) * self.scale for code in self.codes[[0, -1]])
        return np.asarray(first, np.float32), np.asarray(last, np.float32)

    def dequantize(self, codes: NDArray[Any]) -> NDArray[np.float32]:
        """Returns the values of codes, in the codes' shape."""
        if self.axis is None and self.dtype != "int32":
            return self.levels[codes.astype(np.intp) - np.iinfo(self.dtype).min]
        scale, zero_point = (self._along(x, codes.ndim) for x in (self.scale, self.zero_point))
        return np.asarray((codes - zero_point) * scale, np.float32)

    def quantize(self, values: NDArray[np.floating]) -> NDArray[Any]:
        """Returns the codes nearest to values, in the values' shape; inverts `dequantize`."""
        scale, zero_point = (self._along(x, values.ndim) for x in (self.scale, self.zero_point))
        codes = np.rint(values / scale.astype(np.float64)) + zero_point
        return np.asarray(np.clip(codes, self.codes[0], self.codes[-1]), self.dtype)

    def _along(self, array: NDArray[Any], ndim: int) -> NDArray[Any]:
        """Reshapes (C,) for broadcasting along the channel axis."""
        if self.axis is None:
            return array
        return array.reshape([-1 if axis == self.axis else 1 for axis in range(ndim)])


class Parameter(NamedTuple):
    """A layer's weight or bias.

    values: float32, (O, I, h, w) or (O, I) or (O,).
    quantization: parameters of the stored codes; None if the model stores floats. In units of the
        float model, the scale of an equalized layer is that of the input with the largest scale.
    """

    values: NDArray[np.float32]
    quantization: QuantizationParameters | None = None


def parameter_values(
    by_kind: Mapping[str, Parameter],
) -> tuple[NDArray[np.float32] | None, NDArray[np.float32] | None]:
    """Returns the values of a layer's weight and bias, None where it has none."""
    values = {kind: parameter.values for kind, parameter in by_kind.items()}
    return values.get("weight"), values.get("bias")
