"""Static quantization with ONNX Runtime, in QDQ form, with given quantization parameters."""

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import onnx
from onnxruntime.quantization import QDQQuantizer, QuantType, TensorData
from onnxruntime.quantization.quant_utils import add_infer_metadata
from onnxruntime.quantization.registry import QDQRegistry, QLinearOpsRegistry

from resnet8.core.errors import ParamsError
from resnet8.core.names import OnnxType
from resnet8.core.qparams import QuantizationParameters
from resnet8.models.onnx_graph import (
    QUANTIZE,
    Graph,
    infer_types,
    read_parameters,
    stores_outputs_last,
    with_parameters,
)
from resnet8.quantize.checks import check_shapes, check_written, no_warnings
from resnet8.quantize.float_parts import (
    find_head,
    find_normalizations,
    keep_float_layers,
    leave_in_float,
)
from resnet8.quantize.layers import read_layers
from resnet8.quantize.quantization import Quantization

# Activation and weight type by the name in params.yaml.
QUANT_TYPES: dict[OnnxType, tuple[str, str]] = {
    "int8": ("int8", "int8"),
    "uint8": ("uint8", "uint8"),
    "uint8_int8": ("uint8", "int8"),
}
_LIBRARY_TYPES = {"int8": QuantType.QInt8, "uint8": QuantType.QUInt8}
# ONNX Runtime gives the output of a pool the scale of its input, of which averages use a fraction.
# An excluded pool still gets Q/DQ pairs from its neighbors, and its output a range of its own. A
# softmax, whose output would have a fixed scale, and a table (Gather) are excluded, too.
_OWN_RANGE = ("AveragePool", "Gather", "GlobalAveragePool", "Softmax")


def find_points(
    model: onnx.ModelProto, *, symmetric: bool, float_layers: Collection[str] = ()
) -> dict[str, str]:
    """Maps each tensor that ONNX Runtime rounds to 8 bits to the tensor whose scale it takes.

    Quantizes a folded float model with placeholder ranges, and reads the result. Unless
    activations are symmetric, ONNX Runtime removes ReLUs, because codes clip at 0 anyway.

    Raises:
        ParamsError: the model has no node with a name in `float_layers`.
    """
    names = [node.name for node in model.graph.node]
    if unknown := sorted(set(float_layers) - set(names)):
        raise ParamsError(
            f"fit.float_layers must name layers out of {', '.join(names)}, got {unknown[0]}."
        )
    quantized = _quantize(model, "uint8", {}, symmetric=symmetric, float_layers=float_layers)
    steps = Graph(quantized).quantize_steps()
    owners = {f"{tensor}_scale": tensor for tensor in steps}
    return {tensor: owners[step.input[1]] for tensor, step in steps.items()}


def quantize(
    model: onnx.ModelProto, quantization: Quantization, *, quant_type: OnnxType
) -> onnx.ModelProto:
    """Quantizes a folded float model with the result of `fit` for this model.

    Convolutions, additions, pooling and the dense layer take 8-bit inputs; the softmax takes the
    sums of the dense layer in float.

    Returns:
        The quantized model, with QuantizeLinear and DequantizeLinear around each operator.

    Raises:
        ArtifactError: the quantization belongs to another model, or the library wrote another one.

    Source: https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html
    """
    check_shapes(quantization, read_parameters(model))
    activation_type, weight_type = QUANT_TYPES[quant_type]
    rounded = with_parameters(model, quantization.parameters)
    overrides = {
        tensor: _override(parameters.as_dtype(activation_type))
        for tensor, parameters in quantization.activations.items()
    }
    nodes = {node.name: node for node in rounded.graph.node}
    for name, parameters in quantization.weights.items():
        axis = int(stores_outputs_last(nodes[name]))
        overrides[nodes[name].input[1]] = _override(parameters.as_dtype(weight_type), axis)
    symmetric, float_layers = quantization.symmetric, quantization.float_layers
    with no_warnings("ONNX Runtime"):
        quantized = _quantize(
            rounded, quant_type, overrides, symmetric=symmetric, float_layers=float_layers
        )
    check(quantized, quantization, quant_type=quant_type)
    for key, value in quantization.metadata.items():
        quantized.metadata_props.add(key=key, value=value)
    return quantized


def check(quantized: onnx.ModelProto, quantization: Quantization, *, quant_type: OnnxType) -> None:
    """Raises an ArtifactError unless a quantized model holds a quantization."""
    graph = Graph(quantized)
    steps = []
    for node in graph.nodes:
        if node.op_type == QUANTIZE:
            pair = [node, *graph.consumers.get(node.output[0], [])]
            steps += [(node.input[0], graph.quantization_of(step)) for step in pair]
    parameters = read_parameters(quantized)
    parameters = {name: x for name, x in parameters.items() if name in quantization.weights}
    check_written("ONNX Runtime", quantization, QUANT_TYPES[quant_type], steps, parameters)


def _override(parameters: QuantizationParameters, axis: int = 0) -> list[dict[str, Any]]:
    """Returns ONNX Runtime's override for a tensor: one entry, or one for each channel.

    `axis` is that of the channels in the stored tensor.
    """
    scale, zero_point, dtype, channel_axis = parameters
    common: dict[str, Any] = {"quant_type": _LIBRARY_TYPES[dtype]}
    if channel_axis is None:
        return [common | {"scale": scale, "zero_point": zero_point}]
    pairs = zip(scale, zero_point, strict=True)
    return [common | {"axis": axis, "scale": x, "zero_point": np.array(y)} for x, y in pairs]


def _quantize(
    model: onnx.ModelProto,
    quant_type: OnnxType,
    overrides: Mapping[str, list[dict[str, Any]]],
    *,
    symmetric: bool,
    float_layers: Collection[str],
) -> onnx.ModelProto:
    """Returns a copy of a float model, quantized with the overrides of its tensors."""
    activation_type, weight_type = (_LIBRARY_TYPES[x] for x in QUANT_TYPES[quant_type])
    head, layers = find_head(model), {layer.name for layer in read_layers(model)}
    excluded = [
        node.name
        for node in model.graph.node
        if node.op_type in _OWN_RANGE or (node.op_type == "Conv" and node.name not in layers)
    ]
    # Overrides take precedence, but only for tensors with a range.
    unused = TensorData(lowest=np.float32(-1), highest=np.float32(1))
    inferred = onnx.shape_inference.infer_shapes(model)
    add_infer_metadata(inferred)
    quantizer = QDQQuantizer(
        inferred,
        per_channel=True,
        reduce_range=False,
        weight_qType=weight_type,
        activation_qType=activation_type,
        tensors_range=dict.fromkeys(infer_types(model), unused),
        nodes_to_quantize=[],
        nodes_to_exclude=[*head, *find_normalizations(model), *excluded, *float_layers],
        op_types_to_quantize=[*QLinearOpsRegistry, *QDQRegistry],
        extra_options={
            # Give pass-through operators Q/DQ pairs even if their input is in float.
            "ForceQuantizeNoInputCheck": True,
            "ActivationSymmetric": symmetric,
            "WeightSymmetric": True,
            "TensorQuantOverrides": dict(overrides),
        },
    )
    quantizer.quantize_model()
    quantizer.model.topological_sort()
    quantized: onnx.ModelProto = quantizer.model.model
    leave_in_float(quantized, model, head)
    keep_float_layers(quantized)
    return quantized
