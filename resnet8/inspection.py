"""Looks at every layer of every variant while images stream through them."""

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resnet8.capture import Parameter, Point, Watched, dequantized
from resnet8.params import FLOAT_VARIANTS
from resnet8.statistics import (
    Histogram,
    RunningCodes,
    RunningError,
    RunningValues,
    Summary,
    sqnr_db,
)

BINS = 96  # of the histograms that are shown
SAVED_IMAGES = 8  # of the chosen ones, whose captures are kept
DIGITS = 6  # significant ones of each reported number

Records = dict[str, dict[str, "LayerRecord"]]  # by variant and layer


class LayerRecord:
    """What one layer of one variant did so far."""

    def __init__(self, point: Point, *, is_quantized: bool) -> None:
        self.point = point
        self.is_quantized = is_quantized  # the variant, if not this layer of it
        self.values: RunningValues | RunningCodes = (
            RunningCodes(point.quantization) if point.quantization else RunningValues()
        )
        self.errors: dict[str, RunningError] = {}  # by reference variant
        self.clipped_low = self.clipped_high = 0  # values of the first reference

    def update(self, output: NDArray[Any], references: Mapping[str, NDArray[np.float32]]) -> None:
        """Takes in a batch of outputs, and those of the same layer in other variants."""
        self.values.update(output)
        numbers = dequantized(self.point, output)
        for name, reference in references.items():
            if name not in self.errors:
                self.errors[name] = RunningError(with_histogram=self.is_quantized)
            self.errors[name].update(numbers, reference)
        if self.point.quantization and references:
            reference = next(iter(references.values()))
            low, high = self.point.quantization.clip_range
            half = float(self.point.quantization.scale) / 2  # nearer is rounded, not clipped
            self.clipped_low += int(np.count_nonzero(reference < low - half))
            self.clipped_high += int(np.count_nonzero(reference > high + half))

    def as_json(self) -> dict[str, Any]:
        """All figures, as numbers of a few digits; see docs/statistics.md."""
        summary = self.values.summary()
        found = _summary_json(summary) | {"captured_at": self.point.place}
        if isinstance(self.values, RunningCodes):
            found |= _quantization_json(self.values)
        if isinstance(self.values, RunningCodes) and self.errors:
            for side, clipped in (("low", self.clipped_low), ("high", self.clipped_high)):
                found[f"clipped_{side}_share"] = rounded(clipped / summary.n_values)
            found["clipped_share"] = rounded(
                (self.clipped_low + self.clipped_high) / summary.n_values
            )
        for name, error in list(self.errors.items())[:1]:
            found |= {"reference": name} | _error_json(error)
        return found


def reference_variants(variant: str) -> tuple[str, ...]:
    """What a variant is compared with: conversions with their originals, quantized with float."""
    conversions = {
        "keras_fp32": (),
        "onnx_fp32": ("keras_fp32",),
        "torch_fp32": ("keras_fp32", "onnx_fp32"),
    }
    return conversions.get(variant, (f"{variant.partition('_')[0]}_fp32",))


def inspect(watched: Mapping[str, Watched], batches: Iterable[NDArray[np.uint8]]) -> Records:
    """Runs all variants over images, batch by batch, and keeps statistics only.

    Args:
        watched: by variant.
        batches: of (N, 32, 32, 3) uint8.

    Returns:
        A record for each variant and each of its layers.
    """
    records = {
        variant: {
            layer: LayerRecord(point, is_quantized=variant not in FLOAT_VARIANTS)
            for layer, point in model.points.items()
        }
        for variant, model in watched.items()
    }
    with ThreadPoolExecutor() as pool:
        for batch in batches:
            images = batch.astype(np.float32)
            outputs = {variant: model.run(images).outputs for variant, model in watched.items()}

            def update(place: tuple[str, str], outputs: Any = outputs) -> None:
                variant, layer = place
                references = {
                    name: outputs[name][layer]
                    for name in reference_variants(variant)
                    if layer in outputs.get(name, {})
                }
                records[variant][layer].update(outputs[variant][layer], references)

            places = [(variant, layer) for variant, found in outputs.items() for layer in found]
            list(pool.map(update, places))
    return records


