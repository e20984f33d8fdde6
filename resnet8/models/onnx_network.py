"""Layers of a float model as a graph, and what the network takes: arithmetic on shapes and types.

Shape letters: C channels, H and W pixels.
"""

import math
from typing import Any, NamedTuple

import onnx

from resnet8.models.onnx_graph import PASSING, Graph, copy_of, infer_shapes, stores_outputs_last

FLOAT_BYTES, CODE_BYTES, BIAS_BYTES = 4, 1, 4  # float32; an 8-bit code; a bias as int32
# Pass-through operators that can write over their input, or only change how it is read.
_IN_PLACE = frozenset(PASSING) - {"Pad"}


class Layer(NamedTuple):
    """A layer as a node of the graph.

    name: of its output, as everywhere in the pipeline.
    operator: of ONNX.
    shape: of its output for one image, (C, H, W) or (K,).
    inputs: the layers, or `input`, whose outputs it reads.
    macs: multiply-accumulates for one image.
    weights, biases: how many it stores.
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
    graph, shapes = Graph(model), _shapes_of_one(model)
    names = {node.output[0]: node.name for node in graph.nodes}
    found = []
    for node in graph.nodes:
        stored = [math.prod(graph.constants[x].shape) for x in node.input if graph.is_constant(x)]
        computes = node.op_type in {"Conv", "ConvTranspose", "Gemm", "MatMul"}
        weights, biases = (*stored, 0, 0)[:2] if computes else (0, 0)
        found.append(
            Layer(
                node.name,
                node.op_type,
                tuple(shapes.get(node.output[0], [1])[1:]),
                tuple(names.get(x, x) for x in node.input if x and not graph.is_constant(x)),
                _macs(node, graph, shapes),
                weights,
                biases,
            )
        )
    return found


def describe(model: onnx.ModelProto) -> dict[str, Any]:
    """Layers and totals of a float model, for a JSON file.

    Returns:
        `layers`, and for one image `macs`; bytes of `weights` and of `activations` at their peak,
        `float32` and `int8`, and the layer `at` which the peak is. In 8 bits biases have 32.
    """
    layers = read_layers(model)
    weights, biases = sum(x.weights for x in layers), sum(x.biases for x in layers)
    peak, at = peak_activations(layers, math.prod(_shapes_of_one(model)[model.graph.input[0].name]))
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
    """The largest number of values that must be in memory at once, and the layer that needs it.

    Layers run one after the other. Values stay until the last layer that reads them has run;
    pass-through operators (ReLU, reshape) write over their input where no other layer reads it.

    Args:
        layers: in the order of computation.
        input_size: values of one input.
    """
    readers = {name: [x.name for x in layers if name in x.inputs] for name in _made_by(layers)}
    buffer: dict[str, str] = {"input": "input"}  # by output, the output that its memory began as
    size, last_use = {"input": input_size}, {"input": -1}
    position = {x.name: i for i, x in enumerate(layers)}
    for layer in layers:
        source = layer.inputs[0] if layer.inputs else ""
        alone = layer.operator in _IN_PLACE and readers.get(source) == [layer.name]
        own = buffer.get(source, layer.name) if alone else layer.name
        buffer[layer.name] = own
        size[own] = max(size.get(own, 0), math.prod(layer.shape))
        uses = [position[x] for x in readers[layer.name]]
        last_use[own] = max([last_use.get(own, -1), position[layer.name], *uses])
    last_use["input"] = max([last_use["input"], *(position[x] for x in readers["input"])])
    began = {"input": -1} | {x: position[x] for x in size if x != "input"}
    in_use = {
        x.name: sum(size[y] for y in size if began[y] <= i <= last_use[y])
        for i, x in enumerate(layers)
    }
    at = max(in_use, key=lambda name: in_use[name])
    return in_use[at], at


def _made_by(layers: list[Layer]) -> list[str]:
    return ["input", *(x.name for x in layers)]


def _macs(node: onnx.NodeProto, graph: Graph, shapes: dict[str, list[int]]) -> int:
    """Multiply-accumulates of a node for one image; 0 where it has none or shapes are unknown."""
    if node.op_type not in {"Conv", "ConvTranspose", "Gemm", "MatMul"}:
        return 0
    outputs, weight = math.prod(shapes.get(node.output[0], [0])), node.input[1]
    if node.op_type in {"Conv", "ConvTranspose"}:
        values = outputs if node.op_type == "Conv" else math.prod(shapes.get(node.input[0], [0]))
        kernel = graph.constants[weight].shape if graph.is_constant(weight) else shapes[weight]
        return values * math.prod(kernel[1:])
    if graph.is_constant(weight):
        shape = graph.constants[weight].shape
        return outputs * int(shape[-2] if stores_outputs_last(node) else shape[-1])
    return outputs * shapes.get(node.input[0], [0])[-1]


def _shapes_of_one(model: onnx.ModelProto) -> dict[str, list[int]]:
    """Shapes of all tensors for one image."""
    copy = copy_of(model)
    for value in copy.graph.input:
        value.type.tensor_type.shape.dim[0].dim_value = 1
    del copy.graph.value_info[:]
    for value in copy.graph.output:
        value.type.tensor_type.ClearField("shape")  # inferred anew
    return infer_shapes(copy)
