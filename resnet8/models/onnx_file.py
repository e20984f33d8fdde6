"""Limits of ONNX files, to be checked before ONNX Runtime computes constants from them."""

import math
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto

from resnet8.core.errors import shown
from resnet8.models.onnx_graph import copy_of

MAX_FILE_BYTES = 2**28
MAX_ACTIVATION = 2**22  # numbers in any tensor for one image
MAX_ACTIVATIONS = 2**26  # in all tensors together
_TYPES = {  # of stored numbers
    TensorProto.BOOL,
    TensorProto.DOUBLE,
    TensorProto.FLOAT,
    TensorProto.FLOAT16,
    TensorProto.INT8,
    TensorProto.INT32,
    TensorProto.INT64,
    TensorProto.UINT8,
}


def read(path: Path) -> onnx.ModelProto:
    """Reads a model and checks all but what it computes.

    Raises:
        ValueError: it is too large or would read other files, run without end, or make something
            out of nothing; or a number in it is none.
    """
    if (size := path.stat().st_size) > MAX_FILE_BYTES:
        raise ValueError(f"{size} bytes, more than {MAX_FILE_BYTES}")
    model = onnx.load(path, load_external_data=False)
    _check_nodes(model)
    _check_numbers(model)
    return model


def _check_nodes(model: onnx.ModelProto) -> None:
    nodes = model.graph.node
    domains = {node.domain for node in nodes} - {"", "ai.onnx"}
    faults = [f"an operator of {shown(domain)}" for domain in sorted(domains)]
    attributes = [attribute for node in nodes for attribute in node.attribute]
    if model.functions or any(x.graphs or x.HasField("g") for x in attributes):
        faults.append("a graph within the graph")
    if model.graph.sparse_initializer or any(x.HasField("sparse_tensor") for x in attributes):
        faults.append("sparse numbers")
    for name, count in Counter(node.name for node in nodes).items():
        if count > 1 or not name or not name.isprintable():
            faults.append(f"{count} nodes of the name {shown(name)}")
    if faults:
        raise ValueError(faults[0])


def _check_numbers(model: onnx.ModelProto) -> None:
    attributes = [attribute for node in model.graph.node for attribute in node.attribute]
    tensors = [*model.graph.initializer, *(x.t for x in attributes if x.HasField("t"))]
    for tensor in tensors:
        name = shown(tensor.name)
        if tensor.external_data:
            raise ValueError(f"data of {name} in another file")
        if tensor.data_type not in _TYPES:
            raise ValueError(f"data of type {tensor.data_type} in {name}")
        if not np.isfinite(onnx.numpy_helper.to_array(tensor)).all():
            raise ValueError(f"NaN in {name}")
    for node in model.graph.node:
        if not all(math.isfinite(number) for x in node.attribute for number in (x.f, *x.floats)):
            raise ValueError(f"NaN in {shown(node.name)}")
        if not (any(node.input) and any(node.output)):
            raise ValueError(f"no input or no output of {shown(node.name)}")


class SizeError(ValueError):
    """A tensor is too large, or nobody knows how large.

    tensor: its name.
    """

    def __init__(self, message: str, tensor: str) -> None:
        super().__init__(message)
        self.tensor = tensor


def check_sizes(model: onnx.ModelProto) -> None:
    """Checks the sizes of all tensors that a checked model computes from one image.

    Raises:
        SizeError: one is too large, or is only known when the model runs.
    """
    copy = copy_of(model)
    del copy.graph.value_info[:]  # as the file says
    for value in copy.graph.output:
        value.type.tensor_type.ClearField("shape")
    for value in copy.graph.input:
        for batch in value.type.tensor_type.shape.dim[:1]:
            batch.dim_value = 1
    graph = onnx.shape_inference.infer_shapes(copy, strict_mode=True, data_prop=True).graph
    found = {value.name: value.type.tensor_type for value in [*graph.value_info, *graph.output]}
    total = 0
    for tensor in (x for node in graph.node for x in node.output if x):
        kind = found.get(tensor, onnx.TypeProto.Tensor())
        lengths = [dim.dim_value if dim.HasField("dim_value") else -1 for dim in kind.shape.dim]
        if not kind.HasField("shape") or min(lengths, default=0) < 0:
            reason = f"a size of {shown(tensor)} that is only known when it runs"
            raise SizeError(reason, tensor)
        total += (size := math.prod(lengths))
        if size > MAX_ACTIVATION or total > MAX_ACTIVATIONS:
            raise SizeError(f"{size} numbers in {shown(tensor)}, {total} so far", tensor)
