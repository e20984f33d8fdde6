"""PyTorch's quantized model: the ONNX model's quantization, in stock operators.

tests/reference/test_check.py compares its codes with exact arithmetic.
"""

from typing import Any

from resnet8.models import torch_model
from resnet8.quantize import torch_writer
from resnet8.quantize.quantization import Quantization


def test_quantize_stores_the_given_parameters_and_nothing_else(
    torch_int8: Any, torch_fp32: Any, quantization: Quantization
) -> None:
    torch_writer.check(torch_int8, torch_fp32, quantization)
    tensors = [*torch_int8.state_dict.values(), *torch_int8.constants.values()]
    stored = [x.detach().numpy().tobytes() for x in tensors if x.dim()]
    layers = quantization.layers.values()
    floats = [x for layer in layers for x in (layer.bias, layer.weight.quantization.scale)]
    expected = [x.tobytes() for x in (*quantization.codes.values(), *floats)]
    assert sorted(stored) == sorted(expected)


def test_quantize_gives_the_same_bytes_twice_and_leaves_the_float_program_alone(
    torch_fp32: Any, torch_int8: Any, quantization: Quantization
) -> None:
    graph = str(torch_fp32.graph)
    tensors = {name: x.clone() for name, x in torch_fp32.state_dict.items()}
    again = torch_model.export(torch_writer.quantize(torch_fp32, quantization))
    assert torch_model.encode(again) == torch_model.encode(torch_int8)
    assert str(torch_fp32.graph) == graph
    assert all(x.equal(tensors[name]) for name, x in torch_fp32.state_dict.items())
