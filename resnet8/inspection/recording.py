"""Looks at every layer of every variant while images stream through them."""

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resnet8.core.variants import FLOAT_VARIANTS, QUANTIZED_VARIANTS, Variant
from resnet8.inspection.capture import Point, Watched, dequantized
from resnet8.inspection.statistics import (
    RunningCodes,
    RunningError,
    RunningValues,
)

SAVED_IMAGES = 8  # of the chosen ones, whose captures are kept

_MAX_PEAK = float(np.sqrt(np.finfo(np.float32).max))  # of an output: squares are added up
Records = dict[str, dict[str, "LayerRecord"]]  # by variant and layer


class LayerRecord:
    """What one layer of one variant did so far."""

    def __init__(self, point: Point, *, is_measured: bool) -> None:
        self.point = point
        self.is_measured = is_measured  # its error has a size and a histogram, not only a bound
        self.codes = RunningCodes(point.quantization) if point.quantization else None
        # Codes of one scale say it all, in 256 numbers.
        per_tensor = point.quantization is not None and point.quantization.axis is None
        self.values: RunningValues | RunningCodes = (
            self.codes if self.codes and per_tensor else RunningValues()
        )
        self.errors: dict[str, RunningError] = {}  # by reference variant
        self.clipped_low = self.clipped_high = 0  # values of the first reference
        self.overflows = False  # a square of a value is more than float32 holds

    def update(self, output: NDArray[Any], references: Mapping[str, NDArray[np.float32]]) -> None:
        """Takes in a batch of outputs, and those of the same layer in other variants."""
        numbers = dequantized(self.point, output)
        if self.codes:
            self.codes.update(output)
        if isinstance(self.values, RunningValues):
            self.values.update(numbers)
        quantization = self.point.quantization
        for name, reference in references.items():
            if name not in self.errors:
                self.errors[name] = RunningError(with_histogram=self.is_measured)
            self.errors[name].update(*self._kept(numbers, reference))
        if quantization and references:
            low, high = quantization.count_clipped(next(iter(references.values())))
            self.clipped_low += low
            self.clipped_high += high

    def _kept(
        self, numbers: NDArray[np.float32], reference: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """The values and their references without what is clipped on purpose."""
        quantization = self.point.quantization
        if not self.point.clips_on_purpose:
            return numbers, reference
        if quantization:
            return numbers, quantization.clip_below(reference)
        return np.maximum(numbers, 0), np.maximum(reference, 0)


def reference_variants(variant: str, reference: str | None = None) -> tuple[str, ...]:
    """References of a variant: of conversions their originals, of quantized ones the float model.

    Args:
        variant: its name, or that of any other model.
        reference: the model that all others are compared with instead.
    """
    if reference is not None:
        return () if variant == reference else (reference,)
    if variant not in set(Variant):
        return ()
    conversions = {
        "keras_fp32": (),
        "onnx_fp32": ("keras_fp32",),
        "torch_fp32": ("keras_fp32", "onnx_fp32"),
    }
    return conversions.get(variant, (Variant(variant).original,))


def inspect(
    watched: Mapping[str, Watched],
    batches: Iterable[NDArray[np.uint8]],
    *,
    reference: str | None = None,
) -> Records:
    """Runs all variants over images, batch by batch, and keeps statistics only.

    Args:
        watched: by variant. Layers that give numbers that are too large to be squared, or are not
            finite, are moved to the absent ones.
        batches: of (N, 32, 32, 3) uint8.
        reference: see `reference_variants`.

    Returns:
        A record for each variant and each of its layers.
    """
    references = {variant: reference_variants(variant, reference) for variant in watched}
    measured = [x for x in watched if (reference and references[x]) or x in QUANTIZED_VARIANTS]
    records = {
        variant: {
            layer: LayerRecord(point, is_measured=variant in measured)
            for layer, point in model.points.items()
        }
        for variant, model in watched.items()
    }
    with ThreadPoolExecutor() as pool:
        recording: list[Future[None]] = []
        for batch in batches:
            images = batch.astype(np.float32)
            running = {
                variant: pool.submit(model.run, images) for variant, model in watched.items()
            }
            outputs = {variant: found.result().outputs for variant, found in running.items()}
            # One batch is recorded while the models run over the next.
            _finish(recording)
            recording = [
                pool.submit(_record, variant, found, watched, outputs, references[variant])
                for variant, found in records.items()
            ]
        _finish(recording)
    for variant, found in records.items():
        for layer in [layer for layer, record in found.items() if record.overflows]:
            del found[layer], watched[variant].points[layer]
            watched[variant].absent[layer] = "gives numbers that are too large, or none"
    return records


def _record(
    variant: str,
    records: Mapping[str, LayerRecord],
    watched: Mapping[str, Watched],
    outputs: Mapping[str, Mapping[str, NDArray[Any]]],
    compared_with: Sequence[str],
) -> None:
    """Takes in what one variant gave for a batch, beside its references."""
    for layer, record in records.items():
        references = {
            name: dequantized(watched[name].points[layer], outputs[name][layer])
            for name in compared_with
            if layer in outputs.get(name, {})
        }
        given = [outputs[variant][layer], *references.values()]
        record.overflows |= not all(np.abs(x).max() <= _MAX_PEAK for x in given)
        if not record.overflows:
            record.update(outputs[variant][layer], references)


def _finish(futures: Iterable[Future[None]]) -> None:
    for future in futures:
        future.result()


def layer_order(by_variant: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """All layers in the order of computation, which the variant with the most of them gives."""
    longest_first = sorted(by_variant.values(), key=len, reverse=True)
    return list(dict.fromkeys(layer for layers in longest_first for layer in layers))


def conversion_errors(records: Records) -> dict[str, dict[str, float]]:
    """By layer, the largest difference between each two float variants that both have it."""
    found: dict[str, dict[str, float]] = {}
    for variant in FLOAT_VARIANTS:
        for layer, record in records[variant].items():
            for name, error in record.errors.items():
                pair = f"{Variant(name).runtime}_{variant.runtime}"
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
