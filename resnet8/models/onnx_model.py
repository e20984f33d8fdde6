"""Loads ONNX models, runs them with ONNX Runtime, and describes them.

ONNX Runtime computes constants when it opens a model, so that a short file could fill any memory:
all sizes are checked before.

Shape letters: N images, H = W = 32 pixels, C = 3 channels, K classes.
"""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from google.protobuf.message import DecodeError
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.capi import onnxruntime_pybind11_state as native

from resnet8.core.batches import IMAGE_SHAPE
from resnet8.core.errors import ArtifactError, shown
from resnet8.core.evaluation import Predictor
from resnet8.core.files import scratch_folder
from resnet8.core.names import INPUT
from resnet8.models.faults import refused
from resnet8.models.onnx_graph import QUANTIZE, for_one_image, infer_types

OUTPUT, BATCH = "probabilities", "batch"
MAX_FILE_BYTES = 2**28
MAX_ACTIVATION = 2**22  # elements of a tensor for one image
MAX_ACTIVATIONS = 2**26  # elements of all tensors together
_STORED_TYPES = ("BOOL", "DOUBLE", "FLOAT", "FLOAT16", "INT8", "INT32", "INT64", "UINT8")
# Kernels that add products of 8-bit numbers in 32 bits.
_INTEGER_KERNELS = ("MatMulIntegerToFloat", "QGemm", "QLinearConv", "QLinearMatMul")
_N_PRODUCTS = 64  # in a sum, enough for any vector width
_PRODUCTS = """
    <ir_version: 8, opset_import: ["": 13]>
    products (uint8[1, 64] activations) => (int32[1, 16] sums) {
        sums = MatMulInteger(activations, weights)
    }
"""
ONNX_FAULTS: tuple[type[Exception], ...] = (  # ONNX Runtime's have no common base
    onnx.checker.ValidationError,
    onnx.shape_inference.InferenceError,
    *(x for x in vars(native).values() if getattr(x, "__base__", 0) is Exception),
)
_LOADING_FAULTS = (OSError, ValueError, AttributeError, DecodeError, *ONNX_FAULTS)
_REMEDY = "Run `dvc repro` to make it again."


def load_model(
    path: Path, *, n_classes: int | None = None, takes_images: bool = True
) -> onnx.ModelProto:
    """Loads a model of standard operators from one file, and tries it on two black images.

    Without `n_classes`, K may be any number. With `takes_images=False`, the model may have any
    input and is not tried.

    Raises:
        ArtifactError: the file is missing, no ONNX model, does not take images, or does not
            return K probabilities.
    """
    with refused(f"{path} must be an ONNX model", _REMEDY, faults=_LOADING_FAULTS):
        if (size := path.stat().st_size) > MAX_FILE_BYTES:
            raise ValueError(f"{size} bytes, more than {MAX_FILE_BYTES}")
        model = onnx.load(path, load_external_data=False)
        _check_nodes(model)
        _check_numbers(model)
        onnx.checker.check_model(model, full_check=True)
        for _, problem in oversized_tensors(model):
            raise ValueError(problem)
        if takes_images:
            make_predictor(model)(np.zeros((2, *IMAGE_SHAPE), np.float32))
    shapes = [_describe(value)["shape"] for value in model.graph.output]
    if n_classes is not None and shapes != [[BATCH, n_classes]]:
        raise ArtifactError(
            f"{path} must give {n_classes} probabilities, got outputs of shape {shapes}. {_REMEDY}"
        )
    return model


def _check_nodes(model: onnx.ModelProto) -> None:
    """Rejects subgraphs, sparse numbers, foreign operators, and nodes without a name or tensors."""
    nodes = model.graph.node
    names = Counter(node.name for node in nodes)
    attributes = [x for node in nodes for x in node.attribute]
    if model.functions or any(x.graphs or x.HasField("g") for x in attributes):
        raise ValueError("a graph within the graph")
    if model.graph.sparse_initializer or any(x.HasField("sparse_tensor") for x in attributes):
        raise ValueError("sparse numbers")
    for node in nodes:
        if node.domain not in ("", "ai.onnx"):
            raise ValueError(f"an operator of {shown(node.domain)}")
        if names[node.name] > 1 or not node.name or not node.name.isprintable():
            raise ValueError(f"{names[node.name]} nodes of the name {shown(node.name)}")
        if not (any(node.input) and any(node.output)):
            raise ValueError(f"no input or no output of {shown(node.name)}")


def _check_numbers(model: onnx.ModelProto) -> None:
    """Rejects data in other files, of other types, and numbers that are not finite."""
    tensors = list(model.graph.initializer)
    for node in model.graph.node:
        tensors += [x.t for x in node.attribute if x.HasField("t")]
        if not all(math.isfinite(number) for x in node.attribute for number in (x.f, *x.floats)):
            raise ValueError(f"NaN in {shown(node.name)}")
    for tensor in tensors:
        name = shown(tensor.name)
        if tensor.external_data:
            raise ValueError(f"data of {name} in another file")
        if TensorProto.DataType.Name(tensor.data_type) not in _STORED_TYPES:
            raise ValueError(f"data of type {tensor.data_type} in {name}")
        if not np.isfinite(numpy_helper.to_array(tensor)).all():
            raise ValueError(f"NaN in {name}")


