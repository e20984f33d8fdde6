"""Codes of the sample's quantized models beside exact arithmetic, and planted faults."""

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from resnet8.core.errors import ParityError
from resnet8.models import torch_model
from resnet8.models.onnx_graph import QUANTIZE, copy_of
from resnet8.quantize import onnx_writer
from resnet8.reference.check import check
from resnet8.reference.network import Network
from resnet8.reference.results import Checked, refuse_unexplained
from resnet8.reference.check import Runtime, in_onnx_runtime, in_torch

N_IMAGES = 30  # more than a batch


@pytest.fixture(scope="module")
def images(test_set: Any) -> Any:
    return test_set[0][:N_IMAGES]


@pytest.fixture(scope="module")
def few(images: Any) -> Any:
    return images[:5]


@pytest.fixture(scope="module")
def network(onnx_fp32: Any, quantization: Any) -> Network:
    return Network(onnx_fp32, quantization)


@pytest.fixture(scope="module")
def in_uint8(onnx_fp32: Any, quantization: Any) -> onnx.ModelProto:
    return onnx_writer.quantize(onnx_fp32, quantization, quant_type="uint8")


def checked(network: Network, runtime: Runtime, images: Any) -> Checked:
    return check(network, {"it": runtime}, images)["it"]


# Models that are right.


def assert_right(found: Checked, images: Any) -> None:
    rows = list(found.tensors.values())
    assert [row.tensor for row in rows if row.unexplained] == []
    assert {row.layer for row in rows} >= {"conv2d", "conv2d_8", "add_2", "dense"}
    assert all(row.farthest <= row.bound for row in rows)
    assert max(row.largest for row in rows) <= 1  # a code, or an error bound
    (conv,) = (row for row in rows if row.layer == "conv2d")
    assert conv.compared % (len(images) * 32 * 32) == 0
    assert found.end_to_end.n_images == len(images)


def test_codes_of_onnx_runtime_are_those_of_exact_arithmetic(
    onnx_quantized: Any, network: Network, images: Any
) -> None:
    _, model = onnx_quantized
    runtime = in_onnx_runtime(model)
    found = checked(network, runtime, images)
    if not runtime.saturates:
        assert_right(found, images)
    assert sum(row.in_codes for row in found.tensors.values()) == 15


def test_codes_of_pytorch_are_those_of_exact_arithmetic(
    torch_int8: Any, network: Network, images: Any
) -> None:
    found = checked(network, in_torch(torch_int8), images)
    assert_right(found, images)
    assert sum(row.in_codes for row in found.tensors.values()) == 13


def test_exact_sums_have_far_smaller_error_bounds(
    in_uint8: onnx.ModelProto, network: Network, images: Any
) -> None:
    runtime = in_onnx_runtime(in_uint8)
    assert {"activation", "conv2d_2", "dense"} <= runtime.exact_sums
    assert not {"add", "activation_2", "average_pooling2d"} & runtime.exact_sums
    codes: dict[str, Any] = {"images": images[:2]} | network.run(images[:2])
    (step,) = (x for x in network.steps if x.tensor == "conv2d_2")
    values = network.compute(step, codes)
    floats, whole = (network.bound_errors(step, codes, exact=x) for x in (None, values))
    assert (whole["conv2d_2"] <= floats["conv2d_2"]).all()
    assert whole["conv2d_2"].mean() < floats["conv2d_2"].mean() / 5


def test_end_to_end_has_the_classes_of_the_runtime(
    in_uint8: onnx.ModelProto, network: Network, images: Any
) -> None:
    found = checked(network, in_onnx_runtime(in_uint8), images).end_to_end
    assert found.same_class == found.n_images
    assert 0 <= found.differing < 0.02 * found.codes
    assert found.largest < 0.1


# Planted faults.


def with_constant(
    model: onnx.ModelProto, name: str, change: Callable[[Any], Any]
) -> onnx.ModelProto:
    copy = copy_of(model)
    (stored,) = (x for x in copy.graph.initializer if x.name == name)
    array = change(numpy_helper.to_array(stored).copy())
    stored.CopyFrom(numpy_helper.from_array(array.astype(array.dtype), name))
    return copy


def input_of(model: onnx.ModelProto, layer: str, place: int, step_input: int) -> str:
    """The constant behind the DequantizeLinear that a layer reads."""
    producers = {node.output[0]: node for node in model.graph.node}
    (node,) = (x for x in model.graph.node if x.name == layer)
    return str(producers[node.input[place]].input[step_input])


def first_raised(array: Any, by: int) -> Any:
    array.reshape(-1)[0] = int(array.flat[0]) + by
    return array


