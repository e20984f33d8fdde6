"""Ranges of activations: which values get an 8-bit code, and which are clipped.

Shape letters: B bins.
"""

import contextlib
import io
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from onnxruntime.quantization.calibrate import HistogramCollector

from resnet8.core.qparams import N_CODES, QuantizationParameters
from resnet8.core.sections import Fit
from resnet8.quantize.observers import Batch, Histogram, Range, Statistics, bin_centers

Ranges = dict[str, Range]
_SHARES = np.linspace(0.4, 1.0, 49).tolist()  # candidate ends, as shares of the observed ends


def to_parameters(low: float, high: float, *, symmetric: bool) -> QuantizationParameters:
    """Returns the uint8 quantization parameters of a range, widened to give 0 a code.

    Args:
        low: smallest value with a code.
        high: largest value with a code.
        symmetric: widen the range to reach equally far to both sides of 0, with zero point 128.
    """
    low, high = min(low, 0.0), max(high, 0.0)
    if symmetric:
        scale = _to_float32(max(-low, high) / (N_CODES // 2 - 1))
        return QuantizationParameters.per_tensor(scale, N_CODES // 2)
    scale = _to_float32((high - low) / (N_CODES - 1))
    return QuantizationParameters.per_tensor(scale, round(-low / scale))


def _to_float32(scale: float) -> float:
    """Rounds a scale to float32, the type of models. A tensor of zeros gets scale 1."""
    return float(np.float32(scale)) if scale >= np.finfo(np.float32).tiny else 1.0


def fake_quantize(
    values: NDArray[np.float64], parameters: QuantizationParameters
) -> NDArray[np.float64]:
    """Rounds values to those with a uint8 code, in double precision."""
    scale, zero_point = float(parameters.scale), int(parameters.zero_point)
    codes = np.clip(np.rint(values / scale) + zero_point, 0, N_CODES - 1)
    return np.asarray((codes - zero_point) * scale)


def minmax(statistics: Mapping[str, Statistics]) -> Ranges:
    """Returns the smallest and largest value of each tensor, as ONNX Runtime's MinMax does."""
    return {name: (float(x.low.min()), float(x.high.max())) for name, x in statistics.items()}


def least_squares(histogram: Histogram, *, symmetric: bool) -> Range:
    """Returns the range with the least mean squared error of rounding and clipping together.

    Source: R. Banner, Y. Nahshan, D. Soudry (2019), Post training 4-bit quantization of
    convolutional networks for rapid-deployment, https://arxiv.org/abs/1810.05723, section 2;
    by grid search on the histogram instead of a closed form.
    """
    used = histogram.counts > 0
    values = bin_centers(histogram.ends, len(histogram.counts))[used]  # (B,)
    counts = histogram.counts[used].astype(np.float64)

    def error(parameters: QuantizationParameters) -> float:
        difference = fake_quantize(values, parameters) - values
        # Not `np.dot`, whose order of additions depends on the CPU.
        return float(np.sum(counts * difference * difference))

    if symmetric or 0 in histogram.ends:
        return search(histogram.ends, error, _SHARES, symmetric=symmetric)
    return search(histogram.ends, error, _SHARES[::2], _SHARES[::2], symmetric=symmetric)


def search(
    ends: Range,
    error: Callable[[QuantizationParameters], float],
    low_shares: Sequence[float],
    high_shares: Sequence[float] | None = None,
    *,
    symmetric: bool,
) -> Range:
    """Returns the range with the least error, and of equally good ranges the widest.

    Args:
        ends: observed range.
        error: error of quantization with given parameters.
        low_shares: candidates for the lower end, as shares of the observed one, ascending.
        high_shares: candidates for the upper end. None to scale both ends by `low_shares`.
        symmetric: see `to_parameters`.
    """
    low, high = ends
    if high_shares is None:
        candidates = [(low * share, high * share) for share in low_shares]
    else:
        candidates = [(low * below, high * above) for below in low_shares for above in high_shares]
    return min(
        reversed(candidates), key=lambda ends: error(to_parameters(*ends, symmetric=symmetric))
    )


def library_ranges(batches: Iterator[Batch], settings: Fit) -> Ranges:
    """Returns ranges by ONNX Runtime's histogram calibrators, fed batch by batch.

    The calibrators keep all batches until the end; the collector behind them does not have to.

    Args:
        batches: values of the tensors.
        settings: the method, `percentile` or `entropy`, and its options.

    Source: https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html
    """
    collector = HistogramCollector(
        settings.activation_range,
        settings.activation_symmetric,
        settings.histogram_bins,
        settings.entropy_levels,
        settings.percentile,
        "same",
    )
    with contextlib.redirect_stdout(io.StringIO()):  # the collector prints with every batch
        for batch in batches:
            collector.collect(batch)
        ranges = collector.compute_collection_result()
    return {name: (float(low), float(high)) for name, (low, high, *_) in ranges.items()}
