"""Layers with weights in a float ONNX model.

Shape letters: O outputs and I inputs of a layer, h x w pixels of a kernel.
"""

from typing import Any, NamedTuple

import numpy as np
import onnx
from numpy.typing import NDArray

from resnet8.models.onnx_graph import Graph, attributes, stores_outputs_last

Array = NDArray[np.float32]


class Layer(NamedTuple):
    """A convolution or a dense layer, named like its node.

    kind: operator type: `Conv`, `Gemm` or `MatMul`.
    input: tensor that is multiplied with the weights.
    weight: (O, I / groups, h, w) or (O, I).
    bias: (O,), or None.
    groups: groups of a convolution; 1 for dense layers.
    """

    name: str
    kind: str
    input: str
    output: str
    weight: Array
    bias: Array | None
    groups: int
    attributes: dict[str, Any]

    @property
    def matrix(self) -> NDArray[np.float64]:
        """The weights of each output in a row, in double precision."""
        return self.weight.reshape(len(self.weight), -1).astype(np.float64)


def read_layers(model: onnx.ModelProto) -> list[Layer]:
    """Returns the layers whose weights can be rounded to 8 bits, in order of computation.

    Left out are nodes with computed weights or biases, and a Gemm that scales its product or
    transposes its input.
    """
    graph = Graph(model)
    constants = graph.constants
    layers = []
    for node in graph.nodes:
        if node.op_type not in ("Conv", "Gemm", "MatMul") or node.input[1] not in constants:
            continue
        options = attributes(node)
        is_scaled = options.get("alpha", 1.0) != 1.0 or options.get("beta", 1.0) != 1.0
        bias = node.input[2] if len(node.input) > 2 else ""
        if is_scaled or options.get("transA", 0) or (bias and bias not in constants):
            continue
        weight = constants[node.input[1]]
        n_dimensions = 4 if node.op_type == "Conv" else 2
        if weight.dtype != np.float32 or weight.ndim != n_dimensions:
            continue
        layers.append(
            Layer(
                node.name,
                node.op_type,
                node.input[0],
                node.output[0],
                np.ascontiguousarray(weight.T) if stores_outputs_last(node) else weight,
                constants.get(bias),
                int(options.get("group", 1)),
                options,
            )
        )
    return layers