FAULTS: dict[str, tuple[int, int, Callable[[Any], Any]]] = {
    # Input of the layer (1 weight, 2 bias), input of the DequantizeLinear (0 codes, 1 scales).
    "a scale of a weight": (1, 1, lambda x: x * np.float32(1.1)),
    "a code of a weight": (1, 0, lambda x: first_raised(x, 40 if x.flat[0] < 128 else -40)),
    "a bias": (2, 0, lambda x: first_raised(x, 3000)),
}


@pytest.mark.parametrize("layer", ["conv2d", "conv2d_3", "conv2d_8", "dense"])
@pytest.mark.parametrize("name", FAULTS)
def test_planted_fault_is_refused_by_the_name_of_the_layer(
    name: str, layer: str, in_uint8: onnx.ModelProto, network: Network, few: Any
) -> None:
    place, step_input, change = FAULTS[name]
    model = with_constant(in_uint8, input_of(in_uint8, layer, place, step_input), change)
    found = checked(network, in_onnx_runtime(model), few)
    with pytest.raises(ParityError, match=rf"^{layer} of onnx_uint8 must give what exact"):
        refuse_unexplained("onnx_uint8", found)
    faulty = {row.layer for row in found.tensors.values() if row.unexplained}
    assert faulty == {layer}  # not in the layers behind


@pytest.mark.parametrize("by", [1.01, 0.99])
@pytest.mark.parametrize("layer", ["conv2d_4", "add_1", "average_pooling2d"])
def test_planted_scale_of_an_activation_is_refused_by_the_name_of_the_layer(
    layer: str, by: float, in_uint8: onnx.ModelProto, network: Network, few: Any
) -> None:
    tensor = {"add_1": "activation_4"}.get(layer, layer)
    (step,) = (x for x in in_uint8.graph.node if x.op_type == QUANTIZE and x.input[0] == tensor)
    model = with_constant(in_uint8, step.input[1], lambda x: x * np.float32(by))
    found = checked(network, in_onnx_runtime(model), few)
    with pytest.raises(ParityError, match=rf"^{layer} of onnx_uint8 must give what exact"):
        refuse_unexplained("onnx_uint8", found)


def test_planted_zero_point_is_refused_by_the_name_of_the_layer(
    in_uint8: onnx.ModelProto, network: Network, few: Any
) -> None:
    (step,) = (x for x in in_uint8.graph.node if x.op_type == QUANTIZE and x.input[0] == "conv2d_2")
    model = with_constant(in_uint8, step.input[2], lambda x: x + x.dtype.type(1))
    found = checked(network, in_onnx_runtime(model), few)
    with pytest.raises(ParityError, match="^conv2d_2 of onnx_uint8"):
        refuse_unexplained("onnx_uint8", found)


def test_planted_step_of_a_bias_is_found_where_sums_are_exact(
    in_uint8: onnx.ModelProto, network: Network, few: Any
) -> None:
    """One of 10,000s of steps: far less than a step of the output."""
    name = input_of(in_uint8, "conv2d_1", 2, 0)
    model = with_constant(in_uint8, name, lambda x: x + 1)
    found = checked(network, in_onnx_runtime(model), few)
    assert found.tensors["activation_1"].largest == 1
    with pytest.raises(ParityError, match="^conv2d_1 of onnx_uint8"):
        refuse_unexplained("onnx_uint8", found)


@pytest.mark.parametrize("kind", ["weight", "bias"])
def test_planted_fault_in_a_program_is_refused_by_the_name_of_the_layer(
    kind: str, network: Network, torch_fp32: Any, quantization: Any, few: Any
) -> None:
    layers = dict(quantization.layers)
    weight, bias = layers["conv2d_6"]
    if kind == "bias":
        layers["conv2d_6"] = layers["conv2d_6"]._replace(bias=bias + 0.5)
    else:
        scale = (weight.quantization.scale * 1.1).astype(np.float32)
        parameters = weight.quantization._replace(scale=scale)
        values = parameters.dequantize(weight.quantization.quantize(weight.values))
        layers["conv2d_6"] = layers["conv2d_6"]._replace(
            weight=weight._replace(values=values, quantization=parameters)
        )
    from resnet8.quantize import torch_writer  # noqa: PLC0415

    program = torch_model.export(
        torch_writer.quantize(torch_fp32, quantization._replace(layers=layers))
    )
    found = checked(network, in_torch(program), few)
    with pytest.raises(ParityError, match="^conv2d_6 of torch_int8 must give what exact"):
        refuse_unexplained("torch_int8", found)
