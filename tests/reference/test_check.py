"""Codes of the sample's quantized models compared with exact arithmetic, and planted faults."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import numpy_helper

from resnet8.core.errors import ParityError
from resnet8.core.variants import QUANTIZED_VARIANTS, Variant
from resnet8.inspection.watch import load_variants
from resnet8.models import torch_model
from resnet8.models.onnx_graph import QUANTIZE, copy_of
from resnet8.quantize import torch_writer
from resnet8.quantize.quantization import LayerParameters
from resnet8.reference.check import Runtime, check, open_runtime
from resnet8.reference.network import Network
from resnet8.reference.results import Checked, refuse_unexplained

N_IMAGES = 30  # more than a batch
OUTPUT, WEIGHT, BIAS = 0, 1, 2
CODES, SCALE, ZERO_POINT = 0, 1, 2


@pytest.fixture(scope="module")
def images(test_set: Any) -> Any:
    return test_set[0][:N_IMAGES]


@pytest.fixture(scope="module")
def network(onnx_fp32: Any, quantization: Any) -> Network:
    return Network(onnx_fp32, quantization)


def checked(network: Network, runtime: Runtime, images: Any) -> Checked:
    return check(network, {"model": runtime}, images)["model"]


@pytest.mark.parametrize("variant", QUANTIZED_VARIANTS)
def test_codes_of_runtimes_are_those_of_exact_arithmetic(
    variant: Variant, models_folder: Path, network: Network, images: Any
) -> None:
    models = load_variants([variant], models_folder, raw=models_folder, n_classes=10)
    runtime = open_runtime(models[variant])
    result = checked(network, runtime, images)
    rows = list(result.tensors.values())
    assert sum(row.in_codes for row in rows) == (13 if variant.runtime == "torch" else 15)
    if runtime.saturates:
        return
    assert [row.tensor for row in rows if row.unexplained] == []
    assert {row.layer for row in rows} >= {"conv2d", "conv2d_8", "add_2", "dense"}
    assert all(row.farthest <= row.bound for row in rows)
    assert max(row.largest for row in rows) <= 1  # a code, or an error bound
    (conv,) = (row for row in rows if row.layer == "conv2d")
    assert conv.compared % (N_IMAGES * 32 * 32) == 0
    end_to_end = result.end_to_end
    assert end_to_end.same_class == end_to_end.n_images == N_IMAGES
    assert 0 <= end_to_end.differing < 0.02 * end_to_end.codes
    assert end_to_end.largest < 0.1


def test_exact_sums_have_far_smaller_error_bounds(
    onnx_models: dict[str, Any], network: Network, images: Any
) -> None:
    runtime = open_runtime(onnx_models["uint8"])
    assert {"activation", "conv2d_2", "dense"} <= runtime.exact_sums
    assert not {"add", "activation_2", "average_pooling2d"} & runtime.exact_sums
    codes: dict[str, Any] = {"images": images[:2]} | network.run(images[:2])
    (step,) = (x for x in network.steps if x.tensor == "conv2d_2")
    values = network.compute(step, codes)
    floats, integers = (network.bound_errors(step, codes, exact=x) for x in (None, values))
    assert (integers["conv2d_2"] <= floats["conv2d_2"]).all()
    assert integers["conv2d_2"].mean() < floats["conv2d_2"].mean() / 5


def change_first(by: int) -> Callable[[Any], Any]:
    """Changes the first code by some steps, away from the nearer end of the type."""

    def change(array: Any) -> Any:
        first = int(array.flat[0])
        array.flat[0] = first + by if first < 128 else first - by
        return array

    return change


# By layer, constant (the number of the node's input and of the input of its DequantizeLinear), and
# change of the stored array. Input 0 stands for the QuantizeLinear of the node's output.
FAULTS: list[tuple[str, int, int, Callable[[Any], Any]]] = [
    ("conv2d", WEIGHT, SCALE, lambda x: x * np.float32(1.1)),
    ("dense", WEIGHT, SCALE, lambda x: x * np.float32(1.1)),
    ("conv2d_3", WEIGHT, CODES, change_first(40)),
    ("dense", WEIGHT, CODES, change_first(40)),
    ("conv2d_8", BIAS, CODES, lambda x: x + (np.arange(len(x)) == 0) * np.int32(3000)),
    ("conv2d_1", BIAS, CODES, lambda x: x + 1),  # far less than a step of the output
    ("conv2d_4", OUTPUT, SCALE, lambda x: x * np.float32(1.01)),
    ("add_1", OUTPUT, SCALE, lambda x: x * np.float32(0.99)),
    ("average_pooling2d", OUTPUT, SCALE, lambda x: x * np.float32(1.01)),
    ("conv2d_2", OUTPUT, ZERO_POINT, lambda x: x + x.dtype.type(1)),
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda x: "-".join(map(str, x[:3])))
def test_planted_fault_is_refused_by_the_name_of_the_layer(
    fault: Any, onnx_models: dict[str, Any], network: Network, images: Any
) -> None:
    layer, kind, part, change = fault
    model = copy_of(onnx_models["uint8"])
    (node,) = (x for x in model.graph.node if x.name == layer)
    if kind == OUTPUT:
        tensor = {"add_1": "activation_4"}.get(layer, layer)
        (step,) = (x for x in model.graph.node if x.op_type == QUANTIZE and x.input[0] == tensor)
    else:
        (step,) = (x for x in model.graph.node if x.output[0] == node.input[kind])
    (stored,) = (x for x in model.graph.initializer if x.name == step.input[part])
    before = numpy_helper.to_array(stored)
    changed = change(before.copy()).astype(before.dtype)
    stored.CopyFrom(numpy_helper.from_array(changed, stored.name))
    result = checked(network, open_runtime(model), images[:5])
    with pytest.raises(ParityError, match=rf"^{layer} of onnx_uint8 must give what exact"):
        refuse_unexplained("onnx_uint8", result)
    if kind != OUTPUT:  # other layers are compared for their own inputs
        assert {row.layer for row in result.tensors.values() if row.unexplained} == {layer}


def test_planted_fault_in_a_program_is_refused_by_the_name_of_the_layer(
    network: Network, torch_fp32: Any, quantization: Any, images: Any
) -> None:
    weight, bias = quantization.layers["conv2d_6"]
    layers = {**quantization.layers, "conv2d_6": LayerParameters(weight, bias + 0.5)}
    changed = torch_writer.quantize(torch_fp32, quantization._replace(layers=layers))
    result = checked(network, open_runtime(torch_model.export(changed)), images[:5])
    with pytest.raises(ParityError, match="^conv2d_6 of torch_int8 must give what exact"):
        refuse_unexplained("torch_int8", result)
