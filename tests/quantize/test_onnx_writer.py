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

from resnet8.core.errors import ArtifactError, ParamsError
from resnet8.core.evaluation import predict
from resnet8.core.qparams import QuantizationParameters
from resnet8.models import onnx_model
from resnet8.quantize import onnx_writer
from resnet8.quantize.fit import fit
from resnet8.quantize.quantization import Quantization

IN_8_BITS = ("Conv", "Add", "AveragePool", "Gemm")
NUMPY_TYPES = {
    "int8": (np.int8, np.int8),
    "uint8": (np.uint8, np.uint8),
    "uint8_int8": (np.uint8, np.int8),
}
# Settings that need no second look at the images.
QUICK = {
    "activation_range": "minmax",
    "equalization": 0.0,
    "weight_rounding": "nearest",
    "bias_correction": False,
}
# What Q/DQ pairs give is the same in all types; float sums may be ordered otherwise.
ATOL_TYPES = 1e-6


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


def test_outputs_of_each_operator_but_the_last_go_to_8_bits(onnx_quantized: Any) -> None:
    _, model = onnx_quantized
    consumers = defaultdict(list)
    for node in model.graph.node:
        for tensor in node.input:
            consumers[tensor].append(node)
    checked = Counter()
    for node in model.graph.node:
        if node.op_type in IN_8_BITS and node.name != "dense":
            after = consumers[node.output[0]]
            if after[0].op_type == "Relu":
                after = consumers[after[0].output[0]]
            assert {x.op_type for x in after} == {"QuantizeLinear"}, node.name
            checked[node.op_type] += 1
    assert checked == {"Conv": 9, "Add": 3, "AveragePool": 1}


def test_logits_go_to_the_softmax_as_they_are(onnx_quantized: Any) -> None:
    _, model = onnx_quantized
    (dense,) = (node for node in model.graph.node if node.op_type == "Gemm")
    (after,) = (node for node in model.graph.node if dense.output[0] in node.input)
    assert after.op_type == "Softmax"


def test_onnx_runtime_runs_integer_kernels(onnx_quantized: Any, tmp_path: Path) -> None:
    name, model = onnx_quantized
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    options.log_severity_level = 3
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    if name == "int8":  # on x86, ONNX Runtime prefers float to most S8 convolutions
        options.add_session_config_entry("session.qdqisint8allowed", "1")
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


# The parameters that were given.


@pytest.fixture(scope="module")
def fitted(onnx_fp32: Any, calibration_images: Any, fit_settings: Any) -> Any:
    """A function that fits a quantization the quick way, with other settings."""

    def run(**changes: Any) -> Quantization:
        settings = fit_settings.model_copy(update=QUICK | changes)
        points = onnx_writer.find_points(
            onnx_fp32, symmetric=settings.activation_symmetric, float_layers=settings.float_layers
        )
        return fit(onnx_fp32, calibration_images[:20], settings, points=points)

    return run


def code_by_code(weight: Any, parameters: QuantizationParameters) -> Any:
    """The int8 codes that weights stand for, in double precision."""
    scale = np.broadcast_to(parameters.scale, len(weight)).reshape(-1, *[1] * (weight.ndim - 1))
    return np.rint(weight.astype(np.float64) / scale) + parameters.zero_point.max()


def assert_given_parameters(
    model: onnx.ModelProto, source: onnx.ModelProto, given: Quantization
) -> None:
    """Checks scales, zero points, codes and biases as the file has them."""
    arrays = arrays_of(model)
    inputs = {node.name: node.input for node in source.graph.node}
    offset = {np.dtype(np.int8): 128, np.dtype(np.uint8): 0}
    rounded = {x.input[0] for x in model.graph.node if x.op_type == "QuantizeLinear"}
    assert rounded == given.activations.keys()
    own = {x.input[0]: x.input[1:] for x in model.graph.node if x.op_type == "QuantizeLinear"}
    for tensor, parameters in given.activations.items():
        scale, zero_point = (arrays[name] for name in own[tensor])
        assert float(scale) == parameters.scale, tensor
        assert int(zero_point) + offset[zero_point.dtype] == parameters.zero_point, tensor
    for name, parameters in given.weights.items():
        tensor, weight, bias = inputs[name]
        codes, scale, zero_point = (
            arrays[f"{weight}_{part}"] for part in ("quantized", "scale", "zero_point")
        )
        moved = offset[codes.dtype] - 128  # int8 codes are what a quantization has
        stored = codes.T if name == "dense" else codes
        values = given.layers[name].weight.values
        expected = code_by_code(values, parameters)
        np.testing.assert_array_equal(stored.astype(int) + moved, expected, err_msg=name)
        assert scale.shape == parameters.scale.shape
        np.testing.assert_array_equal(scale, parameters.scale)
        np.testing.assert_array_equal(zero_point.astype(int) + moved, parameters.zero_point)
        step = parameters.scale.astype(np.float64) * float(given.activations[tensor].scale)
        steps = np.rint(given.layers[name].bias / step)
        assert arrays[f"{bias}_quantized"].dtype == np.int32
        np.testing.assert_array_equal(arrays[f"{bias}_quantized"], steps, err_msg=name)


