"""ONNX: loads models, runs them with ONNX Runtime, and describes them."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from google.protobuf.message import DecodeError
from numpy.typing import NDArray
from onnxruntime.capi import onnxruntime_pybind11_state as native

from resnet8.core.batches import IMAGE_SHAPE
from resnet8.core.errors import ArtifactError
from resnet8.core.evaluation import Predictor, Probabilities
from resnet8.core.files import scratch_folder
from resnet8.core.names import INPUT
from resnet8.models import onnx_file

# Shape letters: N images, H = W = 32 pixels, C = 3 channels, K classes.
OUTPUT, BATCH = "probabilities", "batch"
_FLOAT = onnx.TensorProto.FLOAT
# That add up products of 8-bit numbers in 32 bits.
_INTEGER_KERNELS = ("MatMulIntegerToFloat", "QGemm", "QLinearConv", "QLinearMatMul")
_TERMS = 64  # of a sum of products, enough for any vector width
ONNX_FAULTS: tuple[type[Exception], ...] = (  # those of ONNX Runtime have no common base
    onnx.checker.ValidationError,
    onnx.shape_inference.InferenceError,
    *(x for x in vars(native).values() if getattr(x, "__base__", 0) is Exception),
)


def load_model(path: Path, *, takes_images: bool = True) -> onnx.ModelProto:
    """Loads a model of standard operators from one file, and tries it on two black images.

    Args:
        path: its file.
        takes_images: False for a model of any input, which is not tried.

    Raises:
        ArtifactError: the file is missing, no ONNX model or not one that takes images.
    """
    try:
        model = onnx_file.read(path)
        onnx.checker.check_model(model, full_check=True)
        onnx_file.check_sizes(model)
        if takes_images:
            make_predictor(model)(np.zeros((2, *IMAGE_SHAPE), np.float32))
    except (OSError, ValueError, AttributeError, DecodeError, *ONNX_FAULTS) as exc:
        reason = " ".join(str(exc).split())[:300].rstrip(".")
        raise ArtifactError(
            f"{path} must be an ONNX model, got: {reason}. Run `dvc repro` to make it again."
        ) from exc
    return model


def load_classifier(path: Path, *, n_classes: int) -> onnx.ModelProto:
    """Loads a model that gives probabilities.

    Raises:
        ArtifactError: the file is no ONNX model, or gives another number of classes.
    """
    model = load_model(path)
    shapes = [_describe_value(value)["shape"] for value in model.graph.output]
    if shapes != [[BATCH, n_classes]]:
        raise ArtifactError(
            f"{path} must give {n_classes} probabilities, got outputs of shape {shapes}. "
            "Run `dvc repro` to make it again."
        )
    return model


def load_predictor(path: Path, *, n_classes: int) -> Predictor:
    """Loads a model as a function of arrays; see `load_classifier`."""
    return make_predictor(load_classifier(path, n_classes=n_classes))


def make_predictor(model: onnx.ModelProto, *, as_written: bool = False) -> Predictor:
    """Wraps a model with input `input` and output `probabilities`; see `open_session`."""
    session = open_session(model, as_written=as_written)

    def predict(images: NDArray[np.float32]) -> Probabilities:
        probabilities: Probabilities = session.run([OUTPUT], {INPUT: images})[0]
        return probabilities

    return predict


def open_session(
    model: onnx.ModelProto, *, as_written: bool = False, optimized: Path | None = None
) -> ort.InferenceSession:
    """Opens a session on the CPU, on one core: what runs at once are batches.

    Graphs are optimized up to the level (extended) whose results are the same bits on all x86-64
    CPUs with AVX2 and FMA that were tried; the last level lays tensors out in blocks as wide as
    the CPU's vectors, and adds in their order (docs/reproducibility.md).

    Args:
        model: any ONNX model.
        as_written: run QuantizeLinear and DequantizeLinear where they are and in float.
            Otherwise ONNX Runtime joins them with what is between to integer kernels, and
            also quantizes float weights that it finds between them. Models with int8 activations
            always run as written: x86 has no kernels for them, so ONNX Runtime would run one
            layer in float and turn the activations of another to uint8, whose products with int8
            weights saturate on CPUs without VNNI.
        optimized: where to write the model as it is run.
    """
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(optimized or "")
    options.intra_op_num_threads = 1
    options.log_severity_level = 4  # what fails is raised
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    if as_written or "int8" in activation_types(model):
        options.add_session_config_entry("session.disable_quant_qdq", "1")
    content = model.SerializeToString()
    return ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def integer_outputs(model: onnx.ModelProto) -> set[str]:
    """The tensors that ONNX Runtime computes from exact sums of 8-bit products.

    They are the outputs of the integer kernels into which `open_session` joins the operators.
    """
    with scratch_folder() as folder:
        path = folder / "optimized.onnx"
        open_session(model, optimized=path)
        nodes = onnx.load(path).graph.node
    return {node.output[0] for node in nodes if node.op_type in _INTEGER_KERNELS}


def run_up_to(
    session: ort.InferenceSession, tensors: Sequence[str], images: NDArray[np.float32]
) -> list[NDArray[np.float32]]:
    """Computes outputs of a session and nothing that they do not need."""
    options = ort.RunOptions()
    options.only_execute_path_to_fetches = True
    outputs: list[NDArray[np.float32]] = session.run(list(tensors), {INPUT: images}, options)
    return outputs


def saturates(path: Path) -> bool:
    """Whether 8-bit products in the model saturate on this CPU."""
    return mixes_signs(load_model(path)) and products_saturate()


def products_saturate() -> bool:
    """Whether uint8 x int8 products saturate on this CPU, found by computing the largest ones.

    With AVX2 or AVX-512, but without VNNI, ONNX Runtime adds pairs of them in 16 bits. Products of
    two unsigned numbers are exact everywhere.

    Source: https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html, "When
    and why do I need to try U8U8?".
    """
    activations = np.full((1, _TERMS), 255, np.uint8)
    weights = np.full((_TERMS, 16), 127, np.int8)
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("MatMulInteger", ["activations", "weights"], ["sums"])],
        "products",
        [value("activations", onnx.TensorProto.UINT8, activations.shape)],
        [value("sums", onnx.TensorProto.INT32, (1, 16))],
        [onnx.numpy_helper.from_array(weights, "weights")],
    )
    opset = onnx.helper.make_opsetid("", 13)
    model = onnx.helper.make_model(graph, opset_imports=[opset], ir_version=8)
    session = open_session(model)
    sums = session.run(None, {"activations": activations})[0]
    return bool((sums != _TERMS * 255 * 127).any())


def mixes_signs(model: onnx.ModelProto) -> bool:
    """Whether a model multiplies uint8 activations with int8 weights."""
    weights = {x.data_type for x in model.graph.initializer if len(x.dims) > 1}
    return "uint8" in activation_types(model) and onnx.TensorProto.INT8 in weights


def activation_types(model: onnx.ModelProto) -> set[str]:
    """The types of the codes that a model makes of activations, as NumPy calls them."""
    types = {x.name: x.data_type for x in model.graph.initializer}
    zero_points = [
        types[node.input[2]]
        for node in model.graph.node
        if node.op_type == "QuantizeLinear" and len(node.input) > 2 and node.input[2] in types
    ]
    return {onnx.helper.tensor_dtype_to_np_dtype(x).name for x in zero_points}


def count_parameters(model: onnx.ModelProto) -> int:
    """Counts the elements of all float32 initializers that are arrays."""
    arrays = [x for x in model.graph.initializer if x.data_type == _FLOAT and x.dims]
    return sum(int(np.prod(x.dims)) for x in arrays)


def describe(model: onnx.ModelProto) -> dict[str, Any]:
    """Checks a model and describes its interface and its operators.

    Returns:
        Operator set, IR version, inputs and outputs (name, dtype, dimensions: a number where
        static, a name where dynamic), operator counts and layers (node name to operator).

    Raises:
        ArtifactError: the ONNX checker, with full shape inference, refuses it.
    """
    try:
        onnx.checker.check_model(model, full_check=True)
        inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as exc:
        raise ArtifactError(f"The ONNX model must pass the ONNX checker, got: {exc}") from exc
    return {
        "opset": {x.domain or "ai.onnx": x.version for x in model.opset_import},
        "ir_version": model.ir_version,
        "inputs": [_describe_value(value) for value in inferred.graph.input],
        "outputs": [_describe_value(value) for value in inferred.graph.output],
        "operators": dict(Counter(node.op_type for node in model.graph.node)),
        "layers": {node.name: node.op_type for node in model.graph.node},
    }


def _describe_value(value: onnx.ValueInfoProto) -> dict[str, Any]:
    tensor = value.type.tensor_type
    return {
        "name": value.name,
        "dtype": onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type).name,
        "shape": [dim.dim_param or dim.dim_value for dim in tensor.shape.dim],
    }
