"""Needs of a network, counted by hand and by PyTorch."""

from typing import Any

import numpy as np
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch.utils.flop_counter import FlopCounterMode

from resnet8.models.onnx_network import Layer, describe, peak_activations, read_layers


def test_needs_of_the_sample(onnx_fp32: Any, torch_fp32: Any) -> None:
    needs = describe(onnx_fp32)
    with FlopCounterMode(display=False) as counter:
        torch_fp32.module()(torch.zeros(1, 32, 32, 3))
    assert 2 * needs["macs"] == counter.get_total_flops()
    stored = [numpy_helper.to_array(x) for x in onnx_fp32.graph.initializer]
    floats = [x for x in stored if x.dtype == np.float32]
    biases = sum(x.size for x in floats if x.ndim == 1)
    assert needs["n_parameters"] == sum(x.size for x in floats)
    assert needs["weight_bytes"]["float32"] == sum(x.nbytes for x in floats)
    assert needs["weight_bytes"]["int8"] == needs["n_parameters"] + 3 * biases
    # The block's input, and input and output of its second convolution: 16 channels each.
    peak = 3 * 16 * 32 * 32
    assert needs["peak_activation_bytes"] == {"at": "conv2d_2", "int8": peak, "float32": 4 * peak}


def test_layers_name_their_inputs_and_shapes_for_one_image(onnx_fp32: Any) -> None:
    layers = {x.name: x for x in read_layers(onnx_fp32)}
    assert layers["conv2d"].shape == (16, 32, 32)
    assert set(layers["add"].inputs) == {"activation", "conv2d_2"}
    assert list(layers) == [node.name for node in onnx_fp32.graph.node]


@pytest.mark.parametrize(
    ("operator", "weight", "shape", "macs"),
    [
        ("Conv", (8, 4, 3, 3), (4, 10, 10), 8 * 8 * 8 * 4 * 9),
        ("Conv", (4, 1, 3, 3), (4, 10, 10), 4 * 8 * 8 * 9),  # depthwise: four groups
        ("ConvTranspose", (4, 8, 3, 3), (4, 10, 10), 4 * 10 * 10 * 8 * 9),
        ("MatMul", (6, 5), (6,), 30),
        ("Gemm", (6, 5), (6,), 30),
        ("Relu", (), (4,), 0),
    ],
)
def test_macs_of_an_operator(
    operator: str, weight: tuple[int, ...], shape: tuple[int, ...], macs: int
) -> None:
    group = {"group": 4} if weight[1:2] == (1,) else {}
    inputs = ["input", "w"] if weight else ["input"]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node(operator, inputs, ["y"], name="y", **group)],
        "one",
        [value("input", TensorProto.FLOAT, ["N", *shape])],
        [value("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.ones(weight, np.float32), "w")] if weight else [],
    )
    (layer,) = read_layers(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]))
    assert (layer.macs, layer.weights) == (macs, np.prod(weight) if weight else 0)


@pytest.mark.parametrize(
    ("rows", "peak"),
    [
        # Input and output of a layer are in memory together.
        (["a Conv 5 input", "b Conv 20 a"], (25, "b")),
        # A ReLU writes over its input unless another layer reads that.
        (["a Conv 10 input", "b Relu 10 a"], (20, "a")),
        (["a Conv 10 input", "b Relu 10 a", "c Add 10 a b"], (30, "c")),
        # A value stays until its last reader has run.
        (["a Conv 10 input", "b Conv 3 a", "c Conv 3 b"], (20, "a")),
        (["a Conv 10 input", "b Conv 3 a", "c Conv 3 b", "d Add 10 a c"], (23, "d")),
    ],
)
def test_peak_activations(rows: list[str], peak: tuple[int, str]) -> None:
    layers = []
    for name, operator, size, *inputs in map(str.split, rows):
        layers.append(Layer(name, operator, (int(size),), tuple(inputs), 0, 0, 0))
    assert peak_activations(layers, 10) == peak
