"""Records statistics of every layer of every variant while images stream through them."""

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resnet8.core.variants import FLOAT_VARIANTS, QUANTIZED_VARIANTS, Variant
from resnet8.inspection.capture import Point, Watched, dequantized
from resnet8.inspection.statistics import RunningCodes, RunningError, RunningValues

SAVED_IMAGES = 8  # of the chosen images, whose layer outputs are saved

_MAX_PEAK = float(np.sqrt(np.finfo(np.float32).max))  # squares of outputs are summed in float32
_CONVERSIONS = {
    "keras_fp32": (),
    "onnx_fp32": ("keras_fp32",),
    "torch_fp32": ("keras_fp32", "onnx_fp32"),
}
Records = dict[str, dict[str, "LayerRecord"]]  # by variant and layer


class LayerRecord:
    """Statistics of one layer of one variant.

    codes: counts of 8-bit codes, if the layer has them.
    values: statistics of the outputs; the code counts themselves where one scale serves all.
    errors: by reference variant.
    clipped_low, clipped_high: numbers of the first reference's values beyond the code range.
    overflows: True if the square of a value exceeds float32.
    """

    def __init__(self, point: Point, *, is_measured: bool) -> None:
        self.point = point
        self.is_measured = is_measured  # errors are reported, not only a bound of them
        self.codes = RunningCodes(point.quantization) if point.quantization else None
        per_tensor = point.quantization is not None and point.quantization.axis is None
        self.values: RunningValues | RunningCodes = (
            self.codes if self.codes and per_tensor else RunningValues()
        )
        self.errors: dict[str, RunningError] = {}
        self.clipped_low = self.clipped_high = 0
        self.overflows = False

    def update(self, output: NDArray[Any], references: Mapping[str, NDArray[np.float32]]) -> None:
        """Adds a batch of outputs, and the reference variants' outputs of this layer."""
        values = dequantized(self.point, output)
        arrays = (output, *references.values())
        self.overflows |= not all(np.abs(x).max() <= _MAX_PEAK for x in arrays)
        if self.overflows:
            return
        if self.codes:
            self.codes.update(output)
        if isinstance(self.values, RunningValues):
            self.values.update(values)
        for name, reference in references.items():
            if name not in self.errors:
                self.errors[name] = RunningError(with_histogram=self.is_measured)
            self.errors[name].update(*self._unclipped(values, reference))
        if self.point.quantization and references:
            first = next(iter(references.values()))
            low, high = self.point.quantization.count_clipped(first)
            self.clipped_low += low
            self.clipped_high += high

    def _unclipped(
        self, values: NDArray[np.float32], reference: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Removes the difference that clipping on purpose makes."""
        if not self.point.clips_on_purpose:
            return values, reference
        if self.point.quantization:
            return values, self.point.quantization.clip_below(reference)
        return np.maximum(values, 0), np.maximum(reference, 0)


def reference_variants(variant: str, reference: str | None = None) -> tuple[str, ...]:
    """Returns the variants that a variant is compared with.

    Args:
        variant: a conversion is compared with its originals, a quantized variant with the float
            model of its runtime, any other model with none.
        reference: the model that all others are compared with instead.
    """
    if reference is not None:
        return () if variant == reference else (reference,)
    if variant not in set(Variant):
        return ()
    return _CONVERSIONS.get(variant, (Variant(variant).original,))


def inspect(
    watched: Mapping[str, Watched],
    batches: Iterable[NDArray[np.uint8]],
    *,
    reference: str | None = None,
) -> Records:
    """Runs all variants over images batch by batch, in bounded memory.

    Args:
        watched: by variant. Layers whose values are not finite, or have squares beyond float32,
            are moved to the absent layers.
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
            running = {variant: pool.submit(x.run, images) for variant, x in watched.items()}
            outputs = {variant: future.result().outputs for variant, future in running.items()}
            for future in recording:  # one batch is recorded while the next one runs
                future.result()
            recording = [
                pool.submit(_record, variant, by_layer, watched, outputs, references[variant])
                for variant, by_layer in records.items()
            ]
        for future in recording:
            future.result()
    for variant, by_layer in records.items():
        for layer in [layer for layer, record in by_layer.items() if record.overflows]:
            del by_layer[layer], watched[variant].points[layer]
            watched[variant].absent[layer] = "gives numbers that are too large, or none"
    return records


def _record(
    variant: str,
    records: Mapping[str, LayerRecord],
    watched: Mapping[str, Watched],
    outputs: Mapping[str, Mapping[str, NDArray[Any]]],
    references: Sequence[str],
) -> None:
    """Adds a variant's outputs for a batch to its records."""
    for layer, record in records.items():
        if not record.overflows:
            compared = {
                name: dequantized(watched[name].points[layer], outputs[name][layer])
                for name in references
                if layer in outputs.get(name, {})
            }
            record.update(outputs[variant][layer], compared)


def layer_order(by_variant: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Returns all layers in the order of computation, from the variant with most layers."""
    longest_first = sorted(by_variant.values(), key=len, reverse=True)
    return list(dict.fromkeys(layer for layers in longest_first for layer in layers))


def conversion_errors(records: Records) -> dict[str, dict[str, float]]:
    """Returns by layer the largest difference between each two float variants that have it."""
    errors: dict[str, dict[str, float]] = {}
    for variant in FLOAT_VARIANTS:
        for layer, record in records[variant].items():
            for name, error in record.errors.items():
                pair = f"{Variant(name).runtime}_{variant.runtime}"
                errors.setdefault(layer, {})[pair] = error.largest
    return errors


def magnitudes(records: Records) -> dict[str, float]:
    """Returns by layer of the float variants the largest absolute value."""
    return {
        layer: max(abs(summary.min), abs(summary.max))
        for variant in FLOAT_VARIANTS
        for layer, record in records[variant].items()
        for summary in [record.values.summary()]
    }


def capture(model: Watched, images: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
    """Returns the dequantized outputs of all layers for images (N, 32, 32, 3)."""
    captured = model.run(images.astype(np.float32))
    return {
        layer: dequantized(point, captured.outputs[layer]) for layer, point in model.points.items()
    } | {"probabilities": captured.probabilities}
