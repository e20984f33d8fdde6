"""Needs of a network, counted by hand and by PyTorch."""

from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch.utils.flop_counter import FlopCounterMode

from resnet8.models.onnx_network import Layer, describe, peak_activations, read_layers


def layer(name: str, operator: str, size: int, *inputs: str) -> Layer:
    return Layer(name, operator, (size,), inputs, macs=0, weights=0, biases=0)


def test_macs_are_half_the_operations_that_pytorch_counts(onnx_fp32: Any, torch_fp32: Any) -> None:
    with FlopCounterMode(display=False) as counter:
        torch_fp32.module()(torch.zeros(1, 32, 32, 3))
    assert 2 * describe(onnx_fp32)["macs"] == counter.get_total_flops()


def test_weights_are_those_of_the_initializers(onnx_fp32: Any) -> None:
    found = describe(onnx_fp32)
    stored = [numpy_helper.to_array(x) for x in onnx_fp32.graph.initializer]
    floats = [x for x in stored if x.dtype == np.float32]
    biases = sum(x.size for x in floats if x.ndim == 1)
    assert found["n_parameters"] == sum(x.size for x in floats)
    assert found["weight_bytes"]["float32"] == sum(x.nbytes for x in floats)
    assert found["weight_bytes"]["int8"] == found["n_parameters"] + 3 * biases


def test_reference_network_peaks_where_a_block_keeps_its_input(onnx_fp32: Any) -> None:
    peak = describe(onnx_fp32)["peak_activation_bytes"]
    # The block's input, and input and output of its second convolution: 16 channels each.
    assert peak == {"at": "conv2d_2", "int8": 3 * 16 * 32 * 32, "float32": 4 * 3 * 16 * 32 * 32}


def test_layers_name_their_inputs_and_shapes_for_one_image(onnx_fp32: Any) -> None:
    found = {x.name: x for x in read_layers(onnx_fp32)}
    assert found["conv2d"].shape == (16, 32, 32)
    assert set(found["add"].inputs) == {"activation", "conv2d_2"}
    assert list(found) == [node.name for node in onnx_fp32.graph.node]


@pytest.mark.parametrize(
    ("operator", "weight", "shape", "macs"),
    [
        ("Conv", (8, 4, 3, 3), (1, 4, 10, 10), 8 * 8 * 8 * 4 * 9),
        ("Conv", (4, 1, 3, 3), (1, 4, 10, 10), 4 * 8 * 8 * 9),  # depthwise: four groups
        ("ConvTranspose", (4, 8, 3, 3), (1, 4, 10, 10), 4 * 10 * 10 * 8 * 9),
        ("MatMul", (6, 5), (1, 6), 30),
        ("Gemm", (6, 5), (1, 6), 30),
    ],
)
def test_macs_of_an_operator(
    operator: str, weight: tuple[int, ...], shape: tuple[int, ...], macs: int
) -> None:
    group = {"group": 4} if weight[1] == 1 else {}
    node = helper.make_node(operator, ["input", "w"], ["y"], name="y", **group)
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [node], "one", [value("input", TensorProto.FLOAT, ["N", *shape[1:]])],
        [value("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.ones(weight, np.float32), "w")],
    )  # fmt: skip
    found = describe(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]))
    assert found["macs"] == macs
    assert found["n_parameters"] == np.prod(weight)


def test_peak_counts_input_and_output_of_a_layer_together() -> None:
    chain = [layer("a", "Conv", 5, "input"), layer("b", "Conv", 20, "a")]
    assert peak_activations(chain, 10) == (25, "b")


def test_relu_writes_over_its_input_unless_another_layer_reads_that() -> None:
    chain = [layer("a", "Conv", 10, "input"), layer("b", "Relu", 10, "a")]
    assert peak_activations(chain, 1) == (11, "a")
    assert peak_activations([*chain, layer("c", "Add", 10, "a", "b")], 1) == (30, "c")


def test_a_value_stays_until_its_last_reader_has_run() -> None:
    branches = [
        layer("a", "Conv", 10, "input"), layer("b", "Conv", 3, "a"), layer("c", "Conv", 3, "b"),
        layer("d", "Add", 10, "a", "c"),
    ]  # fmt: skip
    assert peak_activations(branches, 1) == (23, "d")
    assert peak_activations(branches[:3], 1) == (13, "b")


def test_operators_without_products_have_none() -> None:
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Relu", ["input"], ["y"], name="y")], "one",
        [value("input", TensorProto.FLOAT, ["N", 4])], [value("y", TensorProto.FLOAT, ["N", 4])],
    )  # fmt: skip
    (found,) = read_layers(onnx.helper.make_model(graph))
    assert (found.macs, found.weights, found.shape) == (0, 0, (4,))
