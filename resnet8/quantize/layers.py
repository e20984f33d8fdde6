"""The layers with weights of a float ONNX model.

Shape letters: O outputs and I inputs of a layer, h x w pixels of a kernel, C channels.
"""

from typing import Any, NamedTuple

import numpy as np
import onnx
from numpy.typing import NDArray

from resnet8.models.onnx_graph import Graph, attributes, stores_outputs_last

Array = NDArray[np.float32]


class Layer(NamedTuple):
    """A convolution or a dense layer.

    name: of the node.
    kind: its operator.
    input: the tensor that it multiplies with its weights.
    output: its tensor.
    weight: (O, I / groups, h, w) or (O, I).
    bias: (O,), None where it has none.
    groups: as of the Conv operator; 1 for dense layers.
    attributes: of the node.
    outputs_axis: of the weight as the node stores it.
    """

    name: str
    kind: str
    input: str
    output: str
    weight: Array
    bias: Array | None
    groups: int
    attributes: dict[str, Any]
    outputs_axis: int


def read_layers(model: onnx.ModelProto) -> list[Layer]:
    """The layers with constant weights that can be rounded to 8 bits, in order."""
    graph = Graph(model)
    constants = graph.constants
    found = []
    for node in graph.nodes:
        dense = node.op_type in ("Gemm", "MatMul")
        if node.op_type not in ("Conv", "Gemm", "MatMul") or node.input[1] not in constants:
            continue
        options = attributes(node)
        weight = constants[node.input[1]]
        plain = options.get("alpha", 1.0) == options.get("beta", 1.0) == 1.0
        plain = plain and not options.get("transA", 0) and {*node.input[2:]} <= {*constants, ""}
        if weight.dtype != np.float32 or not plain or weight.ndim != (2 if dense else 4):
            continue
        bias = constants.get(node.input[2]) if len(node.input) > 2 else None
        outputs_last = stores_outputs_last(node)
        found.append(
            Layer(
                node.name,
                node.op_type,
                node.input[0],
                node.output[0],
                np.ascontiguousarray(weight.T) if outputs_last else weight,
                bias,
                int(options.get("group", 1)),
                options,
                int(outputs_last),
            )
        )
    return found
