"""A quantized network in exact arithmetic, split into steps between quantized tensors.

Codes are uint8, as in `Quantization.activations`, whatever type a runtime uses.
Shape letters: N images, H = W = 32 pixels, C = 3 channels, O outputs of a layer, K classes.
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
from resnet8.quantize.layers import read_layers
from resnet8.quantize.quantization import Quantization
from resnet8.reference import operators
from resnet8.reference.operators import Bound, Values

IMAGES = "images"  # the key of the model's input among codes
PIXELS = QuantizationParameters.per_tensor(1.0, 0)  # of the codes of images
Codes = Mapping[str, NDArray[Any]]  # by tensor, the images as `IMAGES`


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
    scale: (O,) float64, of the sums: input scale times weight scale, exact in 48 bits.
    bias: (O,) float64, integers in steps of this scale.
    """

    codes: NDArray[np.int8]
    weight: QuantizationParameters
    scale: NDArray[np.float64]
    bias: NDArray[np.float64]


class Network:
    """A float model with quantization parameters.

    activations: quantization parameters by tensor.
    constants: of the model by name, floats as float64.
    layers: with weights, by node; `integers` those that multiply 8-bit values with 8-bit weights.
    steps: in the order of computation; the last one computes the model's output in float.
    """

    def __init__(self, model: onnx.ModelProto, quantization: Quantization) -> None:
        quantized = with_parameters(model, quantization.parameters)
        graph = Graph(quantized)
        self.activations = quantization.activations
        self.constants = {
            name: x.astype(np.float64) if x.dtype == np.float32 else x
            for name, x in graph.constants.items()
        }
        self.layers = {x.name: x for x in read_layers(quantized)}
        self.integers: dict[str, Integers] = {}
        for name, codes in quantization.codes.items():
            layer, weight = self.layers.get(name), quantization.weights[name]
            if layer and layer.input in self.activations:
                scale = self.activations[layer.input].scale.astype(np.float64) * weight.scale
                scale = np.broadcast_to(scale, len(codes))
                bias = np.zeros(len(codes)) if layer.bias is None else np.rint(layer.bias / scale)
                self.integers[name] = Integers(codes, weight, scale, bias)
        self._opset = next(x.version for x in model.opset_import if not x.domain)
        # Keys among codes, and parameters, of the tensors that nodes dequantize.
        self._sources = {INPUT: (IMAGES, PIXELS)} | {x: (x, y) for x, y in self.activations.items()}
        computed = [INPUT, *(tensor for node in graph.nodes for tensor in node.output)]
        targets = (x for x in computed if x in self.activations or x == OUTPUT)
        self.steps = [self._read_step(graph, tensor) for tensor in targets]

    def _read_step(self, graph: Graph, tensor: str) -> Step:
        """Collects the nodes that compute a tensor from quantized tensors."""
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
            parameters = self.activations.get(step.tensor)
            codes[step.tensor] = parameters.quantize(values) if parameters else values
        return codes

    def compute(self, step: Step, codes: Codes) -> dict[str, Values]:
        """Computes in float64 the tensors that a step reads and returns, given codes by tensor."""
        if not step.nodes:
            return {step.tensor: codes[IMAGES].astype(np.float64)}
        values: dict[str, Values] = {}
        for node in step.nodes:
            if node.name in self.integers:
                values[node.output[0]] = self._sum_products(node, codes)
                continue
            for tensor in {*node.input} & (self._sources.keys() - values.keys()):
                key, parameters = self._sources[tensor]
                steps = codes[key].astype(np.float64) - int(parameters.zero_point)
                values[tensor] = steps * float(parameters.scale)
            values[node.output[0]] = self.apply(node, values)
        return values

    def apply(self, node: onnx.NodeProto, values: Mapping[str, Values]) -> Values:
        """Computes a node in float64 from its inputs that are not constants."""
        inputs = {x: values[x] if x in values else self.constants[x] for x in node.input if x}
        return operators.evaluate(node, inputs, opset=self._opset)

    def _sum_products(self, node: onnx.NodeProto, codes: Codes) -> Values:
        """Returns the output of an 8-bit layer: integers times both scales."""
        weights, parameters, scale, bias = self.integers[node.name]
        layer = self.layers[node.name]
        zero_point = self.activations[layer.input].zero_point
        steps = (weights.T - parameters.zero_point).T.astype(np.float64)  # outputs first
        inputs = {
            node.input[0]: codes[layer.input].astype(np.float64) - zero_point,
            node.input[1]: steps.T if stores_outputs_last(node) else steps,
        }
        products = onnx.NodeProto()
        products.CopyFrom(node)
        del products.input[2:]
        sums = operators.sum_products(products, inputs, opset=self._opset)
        by_output = (-1, 1, 1) if layer.kind == "Conv" else (-1,)
        return np.asarray((sums + bias.reshape(by_output)) * scale.reshape(by_output))

    def bound_errors(
        self, step: Step, codes: Codes, *, exact: Mapping[str, Values] | None = None
    ) -> dict[str, Values]:
        """Bounds the float32 error of the tensors that a step computes, in steps if it has codes.

        Bounds hold for kernels that dequantize first, and for kernels that add codes and subtract
        zero points from the sum. Given `exact`, the values that `compute` returned, they hold for
        kernels that add 8-bit products exactly. They end at the first operator without a known
        bound.
        """
        pixels = Bound(codes[IMAGES].astype(np.float64), 0)
        bounds = {} if step.nodes else {step.tensor: pixels}
        for node in step.nodes:
            output = node.output[0]
            if exact is not None and node.name in self.integers:
                bounds[output] = Bound(np.abs(exact[output]), operators.SCALING_A_SUM)
                continue
            for tensor in {*node.input} & (self._sources.keys() - bounds.keys()):
                key, parameters = self._sources[tensor]
                magnitude = codes[key].astype(np.float64) + int(parameters.zero_point)
                roundings = 0 if key == IMAGES else operators.DEQUANTIZING
                bounds[tensor] = Bound(magnitude * float(parameters.scale), roundings)
            try:
                bounds[output] = operators.bound(node, bounds, self.constants, opset=self._opset)
            except operators.UnknownOperatorError:
                break
        if step.tensor in self.activations and step.tensor in bounds:
            parameters = self.activations[step.tensor]
            magnitude, roundings = bounds[step.tensor]
            in_steps = magnitude / float(parameters.scale) + float(parameters.zero_point)
            bounds[step.tensor] = Bound(in_steps, roundings + operators.QUANTIZING)
        return {name: x.error for name, x in bounds.items()}
