"""Watched ONNX models against ONNX Runtime's own tools for looking into them."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnxruntime.quantization import qdq_loss_debug

from resnet8.inspection import onnx_capture, recording, summaries
from resnet8.inspection.inputs import batches
from resnet8.models import onnx_model
from tests.quantize.graphs import Reader

# The tools make every tensor an output, which keeps ONNX Runtime from joining nodes to integer
# kernels; a few codes then differ by one. With the same sums the values agree to 1e-5 dB
# (tests/inspection/test_statistics.py).
ATOL_SQNR_DB = 0.1


def test_watch_leaves_probabilities_and_says_which_layers_are_joined_with_the_next(
    onnx_quantized: Any, calibration_images: NDArray[np.uint8]
) -> None:
    _, model = onnx_quantized
    watched = onnx_capture.watch(model)
    assert watched.absent["conv2d"] == "computed together with activation"
    assert watched.points["activation"].quantization is not None
    assert not set(watched.absent) & set(watched.points)
    images = calibration_images[:20].astype(np.float32)
    expected = onnx_model.make_predictor(model)(images)
    assert np.array_equal(watched.run(images).probabilities, expected)


def test_errors_are_what_onnx_runtimes_debugging_tools_compute(
    onnx_quantized: Any, onnx_fp32: Any, calibration_images: NDArray[np.uint8], tmp_path: Path
) -> None:
    name, model = onnx_quantized
    if onnx_model.saturates(model):
        pytest.skip("the codes of saturated products depend on which kernels a graph gets")
    images = calibration_images[:120]
    watched = {"onnx_fp32": onnx_capture.watch(onnx_fp32), "onnx_int8": onnx_capture.watch(model)}
    records = recording.inspect(watched, batches(images))[0]["onnx_int8"]

    paths, activations = [], []
    for kind, source in (("float", onnx_fp32), ("qdq", model)):
        plain, extended = (str(tmp_path / f"{kind}{x}.onnx") for x in ("", "_extended"))
        onnx.save(source, plain)
        paths.append(plain)
        qdq_loss_debug.modify_model_output_intermediate_tensors(plain, extended)
        activations.append(qdq_loss_debug.collect_activations(extended, Reader(batches(images))))
    matching = qdq_loss_debug.create_activation_matching(activations[1], activations[0])
    errors = qdq_loss_debug.compute_activation_error(matching)
    compared = 0
    for layer, record in records.items():
        expected = errors.get(layer, {}).get("xmodel_err")
        if expected is not None and record.codes and record.errors["onnx_fp32"].sqnr_db:
            sqnr = record.errors["onnx_fp32"].sqnr_db
            assert sqnr == pytest.approx(expected, abs=ATOL_SQNR_DB), (name, layer)
            compared += 1
    assert compared >= 14

    if name == "uint8":  # ONNX Runtime's tool subtracts zero points in uint8, which wraps around
        return
    of_weights = qdq_loss_debug.compute_weight_error(qdq_loss_debug.create_weight_matching(*paths))
    parameters = summaries.parameters_json(watched)
    for layer in ("conv2d", "conv2d_5", "dense"):
        sqnr = parameters[layer]["weight"]["onnx_int8"]["statistics"]["sqnr_db"]
        assert sqnr == pytest.approx(of_weights[f"{layer}.weight"], abs=ATOL_SQNR_DB)