def test_quantize_writes_the_parameters_that_are_given(
    onnx_quantized: Any, onnx_fp32: Any, quantization: Quantization
) -> None:
    assert_given_parameters(onnx_quantized[1], onnx_fp32, quantization)


@pytest.mark.parametrize("quant_type", NUMPY_TYPES)
@pytest.mark.parametrize(
    "changes",
    [
        {"per_channel": False},
        {"per_channel": False, "weight_symmetric": False},
        {"activation_symmetric": True},
        {"per_channel": False, "weight_symmetric": False, "activation_symmetric": True},
    ],
    ids=["per tensor", "asymmetric weights", "symmetric activations", "the other way round"],
)
def test_quantize_writes_parameters_of_every_form(
    onnx_fp32: Any, fitted: Any, quant_type: Any, changes: Any
) -> None:
    given = fitted(**changes)
    model = onnx_writer.quantize(onnx_fp32, given, quant_type=quant_type)
    assert_given_parameters(model, onnx_fp32, given)


def test_quantize_per_tensor_gives_one_scale_per_weight(onnx_fp32: Any, fitted: Any) -> None:
    given = fitted(per_channel=False)
    model = onnx_writer.quantize(onnx_fp32, given, quant_type="int8")
    scales = [x for key, x in arrays_of(model).items() if key.endswith(".weight_scale")]
    assert {x.size for x in scales} == {1}


def test_quantize_keeps_most_predictions_with_symmetric_activations(
    onnx_fp32: Any, fitted: Any, test_set: Any
) -> None:
    given = fitted(activation_symmetric=True)
    model = onnx_writer.quantize(onnx_fp32, given, quant_type="uint8")
    before, after = (
        predict(onnx_model.make_predictor(x), test_set[0], batch_size=100)
        for x in (onnx_fp32, model)
    )
    assert np.mean(before.argmax(axis=1) == after.argmax(axis=1)) >= 0.95


def test_types_give_the_same_predictions_where_sums_are_float(
    onnx_quantized: Any, onnx_fp32: Any, quantization: Quantization, test_set: Any
) -> None:
    reference = onnx_writer.quantize(onnx_fp32, quantization, quant_type="int8")
    expected, found = (
        onnx_model.make_predictor(x, as_written=True)(test_set[0][:50].astype(np.float32))
        for x in (reference, onnx_quantized[1])
    )
    np.testing.assert_allclose(found, expected, atol=ATOL_TYPES)


def test_types_predict_the_same_classes(
    onnx_quantized: Any, onnx_fp32: Any, quantization: Quantization, test_set: Any
) -> None:
    name, model = onnx_quantized
    if name == "uint8_int8" and onnx_model.products_saturate():
        pytest.skip("sums of this type saturate on this CPU")
    reference = onnx_writer.quantize(onnx_fp32, quantization, quant_type="int8")
    expected, found = (
        predict(onnx_model.make_predictor(x), test_set[0], batch_size=100).argmax(axis=1)
        for x in (reference, model)
    )
    assert np.mean(found == expected) >= 0.99


@pytest.mark.parametrize("quant_type", ["int8", "uint8"])
def test_quantize_refuses_a_quantization_without_the_parameters_of_a_tensor(
    onnx_fp32: Any, quantization: Quantization, quant_type: Any
) -> None:
    activations = {k: x for k, x in quantization.activations.items() if k != "activation_3"}
    with pytest.raises(ArtifactError, match="must write activation_3 with no parameters, got .+"):
        onnx_writer.quantize(
            onnx_fp32, quantization._replace(activations=activations), quant_type=quant_type
        )


