"""Layers of a float model as a graph, and their cost: arithmetic on shapes and types.

Shape letters: C channels, H and W pixels.
"""

import math
from typing import Any, NamedTuple

import onnx

from resnet8.core.names import INPUT
from resnet8.models.onnx_graph import PASSING, Graph, for_one_image, infer_shapes

FLOAT_BYTES, CODE_BYTES, BIAS_BYTES = 4, 1, 4  # float32; an 8-bit code; a bias as int32
_PRODUCTS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
# Pass-through operators that can overwrite their input.
_IN_PLACE = frozenset(PASSING) - {"Pad"}


class Layer(NamedTuple):
    """A layer as a node of the graph.

    name: of its node.
    operator: of ONNX.
    shape: of its output for one image, (C, H, W) or (K,).
    inputs: the layers, or `input`, whose outputs it reads.
    macs: multiply-accumulates for one image.
    weights, biases: how many are stored.
    """

    name: str
    operator: str
    shape: tuple[int, ...]
    inputs: tuple[str, ...]
    macs: int
    weights: int
    biases: int


def read_layers(model: onnx.ModelProto) -> list[Layer]:
    """The layers in the order of computation."""
    graph, shapes = Graph(model), infer_shapes(for_one_image(model))
    shapes |= {name: list(array.shape) for name, array in graph.constants.items()}
    names = {node.output[0]: node.name for node in graph.nodes}
    layers = []
    for node in graph.nodes:
        stored = [math.prod(shapes[x]) for x in node.input if graph.is_constant(x)]
        weights = biases = 0
        if node.op_type in _PRODUCTS and stored:
            weights = stored[0]
            biases = stored[1] if len(stored) > 1 else 0
        shape = tuple(shapes[node.output[0]][1:])
        inputs = tuple(names.get(x, x) for x in node.input if x and not graph.is_constant(x))
        macs = _macs(node, shapes)
        layers.append(Layer(node.name, node.op_type, shape, inputs, macs, weights, biases))
    return layers


def _macs(node: onnx.NodeProto, shapes: dict[str, list[int]]) -> int:
    """Multiply-accumulates of a node for one image."""
    if node.op_type not in _PRODUCTS:
        return 0
    source, weight, output = (shapes[x] for x in (*node.input[:2], node.output[0]))
    if node.op_type in ("Gemm", "MatMul"):
        return math.prod(output) * source[-1]
    return math.prod(output if node.op_type == "Conv" else source) * math.prod(weight[1:])


def describe(model: onnx.ModelProto) -> dict[str, Any]:
    """Layers and totals of a float model for one image; in `int8`, biases have 32 bits."""
    layers = read_layers(model)
    weights, biases = sum(x.weights for x in layers), sum(x.biases for x in layers)
    image = model.graph.input[0].type.tensor_type.shape.dim[1:]
    peak, at = peak_activations(layers, math.prod(dim.dim_value for dim in image))
    return {
        "layers": [x._asdict() for x in layers],
        "macs": sum(x.macs for x in layers),
        "n_parameters": weights + biases,
        "weight_bytes": {
            "float32": FLOAT_BYTES * (weights + biases),
            "int8": CODE_BYTES * weights + BIAS_BYTES * biases,
        },
        "peak_activation_bytes": {
            "float32": FLOAT_BYTES * peak, "int8": CODE_BYTES * peak, "at": at,
        },
    }  # fmt: skip


def peak_activations(layers: list[Layer], input_size: int) -> tuple[int, str]:
    """Returns the peak number of values in memory, and the layer where it occurs.

    Layers run one after the other. A buffer is kept until the last layer that reads it has run;
    pass-through operators (ReLU, reshape) overwrite their input if no other layer reads it.
    """
    readers = {
        name: [i for i, layer in enumerate(layers) if name in layer.inputs]
        for name in (INPUT, *(layer.name for layer in layers))
    }
    # Size, first and last layer of each buffer, by the last output in it.
    buffers = {INPUT: (input_size, -1, max(readers[INPUT], default=-1))}
    for i, layer in enumerate(layers):
        size, first = math.prod(layer.shape), i
        source = next(iter(layer.inputs), "")
        if layer.operator in _IN_PLACE and readers.get(source) == [i]:
            overwritten, first, _ = buffers.pop(source)
            size = max(size, overwritten)
        buffers[layer.name] = size, first, max([i, *readers[layer.name]])
    in_use = [
        sum(size for size, first, last in buffers.values() if first <= i <= last)
        for i in range(len(layers))
    ]
    peak = max(in_use)
    return peak, layers[in_use.index(peak)].name