def layer_order(by_variant: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """All layers in the order of computation, which the variant with the most of them gives."""
    longest_first = sorted(by_variant.values(), key=len, reverse=True)
    return list(dict.fromkeys(layer for layers in longest_first for layer in layers))


def activations_json(records: Records) -> dict[str, Any]:
    """Statistics and histograms by layer and variant.

    The histograms of a layer share their bins over all variants: `low` and `high` are the
    ends, `counts` leave out values that are zero. Error histograms likewise.
    """
    by_layer: dict[str, dict[str, LayerRecord]] = {layer: {} for layer in layer_order(records)}
    for variant, layers in records.items():
        for layer, record in layers.items():
            by_layer[layer][variant] = record
    shown: dict[str, Any] = {}
    for layer, found in by_layer.items():
        summaries = [record.values.summary() for record in found.values()]
        edges = _edges(min(x.min for x in summaries), max(x.max for x in summaries))
        quantized = [record for record in found.values() if record.is_quantized]
        largest = (error.largest for record in quantized for error in record.errors.values())
        reach = max(largest, default=0.0)
        shown[layer] = {}
        for variant, record in found.items():
            shown[layer][variant] = {
                "statistics": record.as_json(),
                "histogram": _histogram_json(record.values.histogram(), edges),
            }
            errors = [x for error in record.errors.values() if (x := error.histogram())]
            if errors and reach:
                shown[layer][variant]["error_histogram"] = _histogram_json(
                    errors[0], np.linspace(-reach, reach, BINS + 1)
                )
    return shown


def parameters_json(watched: Mapping[str, Watched]) -> dict[str, Any]:
    """Ranges, quantization and error of weights and biases by layer, kind and variant."""
    shown: dict[str, Any] = {}
    for variant, model in watched.items():
        for layer, kinds in model.parameters.items():
            for kind, parameter in kinds.items():
                originals = [
                    watched[name].parameters[layer][kind]
                    for name in reference_variants(variant)
                    if name in watched and layer in watched[name].parameters
                ]
                found = shown.setdefault(layer, {}).setdefault(kind, {})
                found[variant] = _parameter_json(parameter, [*originals, parameter][0])
    return shown


def _parameter_json(parameter: Parameter, original: Parameter) -> dict[str, Any]:
    values = parameter.values
    channels = values.reshape(len(values), -1)
    running = RunningValues()
    running.update(values)
    edges = _edges(float(original.values.min()), float(original.values.max()))
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
    if quantization is not None and original is not parameter:
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
    return None if number is None else float(f"{number:.{DIGITS}g}")


def _rounded_list(numbers: NDArray[Any]) -> list[float | None]:
    return [rounded(number) for number in numbers.tolist()]


def _summary_json(summary: Summary) -> dict[str, Any]:
    found: dict[str, Any] = {
        name: rounded(value)
        for name, value in summary._asdict().items()
        if name not in ("n_values", "percentiles")
    }
    found["n_values"] = summary.n_values
    found["percentiles"] = {f"{q:g}": rounded(x) for q, x in summary.percentiles.items()}
    return found


def _quantization_json(values: RunningCodes) -> dict[str, Any]:
    quantization = values.quantization
    low, high = quantization.clip_range
    return {
        "dtype": quantization.dtype,
        "scale": rounded(float(quantization.scale)),
        "zero_point": int(quantization.zero_point),
        "clip_low": rounded(low),
        "clip_high": rounded(high),
        "levels_used": values.levels_used,
        "levels_used_share": values.levels_used / 256,
    }


def _error_json(error: RunningError) -> dict[str, Any]:
    return {
        "sqnr_db": rounded(error.sqnr_db),
        "cosine_similarity": rounded(error.cosine_similarity),
        "max_abs_error": rounded(error.largest),
    }


def _edges(low: float, high: float) -> NDArray[np.float64]:
    """The ends of the bins between two values, with room for what is spread around them."""
    room = 0.01 * ((high - low) or 1.0)
    return np.linspace(low - room, high + room, BINS + 1)


def _histogram_json(histogram: Histogram, edges: NDArray[np.float64]) -> dict[str, Any]:
    counts = histogram.rebinned(edges)
    return {
        "low": rounded(edges[0]),
        "high": rounded(edges[-1]),
        "counts": _rounded_list(counts.round(1)),
    }


def conversion_errors(records: Records) -> dict[str, dict[str, float]]:
    """By layer, the largest difference between each two float variants that both have it."""
    found: dict[str, dict[str, float]] = {}
    for variant in FLOAT_VARIANTS:
        for layer, record in records[variant].items():
            for name, error in record.errors.items():
                pair = f"{name.partition('_')[0]}_{variant.partition('_')[0]}"
                found.setdefault(layer, {})[pair] = error.largest
    return found


def magnitudes(records: Records) -> dict[str, float]:
    """By layer of the float variants, the largest absolute value."""
    return {
        layer: max(abs(summary.min), abs(summary.max))
        for variant in FLOAT_VARIANTS
        for layer, record in records[variant].items()
        for summary in [record.values.summary()]
    }


def capture(model: Watched, images: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
    """The outputs of all layers for some images (N, 32, 32, 3), as numbers."""
    captured = model.run(images.astype(np.float32))
    return {
        layer: dequantized(point, captured.outputs[layer]) for layer, point in model.points.items()
    } | {"probabilities": captured.probabilities}


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
