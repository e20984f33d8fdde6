"""Quantizing some layers only, in both runtimes."""

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from resnet8.inspection import onnx_isolation, torch_isolation
from resnet8.models import onnx_model, torch_model
from resnet8.models.onnx_graph import read_parameters


@pytest.fixture
def images(calibration_images: NDArray[np.uint8]) -> NDArray[np.float32]:
    return calibration_images[:20].astype(np.float32)


def run_onnx(model: Any, images: NDArray[np.float32]) -> NDArray[np.float32]:
    return onnx_model.make_predictor(model, as_written=True)(images)


def run_torch(module: torch.nn.Module, images: NDArray[np.float32]) -> NDArray[np.float32]:
    return torch_model.as_predictor(module)(images)


def test_onnx_without_layers_is_the_float_model(
    onnx_fp32: Any, onnx_quantized: Any, images: NDArray[np.float32]
) -> None:
    isolated = onnx_isolation.isolate(onnx_fp32, onnx_quantized[1], [])
    assert np.array_equal(run_onnx(isolated, images), run_onnx(onnx_fp32, images))


def test_onnx_with_all_layers_is_the_quantized_model(
    onnx_fp32: Any, onnx_quantized: Any, images: NDArray[np.float32]
) -> None:
    layers = onnx_isolation.quantized_layers(onnx_fp32, onnx_quantized[1])
    isolated = onnx_isolation.isolate(onnx_fp32, onnx_quantized[1], layers)
    assert np.array_equal(run_onnx(isolated, images), run_onnx(onnx_quantized[1], images))


def test_onnx_with_one_layer_is_neither(
    onnx_fp32: Any, onnx_quantized: Any, images: NDArray[np.float32]
) -> None:
    found = run_onnx(onnx_isolation.isolate(onnx_fp32, onnx_quantized[1], ["conv2d_1"]), images)
    for model in (onnx_fp32, onnx_quantized[1]):
        assert not np.array_equal(found, run_onnx(model, images))


def test_onnx_layers_share_out_every_quantized_tensor(onnx_fp32: Any, onnx_quantized: Any) -> None:
    layers = onnx_isolation.quantized_layers(onnx_fp32, onnx_quantized[1])
    assert layers[0] == "input"
    assert {"conv2d", "add", "average_pooling2d", "dense"} <= set(layers)
    # A ReLU's output is quantized in place of its convolution's.
    assert not [layer for layer in layers if layer.startswith(("activation", "flatten"))]

    def count(model: Any) -> int:
        return sum(node.op_type == "QuantizeLinear" for node in model.graph.node)

    alone = [onnx_isolation.isolate(onnx_fp32, onnx_quantized[1], [layer]) for layer in layers]
    assert sum(count(model) for model in alone) == count(onnx_quantized[1])


def test_onnx_isolate_leaves_both_models_as_they_were(onnx_fp32: Any, onnx_quantized: Any) -> None:
    before = [model.SerializeToString() for model in (onnx_fp32, onnx_quantized[1])]
    onnx_isolation.isolate(onnx_fp32, onnx_quantized[1], ["conv2d", "add"])
    assert before == [model.SerializeToString() for model in (onnx_fp32, onnx_quantized[1])]


def test_torch_without_layers_is_the_float_program(
    onnx_fp32: Any, torch_fp32: Any, torch_int8: Any, images: NDArray[np.float32]
) -> None:
    isolated = torch_isolation.isolate(read_parameters(onnx_fp32), torch_int8, [])
    expected = torch_model.make_predictor(torch_fp32)(images)
    assert np.array_equal(run_torch(isolated, images), expected)


def test_torch_with_all_layers_is_the_quantized_program(
    onnx_fp32: Any, torch_int8: Any, images: NDArray[np.float32]
) -> None:
    layers = torch_isolation.quantized_layers(torch_int8)
    isolated = torch_isolation.isolate(read_parameters(onnx_fp32), torch_int8, layers)
    expected = torch_model.make_predictor(torch_int8)(images)
    assert np.array_equal(run_torch(isolated, images), expected)


def test_torch_layers_share_out_every_quantized_tensor(onnx_fp32: Any, torch_int8: Any) -> None:
    def count(module: torch.fx.GraphModule) -> int:
        steps = [node for node in module.graph.nodes if node.target == torch.ops.aten.round.default]
        return len(steps)

    layers = torch_isolation.quantized_layers(torch_int8)
    alone = [
        torch_isolation.isolate(read_parameters(onnx_fp32), torch_int8, [layer]) for layer in layers
    ]
    assert sum(count(module) for module in alone) == count(torch_int8.module())


def test_torch_layers_go_by_the_names_of_onnx(
    onnx_fp32: Any, onnx_quantized: Any, torch_int8: Any
) -> None:
    of_onnx = onnx_isolation.quantized_layers(onnx_fp32, onnx_quantized[1])
    of_torch = torch_isolation.quantized_layers(torch_int8)
    assert of_torch == [layer for layer in of_onnx if layer in of_torch]
    assert {"input", "conv2d", "conv2d_8", "add", "dense"} <= set(of_torch)
