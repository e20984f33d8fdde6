"""Rounding of weights to 8 bits.

Shape letters: O outputs of a layer, I numbers that each output is computed from.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from resnet8.core.qparams import N_CODES, QuantizationParameters

Matrix = NDArray[np.float64]
_LARGEST = 127  # int8 code; -128 is left out where weights are symmetric
# Weights are rounded in whole parts of a step: LAPACK's last bits, which differ from CPU to CPU,
# must not decide about one half-way between two codes.
_PARTS = 2**20


def find_scales(
    weight: Matrix,
    *,
    symmetric: bool,
    per_channel: bool,
    smallest: NDArray[np.float64] | float = 0.0,
) -> QuantizationParameters:
    """Finds the int8 quantization parameters that give every weight a code.

    Args:
        weight: (O, I).
        symmetric: zero point 0.
        per_channel: a scale for each output; needs `symmetric`, because a kernel takes one
            zero point.
        smallest: (O,) the least scale that each output may have.
    """
    low, high = np.minimum(weight.min(axis=1), 0), np.maximum(weight.max(axis=1), 0)
    if not per_channel:
        low, high, smallest = low.min(), high.max(), np.max(smallest)
    span = np.maximum(-low, high) / _LARGEST if symmetric else (high - low) / (N_CODES - 1)
    scale = _nonzero(np.maximum(span, smallest))
    if per_channel:
        return QuantizationParameters.per_channel(scale, "int8", axis=0)
    zero_point = 0 if symmetric else round(float(-N_CODES // 2 - low / scale))
    return QuantizationParameters.per_tensor(float(scale), zero_point, "int8")


def _nonzero(scale: Any) -> NDArray[np.float32]:
    return np.where(scale > 0, scale, 1.0).astype(np.float32)


def nearest(
    weight: Matrix, parameters: QuantizationParameters, *, symmetric: bool = True
) -> NDArray[np.int8]:
    """(O, I) codes nearest to the weights; see `gptq`."""
    steps = weight / _by_output(parameters.scale, weight)
    zero_point = _by_output(parameters.zero_point, weight)
    return _codes(steps, zero_point, symmetric=symmetric).astype(np.int8)


def gptq(
    weight: Matrix,
    parameters: QuantizationParameters,
    *,
    symmetric: bool = True,
    moments: Matrix,
    damping: float,
) -> NDArray[np.int8]:
    """(O, I) codes with which the layer's outputs err little on the images that were seen.

    Column by column, the error of rounding is made up for by the weights that are still to be
    rounded; inputs that are large come first.

    Args:
        weight: (O, I).
        parameters: int8.
        symmetric: whether code -128 stays unused.
        moments: (I, I) mean product of each two inputs.
        damping: added to the moments' diagonal, as a share of its mean, above 0.

    Source: E. Frantar, S. Ashkboos, T. Hoefler, D. Alistarh (2023), GPTQ: Accurate
    Post-Training Quantization for Generative Pre-trained Transformers,
    https://arxiv.org/abs/2210.17323, section 3, with its option to order by activations.
    """
    diagonal = np.diag(moments)
    order = np.argsort(-diagonal, kind="stable")
    upper = _root_of_inverse(moments[np.ix_(order, order)], damping)
    left = weight[:, order] / _by_output(parameters.scale, weight)  # in steps
    zero_point = _by_output(parameters.zero_point, weight)[:, 0]
    codes = np.empty(weight.shape, np.int8)
    for column, position in enumerate(order):
        codes[:, position] = rounded = _codes(left[:, column], zero_point, symmetric=symmetric)
        error = (left[:, column] - (rounded - zero_point)) / upper[column, column]
        left[:, column:] -= np.outer(error, upper[column, column:])
    return codes


def _by_output(numbers: NDArray[Any], weight: Matrix) -> Matrix:
    """(O, 1) one number for each output, where there may be one for all."""
    return np.broadcast_to(numbers, len(weight)).astype(np.float64)[:, np.newaxis]


def _root_of_inverse(moments: Matrix, damping: float) -> Matrix:
    """(I, I) upper triangular U, of U.T @ U = the inverse of the damped moments.

    Moments of few or equal images have no inverse, up to rounding: they are damped until they do.
    """
    mean = float(np.diag(moments).mean())
    share = damping * mean if mean > 0 else 1.0
    for _ in range(100):
        try:
            inverse = np.linalg.inv(moments + np.eye(len(moments)) * share)
            root = np.linalg.cholesky((inverse + inverse.T) / 2).T
        except np.linalg.LinAlgError:
            share *= 10
        else:
            return np.asarray(root, np.float64)
    raise ValueError("the moments must be finite.")


def _codes(steps: Matrix, zero_point: Matrix, *, symmetric: bool) -> Matrix:
    lowest = -_LARGEST if symmetric else -_LARGEST - 1
    steps = np.rint(steps * _PARTS) / _PARTS
    codes: Matrix = np.clip(np.rint(steps) + zero_point, lowest, _LARGEST)
    return codes
