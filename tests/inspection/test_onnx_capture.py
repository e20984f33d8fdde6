"""Watched ONNX models against ONNX Runtime's own tools for looking into them."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx.reference import ReferenceEvaluator
from onnxruntime.quantization import CalibrationDataReader, qdq_loss_debug

from resnet8.inspection import onnx_capture, recording, summaries
from resnet8.inspection.inputs import batches
from resnet8.models import onnx_graph, onnx_model

# The tools make every tensor an output, which keeps ONNX Runtime from joining nodes to integer
# kernels; a few codes then differ by one. With the same sums the values agree to 1e-5 dB
# (tests/inspection/test_statistics.py).
ATOL_SQNR_DB = 0.1
# Of a layer's largest value: the reference evaluator sums in another order.
RTOL_REFERENCE = 1e-5


class Reader(CalibrationDataReader):  # type: ignore[misc]
    """Images in batches of 50, once."""

    def __init__(self, images: NDArray[np.uint8]) -> None:
        self.batches = iter([images[start : start + 50] for start in range(0, len(images), 50)])

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        batch = next(self.batches, None)
        return None if batch is None else {"input": batch.astype(np.float32)}


def test_watch_leaves_the_probabilities_of_a_quantized_model(
    onnx_quantized: Any, calibration_images: NDArray[np.uint8]
) -> None:
    _, model = onnx_quantized
    images = calibration_images[:20].astype(np.float32)
    expected = onnx_model.make_predictor(model)(images)
    assert np.array_equal(onnx_capture.watch(model).run(images).probabilities, expected)


def test_watch_sees_what_the_reference_evaluator_computes(
    onnx_fp32: Any, calibration_images: NDArray[np.uint8]
) -> None:
    images = calibration_images[:2].astype(np.float32)
    found = onnx_capture.watch(onnx_fp32).run(images).outputs
    tensors = [node.output[0] for node in onnx_fp32.graph.node]
    model = onnx.ModelProto()
    model.CopyFrom(onnx_fp32)
    for name in tensors[:-1]:
        model.graph.output.append(onnx.helper.make_tensor_value_info(name, 1, None))
    evaluator = ReferenceEvaluator(model)
    expected = dict(
        zip(evaluator.output_names, evaluator.run(None, {"input": images}), strict=True)
    )
    for node, tensor in zip(onnx_fp32.graph.node, tensors, strict=True):
        room = RTOL_REFERENCE * np.abs(expected[tensor]).max()
        assert np.abs(found[node.name] - expected[tensor]).max() <= room, node.name


def test_watch_says_which_layers_are_joined_with_the_next(onnx_quantized: Any) -> None:
    _, model = onnx_quantized
    watched = onnx_capture.watch(model)
    assert watched.absent["conv2d"] == "computed together with activation"
    assert watched.points["activation"].quantization is not None
    assert not set(watched.absent) & set(watched.points)


def test_sqnr_is_what_onnx_runtimes_debugging_tools_compute(
    onnx_quantized: Any, onnx_fp32: Any, calibration_images: NDArray[np.uint8], tmp_path: Path
) -> None:
    name, model = onnx_quantized
    if onnx_model.saturates(model):
        pytest.skip("the codes of saturated products depend on which kernels a graph gets")
    images = calibration_images[:120]
    watched = {"onnx_fp32": onnx_capture.watch(onnx_fp32), "onnx_int8": onnx_capture.watch(model)}
    found = recording.inspect(watched, batches(images))["onnx_int8"]

    activations = []
    for kind, source in (("float", onnx_fp32), ("qdq", model)):
        plain, extended = tmp_path / f"{kind}.onnx", tmp_path / f"{kind}_extended.onnx"
        onnx.save(source, plain)
        qdq_loss_debug.modify_model_output_intermediate_tensors(str(plain), str(extended))
        activations.append(qdq_loss_debug.collect_activations(str(extended), Reader(images)))
    matching = qdq_loss_debug.create_activation_matching(activations[1], activations[0])
    errors = qdq_loss_debug.compute_activation_error(matching)

    compared = 0
    for layer, record in found.items():
        expected = errors.get(layer, {}).get("xmodel_err")
        if expected is not None and record.point.quantization and record.errors["onnx_fp32"].noise:
            assert record.errors["onnx_fp32"].sqnr_db == pytest.approx(
                expected, abs=ATOL_SQNR_DB
            ), (name, layer)
            compared += 1
    assert compared >= 14


def test_weight_errors_are_what_onnx_runtimes_debugging_tools_compute(
    onnx_quantized: Any, onnx_fp32: Any, tmp_path: Path
) -> None:
    name, model = onnx_quantized
    if name == "uint8":
        pytest.skip("ONNX Runtime's tool subtracts zero points in uint8, which wraps around")
    paths = [tmp_path / "float.onnx", tmp_path / "qdq.onnx"]
    for source, path in zip((onnx_fp32, model), paths, strict=True):
        onnx.save(source, path)
    matching = qdq_loss_debug.create_weight_matching(*map(str, paths))
    expected = qdq_loss_debug.compute_weight_error(matching)

    watched = {"onnx_fp32": onnx_capture.watch(onnx_fp32), "onnx_int8": onnx_capture.watch(model)}
    found = summaries.parameters_json(watched)
    for layer in ("conv2d", "conv2d_5", "dense"):
        sqnr = found[layer]["weight"]["onnx_int8"]["statistics"]["sqnr_db"]
        assert sqnr == pytest.approx(expected[f"{layer}.weight"], abs=ATOL_SQNR_DB)


def test_read_parameters_are_what_dequantize_linear_gives(onnx_quantized: Any) -> None:
    _, model = onnx_quantized
    parameters = onnx_graph.read_parameters(model)
    constants = {x.name: onnx.numpy_helper.to_array(x) for x in model.graph.initializer}
    for node in model.graph.node:
        layer, _, kind = node.name.removesuffix("_DequantizeLinear").partition(".")
        if node.op_type == "DequantizeLinear" and kind:
            numbers = ReferenceEvaluator(node).run(None, {x: constants[x] for x in node.input})[0]
            stored = numbers.T if (layer, kind) == ("dense", "weight") else numbers
            assert np.array_equal(parameters[layer][kind].values, stored), node.name
