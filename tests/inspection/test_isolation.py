"""Models with some quantized layers, in both runtimes."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from resnet8.core.variants import Variant
from resnet8.inspection import isolation
from resnet8.models import onnx_model, torch_model
from resnet8.models.onnx_graph import read_parameters

# Without saturating products, whose error depends on the CPU.
VARIANTS = (Variant.ONNX_INT8, Variant.ONNX_UINT8, Variant.TORCH_INT8)


@pytest.mark.parametrize("variant", VARIANTS)
def test_no_layers_are_the_float_model_and_all_layers_the_quantized_one(
    models_folder: Path, onnx_fp32: Any, calibration_images: NDArray[np.uint8], variant: Variant
) -> None:
    images = calibration_images[:20].astype(np.float32)
    path = variant.path(models_folder)
    original = onnx_model.make_predictor(onnx_fp32)(images)
    quantized = (
        onnx_model.make_predictor(onnx_model.load_model(path), as_written=True)
        if variant.runtime == "onnx"
        else torch_model.make_predictor(torch_model.load_model(path))
    )(images)
    layers, isolate = isolation.load(variant, models_folder)
    np.testing.assert_allclose(isolate([])(images), original, atol=1e-4)  # equalized
    for layer in ("conv2d_1", "conv2d_4", "dense"):
        assert layer in layers
        alone = isolate([layer])(images)
        assert 0 < np.abs(alone - original).mean() < 0.01, layer
        assert not np.array_equal(alone, quantized)
    np.testing.assert_array_equal(isolate(layers)(images), quantized)


def test_each_quantized_tensor_belongs_to_one_layer(
    onnx_fp32: Any, onnx_quantized: Any, torch_int8: Any
) -> None:
    _, quantized = onnx_quantized
    in_onnx, in_torch = (
        isolation.onnx_layers(onnx_fp32, quantized),
        isolation.torch_layers(torch_int8),
    )
    assert in_onnx[0] == in_torch[0] == "input"
    assert {"conv2d", "add", "average_pooling2d", "dense"} <= set(in_onnx)
    # A ReLU's output is quantized in place of its convolution's.
    assert not [layer for layer in in_onnx if layer.startswith(("activation", "flatten"))]
    assert {"conv2d", "conv2d_8", "add", "dense"} <= set(in_torch)
    assert in_torch == [layer for layer in in_onnx if layer in in_torch]

    def count(model: Any) -> int:
        return sum(node.op_type == "QuantizeLinear" for node in model.graph.node)

    alone = [isolation.in_onnx(onnx_fp32, quantized, [layer]) for layer in in_onnx]
    assert sum(map(count, alone)) == count(quantized)


def test_each_quantize_step_of_a_program_belongs_to_one_layer(
    onnx_fp32: Any, torch_int8: Any
) -> None:
    def count(module: Any) -> int:
        return sum("round" in str(node.target) for node in module.graph.nodes)

    parameters = read_parameters(onnx_fp32)
    layers = isolation.torch_layers(torch_int8)
    alone = [isolation.in_torch(parameters, torch_int8, [layer]) for layer in layers]
    assert sum(map(count, alone)) == count(torch_int8.module())
