"""Turns what an inspection recorded into numbers, tables and histograms for JSON.

docs/statistics.md says what each figure means.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resnet8.core.digits import significant, upper_bound
from resnet8.core.qparams import Parameter
from resnet8.core.variants import Variant
from resnet8.inspection.capture import Watched
from resnet8.inspection.recording import LayerRecord, Records, layer_order, reference_variants
from resnet8.inspection.statistics import (
    Histogram,
    RunningCodes,
    RunningError,
    RunningValues,
    Summary,
    sqnr_db,
)

BINS = 96  # of the histograms that are shown
SHOWN_ERRORS = 0.9999  # share of a layer's errors that its histogram covers in detail
DIGITS = 6  # significant ones of parameters and histograms
STEPS = 10_000  # of a set's range: statistics are rounded to its decimal place
SHARE_DECIMALS = 5


def activations_json(records: Records) -> dict[str, Any]:
    """Statistics and histograms by layer and variant.

    The histograms of a layer share their bins over all variants: `low` and `high` are the
    ends, `counts` leave out values that are zero. Error histograms likewise; their outermost
    bins hold the few errors beyond them, too.
    """
    by_layer: dict[str, dict[str, LayerRecord]] = {layer: {} for layer in layer_order(records)}
    for variant, layers in records.items():
        for layer, record in layers.items():
            by_layer[layer][variant] = record
    shown: dict[str, Any] = {}
    for layer, found in by_layer.items():
        summaries = [record.values.summary() for record in found.values()]
        edges = _edges(min(x.min for x in summaries), max(x.max for x in summaries))
        errors = {
            variant: histogram
            for variant, record in found.items()
            for error in record.errors.values()
            if (histogram := error.histogram()) is not None
        }
        reach = max((histogram.reach(SHOWN_ERRORS) for histogram in errors.values()), default=0.0)
        shown[layer] = {}
        for variant, record in found.items():
            shown[layer][variant] = {
                "statistics": statistics_json(record),
                "histogram": _histogram_json(record.values.histogram(), edges),
            }
            if variant in errors and reach:
                shown[layer][variant]["error_histogram"] = _error_histogram_json(
                    errors[variant], reach
                )
    return shown


def statistics_json(record: LayerRecord) -> dict[str, Any]:
    """All figures, as numbers of a few digits."""
    summary = record.values.summary()
    found = _summary_json(summary) | {"captured_at": record.point.place}
    if record.codes:
        found |= _quantization_json(record.codes)
    if record.codes and record.errors:
        for side, clipped in (("low", record.clipped_low), ("high", record.clipped_high)):
            found[f"clipped_{side}_share"] = round(clipped / summary.n_values, SHARE_DECIMALS)
        clipped = record.clipped_low + record.clipped_high
        found["clipped_share"] = round(clipped / summary.n_values, SHARE_DECIMALS)
    if record.errors and record.point.clips_on_purpose:
        found["clips_on_purpose"] = "below the range" if record.codes else "below zero"
    for name, error in list(record.errors.items())[:1]:
        found |= {"reference": name}
        if record.is_measured:
            found |= _error_json(error)
        else:  # noise of float32
            largest = max(abs(summary.min), abs(summary.max))
            found["max_abs_error"] = upper_bound(error.largest, largest=largest)
    return found


def parameters_json(
    watched: Mapping[str, Watched], *, reference: str | None = None
) -> dict[str, Any]:
    """Ranges, quantization and error of weights and biases by layer, kind and variant.

    Args:
        watched: by variant.
        reference: see `reference_variants`.
    """
    shown: dict[str, Any] = {}
    for variant, model in watched.items():
        for layer, kinds in model.parameters.items():
            for kind, parameter in kinds.items():
                originals = [
                    watched[name].parameters[layer][kind]
                    for name in reference_variants(variant, reference)
                    if name in watched and kind in watched[name].parameters.get(layer, {})
                ]
                found = shown.setdefault(layer, {}).setdefault(kind, {})
                found[variant] = _parameter_json(
                    parameter, [*originals, parameter][0], is_variant=variant in set(Variant)
                )
    return shown


def _parameter_json(
    parameter: Parameter, original: Parameter, *, is_variant: bool
) -> dict[str, Any]:
    values = parameter.values
    channels = values.reshape(len(values), -1)
    running = RunningValues()
    running.update(values)
    spanned = [x.values for x in ([original] if is_variant else [original, parameter])]
    edges = _edges(min(float(x.min()) for x in spanned), max(float(x.max()) for x in spanned))
    found: dict[str, Any] = {
        "statistics": _summary_json(running.summary()) | {"shape": list(values.shape)},
        "histogram": _histogram_json(running.histogram(), edges),
        "channel_min": _rounded_list(channels.min(axis=1)),
        "channel_max": _rounded_list(channels.max(axis=1)),
    }
    quantization = parameter.quantization
    if quantization is not None:
        found["statistics"]["dtype"] = quantization.dtype
        found["scale"] = _rounded_list(np.atleast_1d(quantization.scale))
        found["zero_point"] = np.atleast_1d(quantization.zero_point).tolist()
    if (quantization is not None or not is_variant) and original is not parameter:
        error = RunningError()
        error.update(values, original.values)
        found["statistics"] |= _error_json(error)
        difference = (values - original.values).reshape(channels.shape).astype(np.float64)
        signal = original.values.reshape(channels.shape).astype(np.float64)
        powers = zip((signal**2).sum(axis=1), (difference**2).sum(axis=1), strict=True)
        found["channel_sqnr_db"] = [rounded(sqnr_db(*power)) for power in powers]
        found["channel_max_abs_error"] = _rounded_list(np.abs(difference).max(axis=1))
    return found


def rounded(number: float | None) -> float | None:
    """A number with as many digits as are reported."""
    return significant(number, DIGITS)


def _rounded_list(numbers: NDArray[Any]) -> list[float | None]:
    return [rounded(number) for number in numbers.tolist()]


def _summary_json(summary: Summary) -> dict[str, Any]:
    span = summary.dynamic_range or abs(summary.max) or 1.0
    decimals = math.ceil(math.log10(STEPS / span))

    def in_steps(value: float) -> float:
        return round(value, decimals) + 0.0  # no -0.0

    found: dict[str, Any] = {
        name: in_steps(getattr(summary, name))
        for name in ("mean", "std", "min", "max", "dynamic_range")
    }
    found["n_values"] = summary.n_values
    found["zeros_share"] = round(summary.zeros_share, SHARE_DECIMALS)
    found["percentiles"] = {f"{q:g}": in_steps(x) for q, x in summary.percentiles.items()}
    return found


def _quantization_json(values: RunningCodes) -> dict[str, Any]:
    quantization = values.quantization
    low, high = quantization.clip_range
    return {
        "dtype": quantization.dtype,
        "scale": rounded(float(quantization.scale.max())),
        "zero_point": int(quantization.zero_point.max()),
        "clip_low": rounded(low),
        "clip_high": rounded(high),
        "levels_used": values.levels_used,
        "levels_used_share": values.levels_used / 256,
    }


def _error_json(error: RunningError) -> dict[str, Any]:
    return {
        "sqnr_db": None if error.sqnr_db is None else round(error.sqnr_db, 2),
        "cosine_similarity": (
            None if error.cosine_similarity is None else round(error.cosine_similarity, 5)
        ),
        "max_abs_error": significant(error.largest, 4),
    }


def _edges(low: float, high: float) -> NDArray[np.float64]:
    """The ends of the bins between two values, with room for what is spread around them."""
    room = 0.01 * ((high - low) or 1.0)
    return np.linspace(low - room, high + room, BINS + 1)


def _error_histogram_json(histogram: Histogram, reach: float) -> dict[str, Any]:
    """A histogram to `reach` on both sides; its outermost bins hold all beyond, too."""
    shown = _histogram_json(histogram, np.linspace(-reach, reach, BINS + 1))
    ends = np.array([-np.inf, -reach, reach, np.inf])
    below, _, above = histogram.rebinned(ends)
    shown["counts"][0] = rounded(shown["counts"][0] + below)
    shown["counts"][-1] = rounded(shown["counts"][-1] + above)
    return shown


def _histogram_json(histogram: Histogram, edges: NDArray[np.float64]) -> dict[str, Any]:
    counts = histogram.rebinned(edges)
    return {
        "low": rounded(edges[0]),
        "high": rounded(edges[-1]),
        "counts": _rounded_list(counts.round(1)),
    }


def statistics_only(layers: Mapping[str, Any]) -> dict[str, Any]:
    """What a person compares from revision to revision: no histograms, no single channels."""
    found: dict[str, Any] = {"activations": {}, "parameters": {}}
    for layer, by_variant in layers["activations"]["calibration"].items():
        for variant, row in by_variant.items():
            found["activations"].setdefault(variant, {})[layer] = row["statistics"]
    for layer, kinds in layers["parameters"].items():
        for kind, by_variant in kinds.items():
            for variant, row in by_variant.items():
                name = f"{layer}.{kind}"
                found["parameters"].setdefault(variant, {})[name] = row["statistics"]
    return found | {"n_images": layers["n_images"]["calibration"]}
