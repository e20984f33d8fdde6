"""Ranges of activations: which values get an 8-bit code, and which are clipped.

Shape letters: B bins of a tensor, D bins of another tensor.
"""

import contextlib
import io
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime.quantization.calibrate import HistogramCollector

from resnet8.core.qparams import N_CODES, QuantizationParameters
from resnet8.core.sections import Fit
from resnet8.models.onnx_graph import Graph, infer_shapes
from resnet8.quantize.observers import (
    Batch,
    Histogram,
    Observed,
    Range,
    bin_centers,
    find_histograms,
)

Error = Callable[[QuantizationParameters], float]
# Candidate ends, as shares of the observed ends; of addends, often few negative values matter.
_SHARES = np.linspace(0.4, 1.0, 49).tolist()
_ADDEND_SHARES = np.linspace(0.04, 1.0, 25).tolist()


class Ranges(NamedTuple):
    """Chosen ranges of tensors with a scale of their own.

    ends: smallest and largest value with a code, by tensor.
    clipped: addends that are clipped below on purpose, because the ReLU behind the addition
        discards the clipped values.
    """

    ends: dict[str, Range]
    clipped: Sequence[str] = ()


def find_ranges(observed: Observed, settings: Fit) -> Ranges:
    """Chooses the ranges of a model's tensors."""
    statistics = {x: observed.statistics[x] for x in observed.points.values()}
    if settings.activation_range == "minmax":
        return Ranges({tensor: x.range for tensor, x in statistics.items()})
    if settings.activation_range != "mse":
        return Ranges(library_ranges(observed.watch(observed.model, statistics), settings))
    addends = find_addends(observed.model, observed.points)
    batches = observed.watch(observed.model, sorted({*statistics, *addends.values()}))
    others = {tensor: addends.get(tensor) for tensor in statistics}
    histograms = find_histograms(batches, observed.statistics, others)
    symmetric = settings.activation_symmetric
    ends = {name: least_squares(x, symmetric=symmetric) for name, x in histograms.items()}
    clipped = sorted(x for x in addends if ends[x][0] > statistics[x].range[0])
    return Ranges(ends, clipped)


def to_parameters(low: float, high: float, *, symmetric: bool) -> QuantizationParameters:
    """Returns the uint8 quantization parameters of a range, widened to give 0 a code.

    If symmetric, it is widened to reach equally far to both sides of 0, with zero point 128.
    """
    low, high = min(low, 0.0), max(high, 0.0)
    exact = max(-low, high) / (N_CODES // 2 - 1) if symmetric else (high - low) / (N_CODES - 1)
    # float32 is the type of models. A tensor of zeros gets scale 1.
    scale = float(np.float32(exact)) if exact >= np.finfo(np.float32).tiny else 1.0
    zero_point = N_CODES // 2 if symmetric else round(-low / scale)
    return QuantizationParameters.per_tensor(scale, zero_point)


def _fake_quantize(
    values: NDArray[np.float64], parameters: QuantizationParameters
) -> NDArray[np.float64]:
    """Rounds values to those with a uint8 code, in double precision."""
    scale, zero_point = float(parameters.scale), int(parameters.zero_point)
    codes = np.clip(np.rint(values / scale) + zero_point, 0, N_CODES - 1)
    return np.asarray((codes - zero_point) * scale)


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
    is_addend = histogram.other_ends is not None
    error = _error_behind_relu(histogram) if is_addend else _rounding_error(histogram)
    if symmetric or (0 in histogram.ends and not is_addend):  # an end of 0 stays 0
        shares = [(x, x) for x in (_ADDEND_SHARES if is_addend else _SHARES)]
    else:
        lows = _ADDEND_SHARES if is_addend else _SHARES[::2]
        shares = [*itertools.product(lows, _SHARES[::2])]
    low, high = histogram.ends
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
        difference = _fake_quantize(values, parameters) - values
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
        rounded = _fake_quantize(values, parameters)
        larger, smaller = np.maximum(values, rounded), np.minimum(values, rounded)
        rows = np.arange(len(values))
        # First bins of the other addend where the larger sum, and both sums, are positive.
        one, both = (np.searchsorted(others, -x, side="right") for x in (larger, smaller))
        # Between them, the ReLU makes the smaller sum 0: the error is (larger + other)**2.
        count, total, squares = (x[rows, one] - x[rows, both] for x in sums)
        errors = larger * larger * count + 2 * larger * total + squares
        # In further bins, it changes neither sum.
        errors += (rounded - values) ** 2 * sums[0][rows, both]
        return float(np.sum(errors))

    return error


def library_ranges(batches: Iterable[Batch], settings: Fit) -> dict[str, Range]:
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
