"""Layers of one model in Keras, ONNX Runtime and PyTorch."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from resnet8.core.errors import ParityError
from resnet8.core.variants import FLOAT_VARIANTS
from resnet8.inspection import keras_capture, onnx_capture, recording, watch
from resnet8.inspection.inputs import batches
from resnet8.models import keras_layers
from resnet8.models.onnx_graph import copy_of

# Float32 rounding of a layer, relative to its largest value; the gate allows ten times as much.
RTOL_ROUNDING = 1e-5


def test_watch_gives_every_keras_layer_the_name_of_its_onnx_node(
    models_folder: Path, calibration_images: NDArray[np.uint8]
) -> None:
    models = watch.load_variants(FLOAT_VARIANTS, models_folder, raw=models_folder, n_classes=10)
    watched = watch.watch_variants(models, models_folder)
    assert list(watched["keras_fp32"].points) == list(watched["onnx_fp32"].points)
    assert watched["keras_fp32"].points["conv2d"].place == "layer batch_normalization"
    assert watched["keras_fp32"].points["dense"].place == "layer dense before its activation"

    records, _ = recording.inspect(watched, batches(calibration_images[:60]))
    table = recording.check_conversions(records)
    assert set(table) >= {"conv2d", "add_2", "average_pooling2d", "dense"}
    assert set(table["conv2d"]) >= {"keras_onnx", "keras_torch", "onnx_torch"}
    assert max(row["relative"] for row in table.values()) == RTOL_ROUNDING


def test_watch_of_another_layer_finds_a_difference(
    keras_fp32: Any, onnx_fp32: Any, calibration_images: NDArray[np.uint8]
) -> None:
    layers = keras_layers.read(onnx_fp32)
    layers["conv2d"] = keras_layers.KerasLayer("conv2d", "Conv2D", "output")  # not normalized
    other = copy_of(onnx_fp32)
    del other.metadata_props[:]
    keras_layers.record(other, layers)
    watched = {
        "keras_fp32": keras_capture.watch(keras_fp32, other),
        "onnx_fp32": onnx_capture.watch(onnx_fp32),
        "torch_fp32": onnx_capture.watch(onnx_fp32),
    }
    records, _ = recording.inspect(watched, [calibration_images[:5]])
    with pytest.raises(ParityError, match="Layer conv2d must be the same in keras_onnx"):
        recording.check_conversions(records)
