"""Limits of ONNX files, checked before ONNX Runtime computes constants from them."""

import math
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto

from resnet8.core.errors import shown
from resnet8.models.onnx_graph import for_one_image

MAX_FILE_BYTES = 2**28
MAX_ACTIVATION = 2**22  # elements of a tensor for one image
MAX_ACTIVATIONS = 2**26  # elements of all tensors together
_STORED_TYPES = {
    TensorProto.BOOL,
    TensorProto.DOUBLE,
    TensorProto.FLOAT,
    TensorProto.FLOAT16,
    TensorProto.INT8,
    TensorProto.INT32,
    TensorProto.INT64,
    TensorProto.UINT8,
}


class SizeError(ValueError):
    """The size of a tensor, `tensor`, is too large or unknown."""

    def __init__(self, message: str, tensor: str) -> None:
        super().__init__(message)
        self.tensor = tensor


def read(path: Path) -> onnx.ModelProto:
    """Reads a model without external data, subgraphs, foreign operators and non-finite numbers.

    Raises:
        ValueError: the file is too large or has one of these.
    """
    if (size := path.stat().st_size) > MAX_FILE_BYTES:
        raise ValueError(f"{size} bytes, more than {MAX_FILE_BYTES}")
    model = onnx.load(path, load_external_data=False)
    _check_nodes(model)
    _check_numbers(model)
    return model


def _check_nodes(model: onnx.ModelProto) -> None:
    names = Counter(node.name for node in model.graph.node)
    if model.functions:
        raise ValueError("a graph within the graph")
    if model.graph.sparse_initializer:
        raise ValueError("sparse numbers")
    for node in model.graph.node:
        if node.domain not in ("", "ai.onnx"):
            raise ValueError(f"an operator of {shown(node.domain)}")
        if any(x.graphs or x.HasField("g") for x in node.attribute):
            raise ValueError("a graph within the graph")
        if any(x.HasField("sparse_tensor") for x in node.attribute):
            raise ValueError("sparse numbers")
        if names[node.name] > 1 or not node.name or not node.name.isprintable():
            raise ValueError(f"{names[node.name]} nodes of the name {shown(node.name)}")
        if not (any(node.input) and any(node.output)):
            raise ValueError(f"no input or no output of {shown(node.name)}")


def _check_numbers(model: onnx.ModelProto) -> None:
    tensors = list(model.graph.initializer)
    for node in model.graph.node:
        tensors += [x.t for x in node.attribute if x.HasField("t")]
        if not all(math.isfinite(number) for x in node.attribute for number in (x.f, *x.floats)):
            raise ValueError(f"NaN in {shown(node.name)}")
    for tensor in tensors:
        name = shown(tensor.name)
        if tensor.external_data:
            raise ValueError(f"data of {name} in another file")
        if tensor.data_type not in _STORED_TYPES:
            raise ValueError(f"data of type {tensor.data_type} in {name}")
        if not np.isfinite(onnx.numpy_helper.to_array(tensor)).all():
            raise ValueError(f"NaN in {name}")


def check_sizes(model: onnx.ModelProto) -> None:
    """Checks the sizes of all tensors that a model computes from one image.

    Raises:
        SizeError: a tensor is too large, or its size is only known when the model runs.
    """
    copy = for_one_image(model)
    graph = onnx.shape_inference.infer_shapes(copy, strict_mode=True, data_prop=True).graph
    types = {value.name: value.type.tensor_type for value in [*graph.value_info, *graph.output]}
    total = 0
    for tensor in (x for node in graph.node for x in node.output if x):
        dims = types[tensor].shape.dim if tensor in types else []
        lengths = [dim.dim_value if dim.HasField("dim_value") else -1 for dim in dims]
        known = tensor in types and types[tensor].HasField("shape")
        if not known or min(lengths, default=0) < 0:
            message = f"a size of {shown(tensor)} that is only known when it runs"
            raise SizeError(message, tensor)
        total += (size := math.prod(lengths))
        if size > MAX_ACTIVATION or total > MAX_ACTIVATIONS:
            raise SizeError(f"{size} numbers in {shown(tensor)}, {total} so far", tensor)
