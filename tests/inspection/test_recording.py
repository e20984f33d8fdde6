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
UINT8 = QuantizationParameters.per_tensor(SCALE, 10)  # -5 to 122.5
IMAGES = np.random.default_rng(0).integers(0, 256, (70, 32, 32, 3), dtype=np.uint8)
VALUES = IMAGES.astype(np.float64) - 20  # -20 to 235


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
        run=lambda images: Captured({"layer": output(images)}, images),
    )


def numbers(images: NDArray[np.float32]) -> NDArray[np.float32]:
    return images - 20


def codes(images: NDArray[np.float32]) -> NDArray[np.uint8]:
    return np.clip(np.round(numbers(images) / SCALE) + 10, 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def rows() -> dict[str, Any]:
    models = {"onnx_fp32": watched(numbers), "onnx_uint8": watched(codes, UINT8)}
    records, _ = recording.inspect(models, batches(IMAGES))
    return summaries.activations_json(records)["layer"]


def test_inspect_records_every_value_of_every_batch(rows: dict[str, Any]) -> None:
    row = rows["onnx_fp32"]["statistics"]
    assert row["n_values"] == IMAGES.size
    assert row["mean"] == pytest.approx(VALUES.mean(), rel=1e-5)
    assert (row["min"], row["max"]) == (-20, 235)


def test_inspect_compares_a_quantized_variant_with_the_float_one_of_its_runtime(
    rows: dict[str, Any],
) -> None:
    row = rows["onnx_uint8"]["statistics"]
    low, high = np.mean(VALUES < -5 - SCALE / 2), np.mean(VALUES > 122.5 + SCALE / 2)
    assert (row["clip_low"], row["clip_high"]) == (-5, 122.5)
    assert row["clipped_low_share"] == pytest.approx(low, rel=1e-5)
    assert row["clipped_high_share"] == pytest.approx(high, rel=1e-5)
    assert row["clipped_share"] == pytest.approx(low + high, rel=1e-5)
    error = np.clip(VALUES, -5, 122.5) - VALUES
    sqnr = 10 * np.log10((VALUES**2).sum() / (error**2).sum())
    assert (row["reference"], row["max_abs_error"]) == ("onnx_fp32", 112.5)
    assert row["sqnr_db"] == pytest.approx(sqnr, abs=0.005)


def test_activations_json_shares_bins_between_variants(rows: dict[str, Any]) -> None:
    first, second = (rows[variant]["histogram"] for variant in ("onnx_fp32", "onnx_uint8"))
    assert (first["low"], first["high"]) == (second["low"], second["high"])
    assert (first["low"], first["high"]) == pytest.approx((-22.55, 237.55))  # 1% beyond
    assert sum(first["counts"]) == pytest.approx(np.count_nonzero(VALUES), rel=1e-3)
    assert "error_histogram" not in rows["onnx_fp32"]
    assert sum(rows["onnx_uint8"]["error_histogram"]["counts"]) == pytest.approx(
        np.sum((VALUES < -5) | (VALUES > 122.5)), rel=0.01
    )


def test_parameters_json_has_ranges_and_errors_of_each_channel() -> None:
    original = np.array([[1.0, -2.0], [0.25, 0.5]], np.float32)
    scales = np.array([0.1, 0.01], np.float32)
    quantization = QuantizationParameters.per_channel(scales, "int8", 0)
    values = original + np.array([[0.05, 0.0], [0.0, 0.005]], np.float32)
    models = {
        "onnx_fp32": watched(numbers, weight=Parameter(original)),
        "onnx_int8": watched(codes, UINT8, Parameter(values, quantization)),
    }
    row = summaries.parameters_json(models)["layer"]["weight"]["onnx_int8"]
    assert row["channel_min"] == pytest.approx([-2, 0.25])
    assert row["channel_max"] == pytest.approx([1.05, 0.505])
    assert row["channel_max_abs_error"] == pytest.approx([0.05, 0.005], rel=1e-4)
    sqnr = [10 * np.log10(5 / 0.05**2), 10 * np.log10(0.3125 / 0.005**2)]
    assert row["channel_sqnr_db"] == pytest.approx(sqnr, rel=1e-4)
    assert row["scale"] == pytest.approx([0.1, 0.01])
