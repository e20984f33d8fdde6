"""ONNX Runtime's quantized models: everything that should be in 8 bits is."""

import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from resnet8 import onnx_model, onnx_quantization
from resnet8.evaluation import predict

IN_8_BITS = ("Conv", "Add", "AveragePool", "Gemm")
NUMPY_TYPES = {
    "int8": (np.int8, np.int8),
    "uint8": (np.uint8, np.uint8),
    "uint8_int8": (np.uint8, np.int8),
}


def arrays_of(model: onnx.ModelProto) -> dict[str, Any]:
    return {x.name: onnx.numpy_helper.to_array(x) for x in model.graph.initializer}


def test_inputs_of_each_operator_come_from_8_bits(onnx_quantized: Any) -> None:
    _, model = onnx_quantized
    producers = {output: node for node in model.graph.node for output in node.output}
    checked = Counter()
    for node in model.graph.node:
        if node.op_type in IN_8_BITS:
            assert {producers[x].op_type for x in node.input} == {"DequantizeLinear"}, node.name
            checked[node.op_type] += 1
    assert checked == {"Conv": 9, "Add": 3, "AveragePool": 1, "Gemm": 1}


def test_outputs_of_each_operator_go_to_8_bits(onnx_quantized: Any) -> None:
    _, model = onnx_quantized
    consumers = defaultdict(list)
    for node in model.graph.node:
        for tensor in node.input:
            consumers[tensor].append(node)
    for node in model.graph.node:
        if node.op_type in IN_8_BITS:
            after = consumers[node.output[0]]
            if after[0].op_type == "Relu":
                after = consumers[after[0].output[0]]
            assert {x.op_type for x in after} == {"QuantizeLinear"}, node.name


def test_onnx_runtime_runs_integer_kernels(onnx_quantized: Any, tmp_path: Path) -> None:
    name, model = onnx_quantized
    if name == "int8":
        pytest.skip("on x86, ONNX Runtime runs most S8 convolutions between DQ and Q in float")
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    options.log_severity_level = 3
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    operators = Counter(node.op_type for node in onnx.load(tmp_path / "optimized.onnx").graph.node)
    kernels = {"QLinearConv": 9, "QLinearAdd": 3, "QLinearAveragePool": 1, "QGemm": 1}
    assert {name: operators[name] for name in kernels} == kernels
    assert not {"Conv", "Add", "AveragePool", "Gemm"} & operators.keys()


def test_weights_and_activations_have_the_types_that_the_name_says(onnx_quantized: Any) -> None:
    name, model = onnx_quantized
    activation_type, weight_type = NUMPY_TYPES[name]
    arrays = arrays_of(model)
    weights = [x for key, x in arrays.items() if key.endswith(".weight_quantized")]
    assert len(weights) == 10
    assert {x.dtype.type for x in weights} == {weight_type}
    zero_points = [
        arrays[node.input[2]] for node in model.graph.node if node.op_type == "QuantizeLinear"
    ]
    assert {x.dtype.type for x in zero_points} == {activation_type}


def test_only_unsigned_activations_with_signed_weights_mix_signs(onnx_quantized: Any) -> None:
    name, model = onnx_quantized
    assert onnx_model.mixes_signs(model) == (name == "uint8_int8")


def test_a_float_model_mixes_no_signs(onnx_fp32: Any) -> None:
    assert not onnx_model.mixes_signs(onnx_fp32)


@pytest.mark.parametrize("saturate", [True, False])
def test_saturates_where_signs_are_mixed_and_products_saturate(
    onnx_quantized: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, saturate: bool
) -> None:
    name, model = onnx_quantized
    onnx.save(model, tmp_path / "model.onnx")
    monkeypatch.setattr(onnx_model, "products_saturate", lambda: saturate)
    assert onnx_model.saturates(tmp_path / "model.onnx") == (saturate and name == "uint8_int8")


def test_weight_scales_are_per_output_channel(onnx_quantized: Any) -> None:
    arrays = arrays_of(onnx_quantized[1])
    for key, weight in arrays.items():
        if key.endswith(".weight_quantized") and weight.ndim == 4:
            assert arrays[key.replace("_quantized", "_scale")].shape == (weight.shape[0],)


def test_weights_are_within_half_a_scale_of_the_float_ones(
    onnx_quantized: Any, onnx_fp32: Any
) -> None:
    name, model = onnx_quantized
    floats, arrays = arrays_of(onnx_fp32), arrays_of(model)
    checked = 0
    for key, weight in floats.items():
        if key.endswith(".weight") and weight.ndim == 4:
            scale = arrays[f"{key}_scale"].reshape(-1, 1, 1, 1)
            zero_point = arrays[f"{key}_zero_point"].reshape(-1, 1, 1, 1).astype(np.float32)
            restored = (arrays[f"{key}_quantized"] - zero_point) * scale
            # Half a step, and a step where a range of uint8 weights was moved to hold zero.
            steps = 0.5 if name != "uint8" else 1.0
            assert np.all(np.abs(restored - weight) <= steps * scale * 1.001), key
            checked += 1
    assert checked == 9


