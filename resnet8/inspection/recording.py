"""Records statistics of every layer of every variant while images stream through them."""

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resnet8.core.variants import FLOAT_VARIANTS, QUANTIZED_VARIANTS, Variant
from resnet8.inspection.capture import Point, Watched
from resnet8.inspection.statistics import RunningCodes, RunningError, RunningValues
from resnet8.models import parity

SAVED_IMAGES = 8  # of the chosen images, whose layer outputs are saved

_MAX_PEAK = float(np.sqrt(np.finfo(np.float32).max))  # squares of outputs are summed in float32
_TOO_LARGE = "output is not finite, or too large to square in float32"
Records = dict[str, dict[str, "LayerRecord"]]  # by variant and layer


class LayerRecord:
    """Statistics of one layer of one variant.

    is_measured: errors are reported, not only a bound of them.
    codes: counts of 8-bit codes, if the layer has them.
    values: statistics of the outputs; the code counts themselves where one scale serves all.
    errors: by reference variant.
    clipped: (2,) numbers of the first reference's values below and above the code range.
    """

    def __init__(self, point: Point, *, is_measured: bool) -> None:
        self.point, self.is_measured = point, is_measured
        self.codes = RunningCodes(point.quantization) if point.quantization else None
        self.values: RunningCodes | RunningValues = RunningValues()
        if self.codes and self.codes.quantization.axis is None:
            self.values = self.codes
        self.errors: dict[str, RunningError] = {}
        self.clipped = np.zeros(2, np.int64)

    def update(self, output: NDArray[Any], references: Mapping[str, NDArray[np.float32]]) -> None:
        """Adds a batch of outputs, and the reference variants' outputs of this layer."""
        point, values = self.point, self.point.dequantize(output)
        if self.codes:
            self.codes.update(output)
        if isinstance(self.values, RunningValues):
            self.values.update(values)
        for name, reference in references.items():
            error = self.errors.setdefault(name, RunningError())
            error.update(point.clip_on_purpose(values), point.clip_on_purpose(reference))
        if point.quantization and references:
            self.clipped += point.quantization.count_clipped(next(iter(references.values())))


def reference_variants(variant: str, reference: str | None = None) -> tuple[str, ...]:
    """Returns the variants that a variant is compared with: the reference, if any.

    Otherwise a conversion is compared with its originals, a quantized variant with the float
    model of its runtime, and any other model with none.
    """
    if reference is not None:
        return () if variant == reference else (reference,)
    if variant not in set(Variant):
        return ()
    known = Variant(variant)
    return FLOAT_VARIANTS[: FLOAT_VARIANTS.index(known)] if known.is_float else (known.original,)


def inspect(
    watched: Mapping[str, Watched],
    batches: Iterable[NDArray[np.uint8]],
    *,
    reference: str | None = None,
) -> tuple[Records, dict[str, Watched]]:
    """Runs all variants over images batch by batch, in bounded memory.

    Args:
        watched: by variant.
        batches: of (N, 32, 32, 3) uint8.
        reference: see `reference_variants`.

    Returns:
        Records, and the variants without layers whose values are not finite or have squares
        beyond float32.
    """
    references = {
        variant: [x for x in reference_variants(variant, reference) if x in watched]
        for variant in watched
    }
    records: Records = {}
    for variant, model in watched.items():
        is_measured = variant in QUANTIZED_VARIANTS or reference not in (None, variant)
        records[variant] = {
            x: LayerRecord(point, is_measured=is_measured) for x, point in model.points.items()
        }

    def record(variant: str, outputs: Mapping[str, Mapping[str, NDArray[Any]]]) -> None:
        for layer in list(records[variant]):
            compared = {
                name: watched[name].points[layer].dequantize(outputs[name][layer])
                for name in references[variant]
                if layer in watched[name].points
            }
            output = outputs[variant][layer]
            if all(np.abs(x).max() <= _MAX_PEAK for x in (output, *compared.values())):
                records[variant][layer].update(output, compared)
            else:
                del records[variant][layer]

    with ThreadPoolExecutor() as pool:
        for batch in batches:
            images = batch.astype(np.float32)
            captured = pool.map(lambda model, x=images: model.run(x), watched.values())
            outputs = {name: x.outputs for name, x in zip(watched, captured, strict=True)}
            list(pool.map(lambda variant, x=outputs: record(variant, x), watched))
    return records, {
        variant: model.without([x for x in model.points if x not in records[variant]], _TOO_LARGE)
        for variant, model in watched.items()
    }


def check_conversions(records: Records) -> dict[str, dict[str, float]]:
    """Compares the layers of each two float variants; see `parity.check_layers`."""
    errors: dict[str, dict[str, float]] = {}
    magnitudes = {}
    for variant in FLOAT_VARIANTS:
        for layer, record in records[variant].items():
            summary = record.values.summary()
            magnitudes[layer] = max(abs(summary.min), abs(summary.max))
            for name, error in record.errors.items():
                pair = f"{Variant(name).runtime}_{variant.runtime}"
                errors.setdefault(layer, {})[pair] = error.largest
    return parity.check_layers(errors, magnitudes=magnitudes)


def capture(model: Watched, images: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
    """Returns the dequantized outputs of all layers for images (N, 32, 32, 3)."""
    captured = model.run(images.astype(np.float32))
    return model.dequantize(captured) | {"probabilities": captured.probabilities}
