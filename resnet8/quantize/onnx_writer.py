"""Static quantization with ONNX Runtime, in QDQ form, with given quantization parameters."""

from collections.abc import Collection
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_static,
)

from resnet8.core.batches import IMAGE_SHAPE
from resnet8.core.errors import ParamsError
from resnet8.core.files import scratch_folder
from resnet8.core.names import INPUT, OnnxType
from resnet8.core.qparams import QuantizationParameters
from resnet8.models.onnx_graph import (
    DEQUANTIZE,
    KEPT_IN_FLOAT,
    Graph,
    remove_unused,
    with_parameters,
)
from resnet8.quantize.layers import read_layers
from resnet8.quantize.library_warnings import no_warnings
from resnet8.quantize.onnx_written import read_written
from resnet8.quantize.quantization import Quantization
from resnet8.quantize.written import check_written

# Activation and weight type by the name that params.yaml uses.
QUANT_TYPES: dict[OnnxType, tuple[QuantType, QuantType]] = {
    "int8": (QuantType.QInt8, QuantType.QInt8),
    "uint8": (QuantType.QUInt8, QuantType.QUInt8),
    "uint8_int8": (QuantType.QUInt8, QuantType.QInt8),
}
# ONNX Runtime gives a pool's output the scale of its input, of which an average uses a
# fraction. Left out of the list, the pool gets the same Q/DQ pairs from its neighbours, but
# the one behind it with a range of its own.
_OWN_RANGE = ("AveragePool", "GlobalAveragePool")
# 8-bit probabilities tie: the top-1 class becomes a matter of order. So do 8-bit logits. In float
# is therefore what a model computes at its end with operators such as these.
_FLOAT = (
    *(
        "Add",
        "Concat",
        "Div",
        "Exp",
        "Flatten",
        "Identity",
        "Mean",
        "Mul",
        "ReduceMax",
        "ReduceSum",
    ),
    *("Reshape", "Softmax", "Squeeze", "Sub", "Sum", "Transpose", "Unsqueeze"),
)
_WITH_WEIGHTS = ("Conv", "ConvTranspose", "Gemm")
# Of ONNX Runtime's quantizer, with the reason why each may come.
_EXPECTED_WARNINGS = {
    "Please consider (to run )?pre-processing": "It looks for its own mark; `onnx_graph` folds.",
}
_Overrides = dict[str, list[dict[str, Any]]]


class _NoCalibration(CalibrationDataReader):  # type: ignore[misc]
    """One black image: the library asks for ranges, even where all parameters are given."""

    def __init__(self) -> None:
        self._images = [np.zeros((1, *IMAGE_SHAPE), np.float32)]

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        return {INPUT: self._images.pop()} if self._images else None


def find_points(
    model: onnx.ModelProto, *, symmetric: bool, float_layers: Collection[str] = ()
) -> dict[str, str]:
    """The tensors that ONNX Runtime rounds to 8 bits, each with the one whose scale it takes.

    Found by letting it quantize the model with ranges that mean nothing.

    Args:
        model: a folded float model.
        symmetric: whether activations are symmetric; if not, a ReLU is left to the range.
        float_layers: names of nodes to leave in float.

    Raises:
        ParamsError: the model has no node of such a name.
    """
    layers = [node.name for node in model.graph.node]
    if unknown := sorted(set(float_layers) - set(layers)):
        raise ParamsError(
            f"fit.float_layers must name layers out of {', '.join(layers)}, got {unknown[0]}."
        )
    quantized = _quantize(
        model, "uint8", per_channel=False, symmetric=symmetric, float_layers=float_layers
    )
    steps = Graph(quantized).quantize_steps()
    own = {f"{tensor}_scale": tensor for tensor in steps}
    return {tensor: own[step.input[1]] for tensor, step in steps.items()}


