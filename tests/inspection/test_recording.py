"""Streaming inspection of layers that are known exactly."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from resnet8.core.qparams import Parameter, QuantizationParameters
from resnet8.inspection import recording, summaries
from resnet8.inspection.capture import Captured, Point, Watched
from resnet8.inspection.inputs import batches

SCALE = 0.5
UINT8 = QuantizationParameters(np.array(SCALE, np.float32), np.array(10), "uint8")
IMAGES = np.random.default_rng(0).integers(0, 256, (70, 32, 32, 3), dtype=np.uint8)


def watched(
    output: Callable[[NDArray[np.float32]], NDArray[Any]],
    quantization: QuantizationParameters | None = None,
    weight: Parameter | None = None,
) -> Watched:
    """A model of one layer."""
    return Watched(
        points={"layer": Point("here", quantization)},
        parameters={"layer": {"weight": weight}} if weight else {},
        absent={},
        run=lambda images: Captured(
            {"layer": output(images)}, np.full((len(images), 2), 0.5, np.float32)
        ),
    )


def numbers(images: NDArray[np.float32]) -> NDArray[np.float32]:
    return images - 20  # -20 to 235


def codes(images: NDArray[np.float32]) -> NDArray[np.uint8]:
    return np.clip(np.round(numbers(images) / SCALE) + 10, 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def records() -> recording.Records:
    models = {"onnx_fp32": watched(numbers), "onnx_uint8": watched(codes, UINT8)}
    return recording.inspect(models, batches(IMAGES))


def test_inspect_sees_every_value_of_every_batch(records: recording.Records) -> None:
    found = summaries.statistics_json(records["onnx_fp32"]["layer"])
    assert found["n_values"] == IMAGES.size
    assert found["mean"] == pytest.approx(IMAGES.mean() - 20, rel=1e-5)
    assert (found["min"], found["max"]) == (-20, 235)


def test_inspect_counts_what_lies_beyond_the_ends_of_the_range(
    records: recording.Records,
) -> None:
    low, high = -10 * SCALE, 245 * SCALE  # -5 to 122.5
    values = numbers(IMAGES.astype(np.float32))
    found = summaries.statistics_json(records["onnx_uint8"]["layer"])
    assert (found["clip_low"], found["clip_high"]) == (low, high)
    assert found["clipped_low_share"] == pytest.approx(np.mean(values < low - SCALE / 2), rel=1e-5)
    assert found["clipped_high_share"] == pytest.approx(
        np.mean(values > high + SCALE / 2), rel=1e-5
    )
    assert found["clipped_share"] == pytest.approx(
        found["clipped_low_share"] + found["clipped_high_share"], rel=1e-5
    )


def test_inspect_compares_a_quantized_variant_with_the_float_one_of_its_runtime(
    records: recording.Records,
) -> None:
    values = numbers(IMAGES.astype(np.float64))
    error = np.clip(values, -5, 122.5) - values
    found = summaries.statistics_json(records["onnx_uint8"]["layer"])
    assert found["reference"] == "onnx_fp32"
    assert found["sqnr_db"] == pytest.approx(
        10 * np.log10((values**2).sum() / (error**2).sum()), abs=0.005
    )
    assert found["max_abs_error"] == 112.5


def test_activations_json_shares_bins_between_variants(records: recording.Records) -> None:
    found = summaries.activations_json(records)["layer"]
    first, second = (found[variant]["histogram"] for variant in ("onnx_fp32", "onnx_uint8"))
    assert (first["low"], first["high"]) == (second["low"], second["high"])
    assert (first["low"], first["high"]) == pytest.approx((-22.55, 237.55))  # 1% beyond
    values = numbers(IMAGES.astype(np.float32))
    assert sum(first["counts"]) == pytest.approx(np.count_nonzero(values), rel=1e-3)
    assert "error_histogram" not in found["onnx_fp32"]
    assert sum(found["onnx_uint8"]["error_histogram"]["counts"]) == pytest.approx(
        np.sum((values < -5) | (values > 122.5)), rel=0.01
    )


def test_parameters_json_has_ranges_and_errors_of_each_channel() -> None:
    original = np.array([[1.0, -2.0], [0.25, 0.5]], np.float32)
    quantization = QuantizationParameters(
        np.array([0.1, 0.01], np.float32), np.zeros(2, np.int64), "int8", axis=0
    )
    values = original + np.array([[0.05, 0.0], [0.0, 0.005]], np.float32)
    models = {
        "onnx_fp32": watched(numbers, weight=Parameter(original)),
        "onnx_int8": watched(codes, UINT8, Parameter(values, quantization)),
    }
    found = summaries.parameters_json(models)["layer"]["weight"]["onnx_int8"]
    assert found["channel_min"] == pytest.approx([-2, 0.25])
    assert found["channel_max"] == pytest.approx([1.05, 0.505])
    assert found["channel_max_abs_error"] == pytest.approx([0.05, 0.005], rel=1e-4)
    assert found["channel_sqnr_db"] == pytest.approx(
        [10 * np.log10(5 / 0.05**2), 10 * np.log10(0.3125 / 0.005**2)], rel=1e-4
    )
    assert found["scale"] == pytest.approx([0.1, 0.01])


def test_reference_variants_are_the_originals() -> None:
    assert recording.reference_variants("torch_int8") == ("torch_fp32",)
    assert recording.reference_variants("onnx_fp32") == ("keras_fp32",)
    assert not recording.reference_variants("keras_fp32")
