"""A quantized network in exact arithmetic, split into steps between quantized tensors.

Codes are uint8, as in `Quantization.activations`, whatever type a runtime uses.
Shape letters: N images, H = W = 32 pixels, C = 3 channels, K classes.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import onnx
from numpy.typing import NDArray

from resnet8.core.names import INPUT
from resnet8.core.qparams import QuantizationParameters
from resnet8.models.onnx_graph import PASSING, Graph, stores_outputs_last, with_parameters
from resnet8.models.onnx_model import OUTPUT
from resnet8.quantize.layers import Layer, read_layers
from resnet8.quantize.quantization import Quantization
from resnet8.reference.operators import (
    DEQUANTIZING,
    QUANTIZING,
    SCALING_A_SUM,
    Bound,
    UnknownOperatorError,
    Values,
    bound,
    evaluate,
    sum_products,
)

IMAGES = "images"  # the key of the model's input among codes
Codes = Mapping[str, NDArray[Any]]  # by tensor


class Step(NamedTuple):
    """The operators from quantized tensors to the next quantized tensor, or the model's output.

    tensor: the result.
    layer: name for messages: the layer with weights, else the last operator that computes.
    nodes: in the order of computation; empty if the tensor is the model's input.
    """

    tensor: str
    layer: str
    nodes: tuple[onnx.NodeProto, ...]


class Integers(NamedTuple):
    """Integers that an 8-bit layer adds up: products of input and weight steps, and a bias.

    codes: of the weight, outputs first.
    weight: quantization parameters of these codes.
    scale: () or (O,) float64, of the sums: input scale times weight scale, exact in 48 bits.
    bias: (O,) float64, integers in steps of this scale; None if the layer has no bias.
    """

    codes: NDArray[np.int8]
    weight: QuantizationParameters
    scale: NDArray[np.float64]
    bias: NDArray[np.float64] | None


class Network:
    """A float model with quantization parameters.

    steps: in the order of computation; the last one computes the model's output in float.
    layers: with weights, by node.
    constants: of the model by name, floats as float64.
    """

    def __init__(self, model: onnx.ModelProto, quantization: Quantization) -> None:
        quantized = with_parameters(model, quantization.parameters)
        self.activations = quantization.activations
        self._opset = next(x.version for x in model.opset_import if not x.domain)
        self.constants = {
            name: x.astype(np.float64) if x.dtype == np.float32 else x
            for name, x in Graph(quantized).constants.items()
        }
        self.layers = {x.name: x for x in read_layers(quantized)}
        self._quantization = quantization
        self._codes = quantization.codes
        self.steps = [self._step(Graph(quantized), tensor) for tensor in self._targets(quantized)]

    def _targets(self, model: onnx.ModelProto) -> list[str]:
        computed = [INPUT, *(tensor for node in model.graph.node for tensor in node.output)]
        return [tensor for tensor in computed if tensor in self.activations or tensor == OUTPUT]

    def _step(self, graph: Graph, tensor: str) -> Step:
        needed: list[onnx.NodeProto] = []
        wanted = {tensor}
        for node in reversed(graph.nodes):
            if wanted.intersection(node.output):
                needed.append(node)
                wanted.update(x for x in node.input if x not in self.activations)
        with_weights = [node.name for node in needed if node.name in self.layers]
        computing = [node.name for node in needed if node.op_type not in PASSING]
        named = [*with_weights, *computing, *(node.name for node in needed), tensor]
        return Step(tensor, named[0], tuple(reversed(needed)))

    def run(self, images: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
        """Computes the codes of all tensors and the probabilities for images (N, H, W, C)."""
        codes: dict[str, NDArray[Any]] = {IMAGES: images}
        for step in self.steps:
            values = self.compute(step, codes)[step.tensor]
            is_quantized = step.tensor in self.activations
            codes[step.tensor] = self.quantize(step.tensor, values) if is_quantized else values
        return codes

    def compute(self, step: Step, codes: Codes) -> dict[str, Values]:
        """Computes the tensors of a step in float64.

        Args:
            step: one of `steps`.
            codes: of the tensors that it reads; the images as `IMAGES`.

        Returns:
            Values by tensor, including the tensors that it reads.
        """
        values: dict[str, Values] = {}
        for node in step.nodes:
            layer = self.layers.get(node.name)
            if layer is not None and self.is_in_codes(layer):
                values[node.output[0]] = self._sum_products(node, layer, codes[layer.input])
                continue
            for tensor in node.input:
                if tensor in self.activations and tensor not in values:
                    values[tensor] = _dequantize(self.activations[tensor], codes[tensor])
                elif tensor == INPUT:  # that is not quantized
                    values[tensor] = codes[IMAGES].astype(np.float64)
            values[node.output[0]] = self.apply(node, values)
        return values or {step.tensor: codes[IMAGES].astype(np.float64)}

    def apply(self, node: onnx.NodeProto, values: Mapping[str, Values]) -> Values:
        """Computes a node in float64 from its inputs that are not constants."""
        inputs = {x: values[x] if x in values else self.constants[x] for x in node.input if x}
        return evaluate(node, inputs, opset=self._opset)

    def is_in_codes(self, layer: Layer) -> bool:
        """True if a layer multiplies 8-bit values with 8-bit weights."""
        return layer.name in self._codes and layer.input in self.activations

    def integers(self, layer: Layer) -> Integers:
        """Returns the integers of an 8-bit layer."""
        weight = self._quantization.weights[layer.name]
        scale = self.activations[layer.input].scale.astype(np.float64) * weight.scale
        bias = None if layer.bias is None else np.rint(layer.bias / scale)
        return Integers(self._codes[layer.name], weight, scale, bias)

    def _sum_products(self, node: onnx.NodeProto, layer: Layer, codes: NDArray[Any]) -> Values:
        """Returns the output of an 8-bit layer: integers times both scales."""
        integers = self.integers(layer)
        steps = integers.codes.astype(np.float64) - _along(
            integers.weight.zero_point, layer.weight.ndim, 0
        )
        inputs = {
            node.input[0]: codes.astype(np.float64) - self.activations[layer.input].zero_point,
            node.input[1]: steps.T if stores_outputs_last(node) else steps,
        }
        products = onnx.NodeProto()
        products.CopyFrom(node)
        del products.input[2:]
        sums = sum_products(products, inputs, opset=self._opset)
        axis = 1 if layer.kind == "Conv" else sums.ndim - 1
        if integers.bias is not None:
            sums += _along(integers.bias, sums.ndim, axis)
        return np.asarray(sums * _along(integers.scale, sums.ndim, axis))

    def quantize(self, tensor: str, values: Values) -> NDArray[np.int64]:
        """Rounds the exact values of a tensor, half to even.

        Source: https://onnx.ai/onnx/operators/onnx__QuantizeLinear.html
        """
        parameters = self.activations[tensor]
        steps = np.rint(values / parameters.scale.astype(np.float64))
        lowest, highest = parameters.codes[[0, -1]]
        codes = np.clip(steps + parameters.zero_point, lowest, highest)
        return np.asarray(codes.astype(np.int64))

    def bound_errors(
        self, step: Step, codes: Codes, *, exact: Mapping[str, Values] | None = None
    ) -> dict[str, Values]:
        """Bounds the float32 error of the tensors that a step computes.

        Bounds hold for kernels that dequantize first, and for kernels that add codes and subtract
        zero points from the sum.

        Args:
            step: one of `steps`.
            codes: of the tensors that it reads; the images as `IMAGES`.
            exact: values returned by `compute`, if the runtime adds 8-bit products exactly.

        Returns:
            By tensor, in steps if it has codes; up to the first operator without a known bound.
        """
        bounds: dict[str, Bound] = {}
        if not step.nodes:
            bounds[step.tensor] = Bound(codes[IMAGES].astype(np.float64), 0)
        for node in step.nodes:
            layer, output = self.layers.get(node.name), node.output[0]
            if exact is not None and layer is not None and self.is_in_codes(layer):
                bounds[output] = Bound(np.abs(exact[output]), SCALING_A_SUM)
                continue
            for tensor in node.input:
                if tensor in self.activations and tensor not in bounds:
                    parameters = self.activations[tensor]
                    magnitude = codes[tensor].astype(np.float64) + int(parameters.zero_point)
                    bounds[tensor] = Bound(magnitude * float(parameters.scale), DEQUANTIZING)
                elif tensor == INPUT:
                    bounds[tensor] = Bound(codes[IMAGES].astype(np.float64), 0)
            try:
                bounds[output] = bound(node, bounds, self.constants, opset=self._opset)
            except UnknownOperatorError:
                break
        errors = {name: x.error for name, x in bounds.items()}
        if step.tensor in self.activations and step.tensor in bounds:
            parameters = self.activations[step.tensor]
            magnitude, roundings = bounds[step.tensor]
            in_steps = magnitude / float(parameters.scale) + float(parameters.zero_point)
            errors[step.tensor] = Bound(in_steps, roundings + QUANTIZING).error
        return errors


def _dequantize(parameters: QuantizationParameters, codes: NDArray[Any]) -> Values:
    """Returns the exact values of codes."""
    steps = codes.astype(np.float64) - int(parameters.zero_point)
    return np.asarray(steps * float(parameters.scale))


def _along(numbers: NDArray[Any], ndim: int, axis: int) -> NDArray[Any]:
    """Reshapes one number, or one for each channel, to broadcast along an axis."""
    return numbers.reshape([-1 if x == axis else 1 for x in range(ndim)])