def quantize(
    model: onnx.ModelProto,
    quantization: Quantization,
    *,
    quant_type: OnnxType,
) -> onnx.ModelProto:
    """Writes a model of 8-bit weights and activations with the quantization that is given.

    Convolutions, additions, pooling and the dense layer take 8-bit values; the softmax takes
    the dense layer's sums in float.

    Args:
        model: the folded float model.
        quantization: what `fit` decided about it.
        quant_type: `int8`, `uint8`, or `uint8_int8` for uint8 activations and int8 weights.

    Returns:
        The quantized model, with QuantizeLinear and DequantizeLinear around each operator.

    Raises:
        ArtifactError: the quantization is another model's, or the library wrote another one.

    Source: https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html
    """
    activation_type, weight_type = QUANT_TYPES[quant_type]
    layers = {layer.name: layer for layer in read_layers(model)}
    quantization.check_shapes(
        {
            name: [x.shape for x in (layer.weight, layer.bias) if x is not None]
            for name, layer in layers.items()
        }
    )
    rounded = with_parameters(model, quantization.parameters)
    overrides = {
        name: _overrides(parameters, activation_type)
        for name, parameters in quantization.activations.items()
    }
    weights = {node.name: node.input[1] for node in rounded.graph.node if len(node.input) > 1}
    for name, parameters in quantization.weights.items():
        overrides[weights[name]] = _overrides(
            parameters, weight_type, axis=layers[name].outputs_axis
        )
    quantized = _quantize(
        rounded,
        quant_type,
        per_channel=True,
        symmetric=quantization.symmetric,
        float_layers=quantization.float_layers,
        overrides=overrides,
    )
    check(quantized, model, quantization, quant_type=quant_type)
    for key, value in quantization.metadata.items():
        quantized.metadata_props.add(key=key, value=value)
    return quantized


def check(
    quantized: onnx.ModelProto,
    model: onnx.ModelProto,
    quantization: Quantization,
    *,
    quant_type: OnnxType,
) -> None:
    """Checks that a model holds the quantization that it was to get; see `quantize`.

    Raises:
        ArtifactError: something is different.
    """
    activation_type, weight_type = QUANT_TYPES[quant_type]
    check_written(
        read_written(quantized, quantization.weights),
        quantization,
        activations=quantization.activations,
        operators=_operators_left(model, quantized, quantization),
        types=(_name(activation_type), _name(weight_type)),
        library="ONNX Runtime",
    )


def _operators_left(
    model: onnx.ModelProto, quantized: onnx.ModelProto, quantization: Quantization
) -> dict[str, str]:
    """The float model's operators, without ReLUs that the range of their output replaces."""
    left = {node.name: node.op_type for node in model.graph.node}
    present = {node.name for node in quantized.graph.node}
    for node in model.graph.node:
        range_of = quantization.activations.get(node.output[0])
        cut_off = node.op_type in ("Relu", "Clip") and range_of and not range_of.zero_point
        if cut_off and node.name not in present:
            del left[node.name]
    return left


def _name(quant_type: QuantType) -> str:
    """The type as NumPy calls it."""
    return str(quant_type.name[1:].lower())


def _overrides(
    parameters: QuantizationParameters, quant_type: QuantType, *, axis: int = 0
) -> list[dict[str, Any]]:
    """ONNX Runtime's overrides of a tensor: one entry, or one for each channel.

    Args:
        parameters: of any 8-bit type.
        quant_type: to write.
        axis: of the channels as the node stores them.
    """
    scale, zero_point, *_ = parameters.as_dtype(_name(quant_type))
    if parameters.axis is None:
        return [{"quant_type": quant_type, "scale": scale, "zero_point": zero_point}]
    return [
        {"quant_type": quant_type, "axis": axis, "scale": x, "zero_point": np.array(y)}
        for x, y in zip(scale, zero_point, strict=True)
    ]


