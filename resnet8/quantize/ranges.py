"""Ranges of activations: which values get an 8-bit code, and which are clipped.

Shape letters: B bins of a tensor, D bins of another tensor.
"""

import contextlib
import io
import itertools
from collections.abc import Callable, Iterator, Mapping

import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime.quantization.calibrate import HistogramCollector

from resnet8.core.qparams import N_CODES, QuantizationParameters
from resnet8.core.sections import Fit
from resnet8.models.onnx_graph import Graph, infer_shapes
from resnet8.quantize.observers import Batch, Histogram, Range, Statistics, bin_centers

Ranges = dict[str, Range]
Error = Callable[[QuantizationParameters], float]
# Candidate ends, as shares of the observed ends; of addends, often few negative values matter.
_SHARES = np.linspace(0.4, 1.0, 49).tolist()
_LOW_SHARES, _HIGH_SHARES = np.linspace(0.04, 1.0, 25).tolist(), np.linspace(0.4, 1.0, 25).tolist()


def to_parameters(low: float, high: float, *, symmetric: bool) -> QuantizationParameters:
    """Returns the uint8 quantization parameters of a range, widened to give 0 a code.

    If symmetric, it is widened to reach equally far to both sides of 0, with zero point 128.
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


def find_addends(model: onnx.ModelProto, points: Mapping[str, str]) -> dict[str, str]:
    """Maps the addends of additions that only a ReLU reads to the other addend, of the same shape.

    Left out are addends that share a scale or have another reader. `points` maps each tensor in
    8 bits to the tensor whose scale it takes.
    """
    graph, shapes = Graph(model), infer_shapes(model)
    outputs = {value.name for value in model.graph.output}

    def only_reader(tensor: str) -> onnx.NodeProto | None:
        readers = graph.consumers.get(tensor, [])
        return readers[0] if len(readers) == 1 and tensor not in outputs else None

    addends: dict[str, str] = {}
    for node in graph.nodes:
        reader = only_reader(node.output[0])
        if node.op_type != "Add" or reader is None or reader.op_type != "Relu":
            continue
        one, other = node.input
        if {one, other} <= points.keys() and shapes.get(one) == shapes.get(other):
            pairs = ((one, other), (other, one))
            addends |= {x: y for x, y in pairs if only_reader(x) and points[x] == x}
    return addends


def least_squares(histogram: Histogram, *, symmetric: bool) -> Range:
    """Returns the range with the least squared error, and of equally good ranges the widest.

    The error is that of rounding and clipping together; for an addend with a joint histogram, it
    is the error behind the ReLU. `symmetric` is that of `to_parameters`.

    Source: R. Banner, Y. Nahshan, D. Soudry (2019), Post training 4-bit quantization of
    convolutional networks for rapid-deployment, https://arxiv.org/abs/1810.05723, section 2;
    by grid search on the histogram instead of a closed form.
    """
    low, high = histogram.ends
    if histogram.other_ends is not None:
        error, lows, highs = _error_behind_relu(histogram), _LOW_SHARES, _HIGH_SHARES
    else:
        error, lows, highs = _rounding_error(histogram), _SHARES[::2], _SHARES[::2]
        if symmetric or 0 in histogram.ends:
            lows = _SHARES
    is_tied = symmetric or lows is _SHARES  # both ends get the same share
    shares = zip(lows, lows, strict=True) if is_tied else itertools.product(lows, highs)
    candidates: list[Range] = [(low * below, high * above) for below, above in shares]
    return min(
        reversed(candidates), key=lambda ends: error(to_parameters(*ends, symmetric=symmetric))
    )


def _rounding_error(histogram: Histogram) -> Error:
    """Returns the sum of squared errors when a tensor is quantized."""
    all_counts = histogram.counts[:, 0].astype(np.float64)
    used = all_counts > 0
    values, counts = bin_centers(histogram.ends, len(all_counts))[used], all_counts[used]  # (B,)

    def error(parameters: QuantizationParameters) -> float:
        difference = fake_quantize(values, parameters) - values
        # Not `np.dot`, whose order of additions depends on the CPU.
        return float(np.sum(counts * difference * difference))

    return error


def _error_behind_relu(histogram: Histogram) -> Error:
    """Returns the sum of squared errors behind the ReLU when an addend is quantized.

    The ReLU discards sums below zero, so values that occur only in such sums need no codes. The
    other addend is unchanged: compensating for its error as well makes both ranges worse.
    """
    used = np.flatnonzero(histogram.counts.any(axis=1))
    counts = histogram.counts[used]
    values = bin_centers(histogram.ends, len(histogram.counts))[used]  # (B,)
    others = bin_centers(histogram.other_ends or (0, 0), counts.shape[1])  # (D,)
    # (B, D + 1) sums over the other addend's bins from each bin on: of its values to the powers
    # 0, 1 and 2.
    sums = [
        np.pad(np.cumsum((counts * power)[:, ::-1], axis=1)[:, ::-1], ((0, 0), (0, 1)))
        for power in (np.ones_like(others), others, others**2)
    ]

    def error(parameters: QuantizationParameters) -> float:
        rounded = fake_quantize(values, parameters)
        larger, smaller = np.maximum(values, rounded), np.minimum(values, rounded)
        rows = np.arange(len(values))
        # First bins of the other addend where the larger sum, and both sums, are positive.
        one, both = (np.searchsorted(others, -x, side="right") for x in (larger, smaller))
        count, total, squares = (x[rows, one] - x[rows, both] for x in sums)
        errors = larger * larger * count + 2 * larger * total + squares
        errors += (rounded - values) ** 2 * sums[0][rows, both]
        return float(np.sum(errors))

    return error


def library_ranges(batches: Iterator[Batch], settings: Fit) -> Ranges:
    """Returns ranges by ONNX Runtime's histogram calibrators, fed batch by batch.

    The calibrators keep all batches until the end; the collector behind them does not have to.

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