def oversized_tensors(model: onnx.ModelProto) -> Iterator[tuple[str, str]]:
    """Yields tensors that are too large for one image, or of unknown size, with the problem."""
    inferred = infer_types(for_one_image(model), strict=True)
    total = 0
    for tensor in (x for node in model.graph.node for x in node.output if x):
        kind = inferred.get(tensor, onnx.TypeProto.Tensor())
        dims = [x.dim_value if x.HasField("dim_value") else -1 for x in kind.shape.dim]
        if not kind.HasField("shape") or min(dims, default=0) < 0:
            yield tensor, f"a size of {shown(tensor)} that is only known when it runs"
        else:
            size = math.prod(dims)
            total += size
            if size > MAX_ACTIVATION or total > MAX_ACTIVATIONS:
                yield tensor, f"{size} numbers in {shown(tensor)}, {total} so far"


def make_predictor(model: onnx.ModelProto, *, as_written: bool = False) -> Predictor:
    """Wraps a model with input `input` and output `probabilities`; see `open_session`."""
    session = open_session(model, as_written=as_written)
    return lambda images: session.run([OUTPUT], {INPUT: images})[0]


def open_session(
    model: onnx.ModelProto, *, as_written: bool = False, optimized: Path | None = None
) -> ort.InferenceSession:
    """Opens a session on one core of the CPU; batches run concurrently instead.

    Graphs are optimized up to the level (extended) that gives the same bits on all x86-64 CPUs
    with AVX2 and FMA that were tried. The last level orders sums by the CPU's vector width
    (docs/reproducibility.md).

    Args:
        model: any ONNX model.
        as_written: run QuantizeLinear and DequantizeLinear in float where they are. Otherwise
            ONNX Runtime fuses them with the operators between them to integer kernels, and
            quantizes these operators' float weights. Models with int8 activations always run as
            written: x86 has no kernels for them, so ONNX Runtime would run one layer in float and
            convert the activations of another to uint8, whose products saturate (see `saturates`).
        optimized: where to write the optimized model.
    """
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(optimized or "")
    options.intra_op_num_threads = 1
    options.log_severity_level = 4  # failures are raised
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    if as_written or TensorProto.INT8 in _activation_types(model):
        options.add_session_config_entry("session.disable_quant_qdq", "1")
    content = model.SerializeToString()
    return ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def integer_outputs(model: onnx.ModelProto) -> set[str]:
    """The outputs of the integer kernels that `open_session` makes: exact 8-bit products."""
    with scratch_folder() as folder:
        path = folder / "optimized.onnx"
        open_session(model, optimized=path)
        nodes = onnx.load(path).graph.node
    return {node.output[0] for node in nodes if node.op_type in _INTEGER_KERNELS}


def run_up_to(
    session: ort.InferenceSession, tensors: Sequence[str], images: NDArray[np.float32]
) -> list[NDArray[np.float32]]:
    """Computes outputs of a session, and only the nodes that they depend on."""
    options = ort.RunOptions()
    options.only_execute_path_to_fetches = True
    outputs: list[NDArray[np.float32]] = session.run(list(tensors), {INPUT: images}, options)
    return outputs


def saturates(model: onnx.ModelProto) -> bool:
    """Returns whether uint8 x int8 products in the model saturate on this CPU."""
    weights = {x.data_type for x in model.graph.initializer if len(x.dims) > 1}
    mixes_signs = TensorProto.UINT8 in _activation_types(model) and TensorProto.INT8 in weights
    return mixes_signs and products_saturate()


def products_saturate() -> bool:
    """Returns whether the largest uint8 x int8 products saturate on this CPU.

    With AVX2 or AVX-512, but without VNNI, ONNX Runtime adds pairs of them in 16 bits.

    Source: https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html, "When
    and why do I need to try U8U8?".
    """
    model = onnx.parser.parse_model(_PRODUCTS)
    weights = np.full((_N_PRODUCTS, 16), 127, np.int8)
    model.graph.initializer.append(numpy_helper.from_array(weights, "weights"))
    activations = np.full((1, _N_PRODUCTS), 255, np.uint8)
    (sums,) = open_session(model).run(None, {"activations": activations})
    return bool((sums != _N_PRODUCTS * 255 * 127).any())


def _activation_types(model: onnx.ModelProto) -> set[int | None]:
    """The types (of TensorProto) to which a model quantizes activations; None for unknown ones."""
    types = {x.name: x.data_type for x in model.graph.initializer}
    steps = (node for node in model.graph.node if node.op_type == QUANTIZE)
    return {types.get(step.input[2]) for step in steps if len(step.input) > 2}


def count_parameters(model: onnx.ModelProto) -> int:
    """Counts the elements of all float32 initializers that are arrays."""
    constants = model.graph.initializer
    floats = (x for x in constants if x.data_type == TensorProto.FLOAT)
    return sum(math.prod(x.dims) for x in floats if x.dims)


def describe(model: onnx.ModelProto) -> dict[str, Any]:
    """Operator set, IR version, inputs, outputs, operator counts, and layers (node: operator).

    Dimensions of inputs and outputs are numbers where static, names where dynamic.
    """
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    layers = {node.name: node.op_type for node in model.graph.node}
    return {
        "opset": {x.domain or "ai.onnx": x.version for x in model.opset_import},
        "ir_version": model.ir_version,
        "inputs": [_describe(value) for value in inferred.input],
        "outputs": [_describe(value) for value in inferred.output],
        "operators": dict(Counter(layers.values())),
        "layers": layers,
    }


def _describe(value: onnx.ValueInfoProto) -> dict[str, Any]:
    tensor = value.type.tensor_type
    return {
        "name": value.name,
        "dtype": helper.tensor_dtype_to_np_dtype(tensor.elem_type).name,
        "shape": [dim.dim_param or dim.dim_value for dim in tensor.shape.dim],
    }
