"""ONNX: the exported graph computes, and is named and described, as it should be."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator

from resnet8.core.errors import ArtifactError
from resnet8.models import (
    keras_conversion,
    keras_export,
    keras_folding,
    keras_model,
    onnx_model,
    torch_conversion,
    torch_model,
)
from samples.train import build_resnet8

layers = keras_model.keras.layers


def export(model: Any) -> onnx.ModelProto:
    return keras_conversion.convert(model, opset=17, n_classes=10)


def randomize(model: Any) -> Any:
    """Gives every weight a random value, so that none is zero and no layer is an identity."""
    rng = np.random.default_rng(0)
    for layer in model.layers:
        layer.set_weights([rng.uniform(0.01, 0.1, w.shape) for w in layer.get_weights()])
    return model


def test_predictor_agrees_with_the_onnx_reference_implementation(
    onnx_fp32: Any, test_set: Any
) -> None:
    images = test_set[0][:4].astype(np.float32)
    (expected,) = ReferenceEvaluator(onnx_fp32).run(None, {"input": images})
    np.testing.assert_allclose(onnx_model.make_predictor(onnx_fp32)(images), expected, atol=1e-5)


def test_fold_leaves_no_batch_normalization(onnx_fp32: Any) -> None:
    operators = Counter(node.op_type for node in onnx_fp32.graph.node)
    assert operators == {
        "Transpose": 1, "Conv": 9, "Relu": 7, "Add": 3, "AveragePool": 1, "Reshape": 1,
        "Gemm": 1, "Softmax": 1,
    }  # fmt: skip


def test_nodes_are_named_like_the_keras_layers(onnx_fp32: Any, keras_fp32: Any) -> None:
    operators = {
        "Conv2D": "Conv", "Activation": "Relu", "Add": "Add", "Flatten": "Reshape",
        "AveragePooling2D": "AveragePool", "Dense": "Gemm",
    }  # fmt: skip
    expected = {
        layer.name: operators[type(layer).__name__]
        for layer in keras_fp32.layers
        if type(layer).__name__ in operators
    }
    stem, head = keras_fp32.layers[1].name, keras_fp32.layers[-1].name
    expected |= {f"{stem}_permute": "Transpose", f"{head}_softmax": "Softmax"}
    assert {node.name: node.op_type for node in onnx_fp32.graph.node} == expected


def test_named_kernels_are_those_of_the_layers_without_batch_normalization(
    onnx_fp32: Any, keras_fp32: Any
) -> None:
    # Numbers prove the names: layers that nothing was folded into keep their exact weights.
    arrays = {x.name: onnx.numpy_helper.to_array(x) for x in onnx_fp32.graph.initializer}
    skips = [
        layer
        for layer in keras_fp32.layers
        if isinstance(layer, layers.Conv2D) and layer.kernel.shape[0] == 1
    ]
    assert len(skips) == 2
    for layer in skips:
        kernel = layer.kernel.numpy().transpose(3, 2, 0, 1)  # HWIO -> OIHW
        np.testing.assert_array_equal(arrays[f"{layer.name}.weight"], kernel)


def test_layer_names_with_odd_characters_and_overlaps_are_told_apart() -> None:
    model = keras_model.keras.Sequential(
        [
            keras_model.keras.Input((32, 32, 3)),
            layers.Conv2D(4, 3, strides=4, name="conv1", activation="relu"),
            layers.Conv2D(4, 3, name="conv11"),
            layers.Conv2D(4, 3, name="conv-1 (last)"),
            layers.GlobalAveragePooling2D(name="probabilities"),
            layers.Dense(10, activation="softmax", name="input"),
        ]
    )
    named = export(randomize(model))
    assert [node.name for node in named.graph.node] == [
        "conv1_permute", "conv1", "conv1_relu", "conv11", "conv-1 (last)",
        "probabilities_globalaveragepool", "probabilities_reshape", "input_gemm", "input_softmax",
    ]  # fmt: skip


def test_describe_gives_names_types_and_dimensions(onnx_fp32: Any) -> None:
    description = onnx_model.describe(onnx_fp32)
    assert description["opset"] == {"ai.onnx": 17}
    assert description["inputs"] == [
        {"name": "input", "dtype": "float32", "shape": ["batch", 32, 32, 3]}
    ]
    assert description["outputs"] == [
        {"name": "probabilities", "dtype": "float32", "shape": ["batch", 10]}
    ]


def test_describe_refuses_a_graph_that_contradicts_itself(onnx_fp32: Any) -> None:
    broken = onnx.ModelProto()
    broken.CopyFrom(onnx_fp32)
    broken.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 11
    with pytest.raises(ArtifactError, match="must pass the ONNX checker"):
        onnx_model.describe(broken)


def test_export_gives_the_same_bytes_twice(keras_fp32: Any, onnx_fp32: Any) -> None:
    again = export(keras_fp32)
    assert again.SerializeToString(deterministic=True) == onnx_fp32.SerializeToString(
        deterministic=True
    )


def _preactivation(inputs: Any) -> Any:
    x = layers.Conv2D(8, 3, use_bias=False)(layers.Rescaling(1 / 255)(inputs))
    y = layers.ReLU()(layers.BatchNormalization()(x))
    x = layers.Add()([x, layers.Conv2D(8, 3, padding="same", use_bias=False)(y)])
    return layers.Dense(10, activation="softmax")(layers.GlobalAveragePooling2D()(x))


def _depthwise(inputs: Any) -> Any:
    x = layers.MaxPooling2D()(layers.Conv2D(8, 3, activation="relu")(inputs))
    x = layers.BatchNormalization()(layers.DepthwiseConv2D(3, padding="same")(x))
    return layers.Dense(10, activation="softmax", use_bias=False)(layers.Flatten()(x))


def _squeeze_and_excite(inputs: Any) -> Any:
    x = layers.Conv2D(8, 3, activation="relu")(inputs)
    gate = layers.Reshape((1, 1, 8))(layers.GlobalAveragePooling2D()(x))
    x = layers.Multiply()([x, layers.Conv2D(8, 1, activation="sigmoid")(gate)])
    return layers.Dense(10, activation="softmax")(layers.Flatten()(x))


# Random weights give logits in the hundreds; float32 rounds them by more than trained ones.
def _dense_on_pixels(inputs: Any) -> Any:
    x = layers.Dense(8, activation="relu", use_bias=False)(inputs)
    x = layers.GlobalAveragePooling2D()(x)
    return layers.Reshape((10,))(layers.Dense(10, activation="softmax")(x))


@pytest.mark.parametrize(
    "body", [_preactivation, _depthwise, _squeeze_and_excite, _dense_on_pixels]
)
def test_other_architectures_convert_to_onnx_and_pytorch(body: Any, test_set: Any) -> None:
    inputs = keras_model.keras.Input((32, 32, 3))
    model = randomize(keras_model.keras.Model(inputs, body(inputs)))
    converted = export(model)
    images = test_set[0][:20].astype(np.float32) / 100
    expected = keras_model.make_predictor(model)(images)
    np.testing.assert_allclose(onnx_model.make_predictor(converted)(images), expected, atol=1e-4)
    program = torch_model.export(torch_conversion.convert(converted))
    found = torch_model.make_predictor(program)(images)
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_untrained_model_with_zero_biases_converts_with_all_its_parameters() -> None:
    model = build_resnet8(8)
    expected = keras_folding.count_folded_parameters(model)
    assert onnx_model.count_parameters(export(model)) == expected


@pytest.mark.parametrize("opset", [13, 18])
def test_export_writes_the_opset_that_is_asked_for(opset: int) -> None:
    exported, *_ = keras_export.export_onnx(build_resnet8(4), opset=opset)
    assert {x.domain: x.version for x in exported.opset_import}[""] == opset


def test_load_model_refuses_a_damaged_file(tmp_path: Path, onnx_fp32: Any) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(onnx_fp32.SerializeToString()[:1000])
    with pytest.raises(ArtifactError, match=r"model\.onnx must be an ONNX model, got"):
        onnx_model.load_model(path)


def test_load_predictor_refuses_another_number_of_classes(tmp_path: Path, onnx_fp32: Any) -> None:
    onnx.save(onnx_fp32, tmp_path / "model.onnx")
    with pytest.raises(ArtifactError, match=r"must give 7 probabilities, got .*'batch', 10"):
        onnx_model.load_predictor(tmp_path / "model.onnx", n_classes=7)