def _quantize(  # noqa: PLR0913
    model: onnx.ModelProto,
    quant_type: OnnxType,
    *,
    per_channel: bool,
    symmetric: bool,
    float_layers: Collection[str],
    overrides: _Overrides | None = None,
) -> onnx.ModelProto:
    activation_type, weight_type = QUANT_TYPES[quant_type]
    head = _find_head(model)
    pools = [node.name for node in model.graph.node if node.op_type in _OWN_RANGE]
    with scratch_folder() as scratch:
        # As a file: given the model itself, quantize_static moves its weights out of it.
        before, after = scratch / "before.onnx", scratch / "after.onnx"
        onnx.save(model, before)
        with no_warnings("ONNX Runtime", expected=_EXPECTED_WARNINGS):
            quantize_static(
                before,
                after,
                _NoCalibration(),
                quant_format=QuantFormat.QDQ,
                activation_type=activation_type,
                weight_type=weight_type,
                per_channel=per_channel,
                nodes_to_exclude=[*head, *pools, *float_layers],
                extra_options={
                    # Also what only moves values gets Q/DQ pairs where its input comes from float.
                    "ForceQuantizeNoInputCheck": True,
                    "ActivationSymmetric": symmetric,
                    "WeightSymmetric": True,
                    "TensorQuantOverrides": overrides or {},
                },
            )
        quantized = onnx.load(after)
    _leave_constants_in_float(quantized, model)
    _leave_logits_in_float(quantized, head)
    _keep_float_layers(quantized)
    return quantized


def _find_head(model: onnx.ModelProto) -> set[str]:
    """The nodes that make probabilities of logits."""
    head: set[str] = set()
    wanted = {output.name for output in model.graph.output}
    for node in reversed(model.graph.node):
        if node.op_type in _FLOAT and wanted.intersection(node.output):
            head.add(node.name)
            wanted.update(node.input)
    return head


def _leave_constants_in_float(quantized: onnx.ModelProto, model: onnx.ModelProto) -> None:
    """Gives operators without weights their constants back, which ONNX Runtime rounds to 8 bits.

    Args:
        quantized: is changed.
        model: the float model.
    """
    graph, originals = Graph(quantized), {f"{x.name}_quantized": x for x in model.graph.initializer}
    used = {}
    for node in graph.nodes:
        for position, tensor in enumerate(node.input):
            step = graph.producers.get(tensor)
            stored = step and step.op_type == DEQUANTIZE and originals.get(step.input[0])
            if stored and node.op_type not in (*_WITH_WEIGHTS, "MatMul"):
                node.input[position] = stored.name
                used[stored.name] = stored
    quantized.graph.initializer.extend(x for x in used.values() if not graph.is_constant(x.name))
    remove_unused(quantized.graph)


def _leave_logits_in_float(model: onnx.ModelProto, head: Collection[str]) -> None:
    """Removes the Q/DQ pair between the dense layer and the softmax.

    The dense layer still multiplies 8-bit values with 8-bit weights; its 32-bit sums become
    numbers at once, instead of 256 different ones.

    Args:
        model: is changed.
        head: the nodes from the logits on.
    """
    graph = Graph(model)
    for node in graph.nodes:
        for position, tensor in enumerate(node.input):
            dequantize = graph.producers.get(tensor)
            if node.name in head and dequantize and dequantize.op_type == DEQUANTIZE:
                node.input[position] = graph.producers[dequantize.input[0]].input[0]
    remove_unused(model.graph)


def _keep_float_layers(model: onnx.ModelProto) -> None:
    """Puts a Clip that changes nothing in front of layers whose weights are in float.

    When ONNX Runtime opens a model, it gives float weights that directly follow a
    DequantizeLinear 8 bits, rounded to the nearest with one scale for all.

    Source: onnxruntime/core/optimizer/qdq_transformer/weight_bias_quantization.cc,
    https://github.com/microsoft/onnxruntime
    """
    graph, nodes = Graph(model), list(model.graph.node)
    dequantized = {x.output[0] for x in nodes if x.op_type == DEQUANTIZE}
    del model.graph.node[:]
    ends = np.finfo(np.float32)
    for node in nodes:
        if node.op_type in _WITH_WEIGHTS and graph.is_constant(node.input[1]):
            tensor = node.input[0]
            if tensor in dequantized:
                kept = f"{node.name}{KEPT_IN_FLOAT}"
                limits = [f"{kept}/low", f"{kept}/high"]
                for name, value in zip(limits, (ends.min, ends.max), strict=True):
                    model.graph.initializer.append(numpy_helper.from_array(np.array(value), name))
                model.graph.node.append(helper.make_node("Clip", [tensor, *limits], [kept]))
                node.input[0] = kept
        model.graph.node.append(node)