def test_pool_output_has_a_scale_of_its_own(onnx_quantized: Any) -> None:
    _, model = onnx_quantized
    (pool,) = (node for node in model.graph.node if node.op_type == "AveragePool")
    producers = {output: node for node in model.graph.node for output in node.output}
    arrays = arrays_of(model)
    before = arrays[producers[pool.input[0]].input[1]]
    (after_node,) = (node for node in model.graph.node if pool.output[0] in node.input)
    assert arrays[after_node.input[1]] < before / 1.5


def test_softmax_stays_in_float(onnx_quantized: Any) -> None:
    _, model = onnx_quantized
    (softmax,) = (node for node in model.graph.node if node.op_type == "Softmax")
    assert softmax.output[0] == model.graph.output[0].name == "probabilities"


def test_file_is_less_than_half_of_the_float_one(onnx_quantized: Any, onnx_fp32: Any) -> None:
    # 77,706 parameters: 4 bytes each before, about 1 after, and the graph's Q/DQ nodes.
    assert len(onnx_quantized[1].SerializeToString()) < len(onnx_fp32.SerializeToString()) / 2


def test_predictions_mostly_agree_with_float_but_are_not_the_same(
    onnx_quantized: Any, onnx_fp32: Any, test_set: Any
) -> None:
    images, _ = test_set
    before, after = (
        predict(onnx_model.make_predictor(model), images, batch_size=100)
        for model in (onnx_fp32, onnx_quantized[1])
    )
    agreement = np.mean(before.argmax(axis=1) == after.argmax(axis=1))
    assert agreement >= 0.95
    assert np.abs(before - after).max() > 1e-3


def test_file_gives_the_same_predictions_in_a_process_with_onnx_runtime_alone(
    onnx_quantized: Any, test_set: Any, tmp_path: Path
) -> None:
    images = test_set[0][:16].astype(np.float32)
    onnx.save(onnx_quantized[1], tmp_path / "model.onnx")
    np.save(tmp_path / "images.npy", images)
    script = """
import sys
sys.modules.update(dict.fromkeys(["onnx", "resnet8"]))
import numpy, onnxruntime
session = onnxruntime.InferenceSession("model.onnx", providers=["CPUExecutionProvider"])
numpy.save("out.npy", session.run(None, {"input": numpy.load("images.npy")})[0])
"""
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, check=True)
    expected = onnx_model.make_predictor(onnx_quantized[1])(images)
    np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), expected)


def test_quantize_does_not_depend_on_the_batch_size(
    onnx_fp32: Any, calibration_images: Any
) -> None:
    small, large = (
        onnx_quantization.quantize(
            onnx_fp32, calibration_images, quant_type="int8", per_channel=True, batch_size=size
        )
        for size in (30, 200)
    )
    scales = [
        {key: x for key, x in arrays_of(model).items() if key.endswith("_scale")}
        for model in (small, large)
    ]
    assert scales[0].keys() == scales[1].keys()
    for key, scale in scales[0].items():
        np.testing.assert_allclose(scale, scales[1][key], rtol=1e-5)


def test_quantize_per_tensor_gives_one_scale_per_weight(
    onnx_fp32: Any, calibration_images: Any
) -> None:
    model = onnx_quantization.quantize(
        onnx_fp32, calibration_images, quant_type="int8", per_channel=False
    )
    scales = [x for key, x in arrays_of(model).items() if key.endswith(".weight_scale")]
    assert {x.size for x in scales} == {1}


def test_reader_hands_out_every_image_once() -> None:
    images = np.arange(7 * 32 * 32 * 3, dtype=np.uint32).astype(np.uint8).reshape(7, 32, 32, 3)
    reader = onnx_quantization._Reader(images, 3)
    batches = list(iter(reader.get_next, None))
    assert [len(batch["input"]) for batch in batches] == [3, 3, 1]
    joined = np.concatenate([batch["input"] for batch in batches])
    assert joined.dtype == np.float32
    np.testing.assert_array_equal(joined, images)


@pytest.mark.parametrize("quant_type", ["int8"])
def test_quantize_leaves_the_float_model_alone(
    onnx_fp32: Any, calibration_images: Any, quant_type: Any
) -> None:
    before = onnx_fp32.SerializeToString(deterministic=True)
    onnx_quantization.quantize(
        onnx_fp32, calibration_images[:20], quant_type=quant_type, per_channel=True
    )
    assert onnx_fp32.SerializeToString(deterministic=True) == before
