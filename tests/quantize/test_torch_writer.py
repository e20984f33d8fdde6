"""PyTorch's quantized model: the ONNX model's quantization, in stock operators."""

from typing import Any

import numpy as np

from resnet8.inspection import onnx_capture, torch_capture
from resnet8.models import torch_model
from resnet8.quantize import onnx_writer, torch_writer
from resnet8.quantize.quantization import Quantization

# Float32 sums in another order: where a sum is as good as half a step, the code is the next one.
# Layers hand that on: 1 of 100,000 codes of the first one, 1 of 60 behind the pool.
SHARE_OF_OTHER_CODES, SHARE_IN_THE_FIRST_LAYER = 0.03, 0.0005
# An addition makes several steps of one of its inputs' step.
SHARE_OF_DISTANT_CODES = 0.01


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


def test_codes_of_every_layer_are_those_of_the_onnx_model(
    torch_int8: Any, onnx_fp32: Any, quantization: Quantization, test_set: Any
) -> None:
    images = test_set[0][:50].astype(np.float32)
    in_onnx = onnx_writer.quantize(onnx_fp32, quantization, quant_type="int8")
    ours, theirs = torch_capture.watch(torch_int8), onnx_capture.watch(in_onnx)
    actual, expected = ours.run(images).outputs, theirs.run(images).outputs
    both = [
        layer
        for layer, point in theirs.points.items()
        if point.quantization and layer in ours.points and ours.points[layer].quantization
    ]
    assert len(both) == 13  # all tensors but the input and what only moves values
    for layer in both:
        difference = np.abs(actual[layer].astype(int) - (expected[layer].astype(int) + 128))
        assert np.mean(difference != 0) <= SHARE_OF_OTHER_CODES, layer
        assert np.mean(difference > 1) <= SHARE_OF_DISTANT_CODES, layer
        if layer == "activation":
            assert np.mean(difference != 0) <= SHARE_IN_THE_FIRST_LAYER


def test_quantize_gives_the_same_bytes_twice_and_leaves_the_float_program_alone(
    torch_fp32: Any, torch_int8: Any, quantization: Quantization
) -> None:
    before = torch_model.encode(torch_fp32)
    again = torch_model.export(torch_writer.quantize(torch_fp32, quantization))
    assert torch_model.encode(again) == torch_model.encode(torch_int8)
    assert torch_model.encode(torch_fp32) == before
