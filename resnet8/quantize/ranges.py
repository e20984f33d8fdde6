"""Ranges of activations: which numbers get a code of 8 bits, and which are clipped.

Shape letters: B bins.
"""

import contextlib
import io
from collections.abc import Iterator, Mapping

import numpy as np
from onnxruntime.quantization.calibrate import HistogramCollector

from resnet8.core.qparams import N_CODES, QuantizationParameters
from resnet8.quantize.observers import Batch, Seen, UniformHistogram

Ranges = dict[str, tuple[float, float]]
# Ends of a range that are tried, as shares of the ends that were seen.
_SHARES = np.linspace(0.4, 1.0, 49)


def to_parameters(low: float, high: float, *, symmetric: bool) -> QuantizationParameters:
    """The quantization parameters (uint8) of a range, widened so that 0 has a code.

    Args:
        low: the smallest number that should have a code.
        high: the largest.
        symmetric: the same reach to both sides of 0, which is int8 code 0.
    """
    low, high = min(low, 0.0), max(high, 0.0)
    if symmetric:
        scale = _scale(max(-low, high) / (N_CODES // 2 - 1))
        return QuantizationParameters.per_tensor(scale, N_CODES // 2)
    scale = _scale((high - low) / (N_CODES - 1))
    return QuantizationParameters.per_tensor(scale, round(-low / scale))


def _scale(step: float) -> float:
    """A step as float32, which the models compute with; 1 for a tensor that is always zero."""
    return float(np.float32(step)) if step >= np.finfo(np.float32).tiny else 1.0


def minmax(seen: Mapping[str, Seen]) -> Ranges:
    """The smallest and the largest value that was seen, as ONNX Runtime's MinMax calibrator."""
    return {name: (float(x.low.min()), float(x.high.max())) for name, x in seen.items()}


def least_squares(histograms: Mapping[str, UniformHistogram], *, symmetric: bool) -> Ranges:
    """The ranges whose rounding and clipping together err least, by their mean square.

    Source: R. Banner, Y. Nahshan, D. Soudry (2019), Post training 4-bit quantization of
    convolutional networks for rapid-deployment, https://arxiv.org/abs/1810.05723, section 2;
    found by trial here, on the histogram.
    """
    return {name: _least_squares(x, symmetric=symmetric) for name, x in histograms.items()}


def _least_squares(histogram: UniformHistogram, *, symmetric: bool) -> tuple[float, float]:
    low, high = histogram.low, histogram.high
    used = histogram.counts > 0
    values, weights = histogram.centres[used], histogram.counts[used].astype(np.float64)
    if symmetric or low == 0 or high == 0:
        tried = [(low * share, high * share) for share in _SHARES]
    else:
        shares = _SHARES[::2]
        tried = [(low * below, high * above) for below in shares for above in shares]

    def error(ends: tuple[float, float]) -> float:
        found = to_parameters(*ends, symmetric=symmetric)
        scale, zero_point = float(found.scale), int(found.zero_point)
        codes = np.clip(np.rint(values / scale) + zero_point, 0, N_CODES - 1)
        missed = (codes - zero_point) * scale - values
        return float(np.sum(weights * missed * missed))  # not `dot`, whose order is the CPU's

    best: tuple[float, float] = min(reversed(tried), key=error)
    return best  # the widest of equally good ones


def library_ranges(  # noqa: PLR0913
    batches: Iterator[Batch],
    *,
    method: str,
    symmetric: bool,
    percentile: float,
    bins: int,
    levels: int,
) -> Ranges:
    """Ranges by ONNX Runtime's own histogram calibrators, fed batch by batch.

    Its calibrator keeps all batches until the end; the collector behind it does not need to.

    Args:
        batches: what streams past.
        method: `percentile` or `entropy`.
        symmetric: whether values are counted by their size alone; `percentile` only.
        percentile: share of the values to keep, in percent.
        bins: of each tensor's first histogram; it grows with the range.
        levels: that `entropy` compares a clipped histogram with.

    Source: https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html
    """
    collector = HistogramCollector(method, symmetric, bins, levels, percentile, "same")
    with contextlib.redirect_stdout(io.StringIO()):  # it prints with every batch
        for batch in batches:
            collector.collect(batch)
        found = collector.compute_collection_result()
    return {name: (float(low), float(high)) for name, (low, high, *_) in found.items()}