def test_quantize_refuses_a_quantization_of_another_kind_of_range(
    onnx_fp32: Any, quantization: Quantization
) -> None:
    # With symmetric activations, ONNX Runtime rounds in front of a ReLU, too.
    with pytest.raises(
        ArtifactError, match="ONNX Runtime must write .+ with no parameters, got .+"
    ):
        onnx_writer.quantize(onnx_fp32, quantization._replace(symmetric=True), quant_type="int8")


def test_quantize_leaves_layers_in_float_that_are_asked_for(onnx_fp32: Any, fitted: Any) -> None:
    given = fitted(float_layers=["conv2d_3"])
    model = onnx_writer.quantize(onnx_fp32, given, quant_type="int8")
    makers = {output: node.op_type for node in model.graph.node for output in node.output}
    in_float = {
        node.name
        for node in model.graph.node
        if node.op_type in ("Conv", "Gemm") and makers.get(node.input[1]) != "DequantizeLinear"
    }
    assert in_float == {"conv2d_3"}
    assert_given_parameters(model, onnx_fp32, given)


# The tensors that are rounded.


def test_find_points_refuses_a_float_layer_that_is_not_there(onnx_fp32: Any) -> None:
    message = (
        r"^fit\.float_layers must name layers out of conv2d_permute, conv2d, .+, dense_softmax, "
        r"got conv2d_33\.$"
    )
    with pytest.raises(ParamsError, match=message):
        onnx_writer.find_points(onnx_fp32, symmetric=False, float_layers=["conv2d_3", "conv2d_33"])


def test_find_points_gives_the_pool_a_range_of_its_own(onnx_fp32: Any) -> None:
    points = onnx_writer.find_points(onnx_fp32, symmetric=False)
    assert points["activation_6"] == "activation_6"
    assert points["average_pooling2d"] == points["flatten"] == "average_pooling2d"


def test_find_points_leaves_logits_and_probabilities_out(onnx_fp32: Any) -> None:
    points = onnx_writer.find_points(onnx_fp32, symmetric=False)
    assert not {"dense", "probabilities"} & points.keys()


def test_find_points_leaves_a_relu_to_an_asymmetric_range(onnx_fp32: Any) -> None:
    assert "conv2d" not in onnx_writer.find_points(onnx_fp32, symmetric=False)
    assert "conv2d" in onnx_writer.find_points(onnx_fp32, symmetric=True)


@pytest.mark.parametrize("layer", ["conv2d_3", "dense", "add_1", "activation_3", "flatten"])
def test_find_points_are_the_tensors_that_quantize_rounds(
    onnx_fp32: Any, fitted: Any, layer: str
) -> None:
    given = fitted(float_layers=[layer])
    for quant_type in ("int8", "uint8"):
        model = onnx_writer.quantize(onnx_fp32, given, quant_type=quant_type)
        rounded = {x.input[0] for x in model.graph.node if x.op_type == "QuantizeLinear"}
        assert rounded == given.activations.keys()


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
options = onnxruntime.SessionOptions()
options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
options.add_session_config_entry("session.disable_quant_qdq", sys.argv[1])
providers = ["CPUExecutionProvider"]
session = onnxruntime.InferenceSession("model.onnx", options, providers=providers)
numpy.save("out.npy", session.run(None, {"input": numpy.load("images.npy")})[0])
"""
    as_written = str(int(onnx_quantized[0] == "int8"))
    subprocess.run([sys.executable, "-c", script, as_written], cwd=tmp_path, check=True)
    expected = onnx_model.make_predictor(onnx_quantized[1])(images)
    np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), expected)


@pytest.mark.parametrize("quant_type", ["int8"])
def test_quantize_leaves_the_float_model_alone(
    onnx_fp32: Any, quantization: Quantization, quant_type: Any
) -> None:
    before = onnx_fp32.SerializeToString(deterministic=True)
    onnx_writer.quantize(onnx_fp32, quantization, quant_type=quant_type)
    assert onnx_fp32.SerializeToString(deterministic=True) == before


def test_quantize_gives_the_same_bytes_twice(onnx_fp32: Any, quantization: Quantization) -> None:
    first, second = (
        onnx_writer.quantize(onnx_fp32, quantization, quant_type="uint8") for _ in range(2)
    )
    assert first.SerializeToString(deterministic=True) == second.SerializeToString(
        deterministic=True
    )
