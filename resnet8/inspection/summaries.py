"""Converts recorded statistics to JSON; docs/statistics.md defines the figures."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resnet8.core.digits import significant, upper_bound
from resnet8.core.files import Json
from resnet8.core.qparams import Parameter
from resnet8.core.variants import Variant
from resnet8.inspection.capture import Watched
from resnet8.inspection.recording import LayerRecord, Records, reference_variants
from resnet8.inspection.statistics import Histogram, RunningError, RunningValues, Summary, sqnr_db

BINS = 96  # of histograms
SHOWN_ERRORS = 0.9999  # share of a layer's errors within the histogram's range
DIGITS = 6  # significant digits of parameters and histograms
STEPS = 10_000  # statistics are rounded to the decimal place of range / STEPS
SHARE_DECIMALS = 5


def layers_json(
    watched: Mapping[str, Watched],
    records: Mapping[str, Records],
    over: str,
    n_images: Mapping[str, int],
    *,
    reference: str | None = None,
) -> dict[str, Any]:
    """Returns the content of artifacts/inspection/layers.json.

    Args:
        watched: by variant.
        records: by set of images; the first one orders the layers.
        over: description of the chosen images.
        n_images: by set of images.
        reference: see `reference_variants`.
    """
    return {
        "input": over,
        "n_images": dict(n_images),
        "layers": _layer_order(next(iter(records.values()))),
        "absent": {name: model.absent for name, model in watched.items()},
        "activations": {name: activations_json(x) for name, x in records.items()},
        "parameters": parameters_json(watched, reference=reference),
    }


def statistics_only(layers: Json) -> dict[str, Any]:
    """Returns statistics without histograms and channels, to compare between revisions."""
    rows = {"activations": layers["activations"]["calibration"], "parameters": {}}
    for layer, kinds in layers["parameters"].items():
        rows["parameters"] |= {f"{layer}.{kind}": variants for kind, variants in kinds.items()}
    kept: dict[str, Any] = {part: {} for part in rows}
    for part, by_name in rows.items():
        for name, variants in by_name.items():
            for variant, row in variants.items():
                kept[part].setdefault(variant, {})[name] = row["statistics"]
    return kept | {"n_images": layers["n_images"]["calibration"]}


def _layer_order(records: Records) -> list[str]:
    """Returns all layers in the order of computation, from the variant with most layers."""
    longest_first = sorted(records.values(), key=len, reverse=True)
    return list(dict.fromkeys(layer for layers in longest_first for layer in layers))


def activations_json(records: Records) -> dict[str, Any]:
    """Returns statistics and histograms by layer and variant."""
    return {
        layer: _layer_json({name: x[layer] for name, x in records.items() if layer in x})
        for layer in _layer_order(records)
    }


def _layer_json(variants: Mapping[str, LayerRecord]) -> dict[str, Any]:
    """Returns statistics and histograms of a layer by variant.

    Histograms have equal bins for all variants, from `low` to `high`; `counts` exclude zeros. The
    first and last bins of error histograms include the few errors beyond them.
    """
    summaries = [record.values.summary() for record in variants.values()]
    edges = _edges(min(x.min for x in summaries), max(x.max for x in summaries))
    rows = {
        variant: {
            "statistics": _statistics_json(record, summary),
            "histogram": _histogram_json(record.values.histogram(), edges),
        }
        for (variant, record), summary in zip(variants.items(), summaries, strict=True)
    }
    errors = {
        variant: error.difference.histogram()
        for variant, record in variants.items()
        for error in record.errors.values()
        if record.is_measured
    }
    reach = max((histogram.reach(SHOWN_ERRORS) for histogram in errors.values()), default=0.0)
    edges = np.linspace(-reach, reach, BINS + 1)
    if reach:
        for variant, histogram in errors.items():
            rows[variant]["error_histogram"] = _histogram_json(histogram, edges, with_rest=True)
    return rows


def _statistics_json(record: LayerRecord, summary: Summary) -> dict[str, Any]:
    row = _summary_json(summary) | {"captured_at": record.point.place}
    if codes := record.codes:
        low, high = codes.quantization.clip_range
        row |= {
            "dtype": codes.quantization.dtype,
            "scale": significant(float(codes.quantization.scale.max()), DIGITS),
            "zero_point": int(codes.quantization.zero_point.max()),
            "clip_low": significant(low, DIGITS),
            "clip_high": significant(high, DIGITS),
            "levels_used": codes.levels_used,
            "levels_used_share": codes.levels_used / 256,
        }
    if not record.errors:
        return row
    if record.codes:
        low, high = record.clipped.tolist()
        for key, clipped in (("clipped_low", low), ("clipped_high", high), ("clipped", low + high)):
            row[f"{key}_share"] = round(clipped / summary.n_values, SHARE_DECIMALS)
    if record.point.clips_on_purpose:
        row["clips_on_purpose"] = "below the range" if record.codes else "below zero"
    reference, error = next(iter(record.errors.items()))
    row["reference"] = reference
    if record.is_measured:
        return row | _error_json(error)
    largest = max(abs(summary.min), abs(summary.max))  # the error is float32 noise
    return row | {"max_abs_error": upper_bound(error.largest, largest=largest)}


def parameters_json(
    watched: Mapping[str, Watched], *, reference: str | None = None
) -> dict[str, Any]:
    """Returns ranges, quantization and errors of parameters by layer, kind and variant."""
    described: dict[str, Any] = {}
    for variant, model in watched.items():
        names = [x for x in reference_variants(variant, reference) if x in watched]
        for layer, kinds in model.parameters.items():
            references = [watched[name].parameters.get(layer, {}) for name in names]
            for kind, parameter in kinds.items():
                original = next((x[kind] for x in references if kind in x), parameter)
                row = _parameter_json(parameter, original, is_variant=variant in set(Variant))
                described.setdefault(layer, {}).setdefault(kind, {})[variant] = row
    return described


def _parameter_json(
    parameter: Parameter, original: Parameter, *, is_variant: bool
) -> dict[str, Any]:
    values, quantization = parameter
    channels = values.reshape(len(values), -1)
    running = RunningValues()
    running.update(values)
    spanned = [original.values] if is_variant else [original.values, values]
    edges = _edges(min(float(x.min()) for x in spanned), max(float(x.max()) for x in spanned))
    histogram = Histogram(*np.histogram(values[values != 0], edges))
    row: dict[str, Any] = {
        "statistics": _summary_json(running.summary()) | {"shape": list(values.shape)},
        "histogram": _histogram_json(histogram, edges),
        "channel_min": _rounded_list(channels.min(axis=1)),
        "channel_max": _rounded_list(channels.max(axis=1)),
    }
    if quantization is not None:
        row["statistics"]["dtype"] = quantization.dtype
        row["scale"] = _rounded_list(np.atleast_1d(quantization.scale))
        row["zero_point"] = np.atleast_1d(quantization.zero_point).tolist()
    if original is not parameter and (quantization is not None or not is_variant):
        error = RunningError()
        error.update(values, original.values)
        row["statistics"] |= _error_json(error)
        difference = (values - original.values).reshape(channels.shape).astype(np.float64)
        signal = original.values.reshape(channels.shape).astype(np.float64)
        powers = zip((signal**2).sum(axis=1), (difference**2).sum(axis=1), strict=True)
        row["channel_sqnr_db"] = [significant(sqnr_db(*power), DIGITS) for power in powers]
        row["channel_max_abs_error"] = _rounded_list(np.abs(difference).max(axis=1))
    return row


def _rounded_list(numbers: NDArray[Any]) -> list[Any]:
    return [significant(number, DIGITS) for number in numbers.tolist()]


def _summary_json(summary: Summary) -> dict[str, Any]:
    span = summary.max - summary.min
    size = span or abs(summary.max) or 1.0  # of equal values, their size
    decimals = math.ceil(math.log10(STEPS / size))

    def in_steps(value: float) -> float:
        return round(value, decimals) + 0.0  # no -0.0

    return {
        **{name: in_steps(getattr(summary, name)) for name in ("mean", "std", "min", "max")},
        "dynamic_range": in_steps(span),
        "n_values": summary.n_values,
        "zeros_share": round(summary.zeros_share, SHARE_DECIMALS),
        "percentiles": {f"{q:g}": in_steps(x) for q, x in summary.percentiles.items()},
    }


def _error_json(error: RunningError) -> dict[str, Any]:
    sqnr, cosine = error.sqnr_db, error.cosine_similarity
    return {
        "sqnr_db": None if sqnr is None else round(sqnr, 2),
        "cosine_similarity": None if cosine is None else round(cosine, 5),
        "max_abs_error": significant(error.largest, 4),
    }


def _edges(low: float, high: float) -> NDArray[np.float64]:
    """Returns bin edges from a minimum to a maximum, with a margin."""
    margin = 0.01 * ((high - low) or 1.0)
    return np.linspace(low - margin, high + margin, BINS + 1)


def _histogram_json(
    histogram: Histogram, edges: NDArray[np.float64], *, with_rest: bool = False
) -> dict[str, Any]:
    """Returns counts between edges; the outer bins may include the rest of the values."""
    counts = _rounded_list(histogram.rebinned(edges).round(1))
    if with_rest:
        below, _, above = histogram.rebinned(np.array([-np.inf, *edges[[0, -1]], np.inf]))
        counts[0] = significant(counts[0] + below, DIGITS)
        counts[-1] = significant(counts[-1] + above, DIGITS)
    low, high = _rounded_list(edges[[0, -1]])
    return {"low": low, "high": high, "counts": counts}
