"""Static quantization with ONNX Runtime, in QDQ form, with given quantization parameters."""

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
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
    QUANTIZE,
    Graph,
    read_parameters,
    stores_outputs_last,
    with_parameters,
)
from resnet8.quantize.float_parts import (
    find_head,
    find_normalizations,
    keep_float_layers,
    leave_constants_in_float,
    leave_logits_in_float,
)
from resnet8.quantize.layers import read_layers
from resnet8.quantize.library_warnings import no_warnings
from resnet8.quantize.quantization import Quantization
from resnet8.quantize.written import Written, check_written, expected, layer_parameters

# Activation and weight type by the name in params.yaml.
QUANT_TYPES: dict[OnnxType, tuple[QuantType, QuantType]] = {
    "int8": (QuantType.QInt8, QuantType.QInt8),
    "uint8": (QuantType.QUInt8, QuantType.QUInt8),
    "uint8_int8": (QuantType.QUInt8, QuantType.QInt8),
}
# ONNX Runtime gives the output of a pool the scale of its input, of which averages use a fraction.
# An excluded pool gets the same Q/DQ pairs from its neighbors, but the pair behind it with its own
# range. The same holds for a softmax, whose output gets a fixed scale, and for a table.
_OWN_RANGE = ("AveragePool", "Gather", "GlobalAveragePool", "Softmax")
# Expected warnings of ONNX Runtime's quantizer, with the reason why each is harmless.
_EXPECTED_WARNINGS = {
    "Please consider (to run )?pre-processing": "It looks for its own mark; `onnx_graph` folds.",
}


class _NoCalibration(CalibrationDataReader):  # type: ignore[misc]
    """One black image: the library computes ranges even if all parameters are given."""

    def __init__(self) -> None:
        self._images = [np.zeros((1, *IMAGE_SHAPE), np.float32)]

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        return {INPUT: self._images.pop()} if self._images else None


def find_points(
    model: onnx.ModelProto, *, symmetric: bool, float_layers: Collection[str] = ()
) -> dict[str, str]:
    """Maps each tensor that ONNX Runtime rounds to 8 bits to the tensor whose scale it takes.

    Quantizes the model with meaningless ranges to find out.

    Args:
        model: a folded float model.
        symmetric: True if activations are symmetric; if not, a ReLU is left to the range.
        float_layers: names of nodes to leave in float.

    Raises:
        ParamsError: the model has no node of such a name.
    """
    names = [node.name for node in model.graph.node]
    if unknown := sorted(set(float_layers) - set(names)):
        raise ParamsError(
            f"fit.float_layers must name layers out of {', '.join(names)}, got {unknown[0]}."
        )
    quantized = _quantize(
        model, "uint8", per_channel=False, symmetric=symmetric, float_layers=float_layers
    )
    steps = Graph(quantized).quantize_steps()
    owners = {f"{tensor}_scale": tensor for tensor in steps}
    return {tensor: owners[step.input[1]] for tensor, step in steps.items()}


def quantize(
    model: onnx.ModelProto, quantization: Quantization, *, quant_type: OnnxType
) -> onnx.ModelProto:
    """Quantizes a model with given quantization parameters.

    Convolutions, additions, pooling and the dense layer take 8-bit inputs; the softmax takes the
    sums of the dense layer in float.

    Args:
        model: the folded float model.
        quantization: the result of `fit` for this model.
        quant_type: `int8`, `uint8`, or `uint8_int8` for uint8 activations and int8 weights.

    Returns:
        The quantized model, with QuantizeLinear and DequantizeLinear around each operator.

    Raises:
        ArtifactError: the quantization belongs to another model, or the library wrote another one.

    Source: https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html
    """
    activation_type, weight_type = QUANT_TYPES[quant_type]
    shapes = {
        layer.name: [x.shape for x in (layer.weight, layer.bias) if x is not None]
        for layer in read_layers(model)
    }
    quantization.check_shapes(shapes)
    rounded = with_parameters(model, quantization.parameters)
    overrides = {
        name: _overrides(parameters, activation_type)
        for name, parameters in quantization.activations.items()
    }
    nodes = {node.name: node for node in rounded.graph.node}
    for name, parameters in quantization.weights.items():
        axis = int(stores_outputs_last(nodes[name]))
        overrides[nodes[name].input[1]] = _overrides(parameters, weight_type, axis=axis)
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
    """Checks that a quantized model holds a quantization; see `quantize` for the arguments.

    Raises:
        ArtifactError: naming the first difference.
    """
    activation_type, weight_type = QUANT_TYPES[quant_type]
    decided = expected(
        quantization,
        tensors=quantization.activations,
        operators=_operators_left(model, quantized, quantization),
        types=(_name(activation_type), _name(weight_type)),
    )
    written = read_written(quantized)
    layers = {name: x for name, x in written.layers.items() if name in quantization.weights}
    check_written(written._replace(layers=layers), decided, library="ONNX Runtime")


def read_written(model: onnx.ModelProto) -> Written:
    """Reads the quantization of a model in QDQ form."""
    graph = Graph(model)
    activations = []
    for node in graph.nodes:
        if node.op_type == QUANTIZE:
            steps = [node, *graph.consumers.get(node.output[0], [])]
            activations += [(node.input[0], graph.quantization_of(step)) for step in steps]
    operators = {
        node.name: node.op_type
        for node in graph.nodes
        if node.op_type not in (QUANTIZE, DEQUANTIZE) and not node.output[0].endswith(KEPT_IN_FLOAT)
    }
    return Written(activations, layer_parameters(read_parameters(model)), operators)


def _operators_left(
    model: onnx.ModelProto, quantized: onnx.ModelProto, quantization: Quantization
) -> dict[str, str]:
    """Returns the float model's operators, without ReLUs that the range of a tensor replaces."""
    left = {node.name: node.op_type for node in model.graph.node}
    present = {node.name for node in quantized.graph.node}
    consumers = Graph(model).consumers
    for node in reversed(model.graph.node):
        parameters = quantization.activations.get(node.output[0])
        readers = [reader.name for reader in consumers.get(node.output[0], [])]
        is_replaced = parameters is not None and not parameters.zero_point
        is_replaced |= bool(readers) and left.keys().isdisjoint(readers)  # by a range further on
        if node.op_type in ("Relu", "Clip") and is_replaced and node.name not in present:
            del left[node.name]
    return left


def _name(quant_type: QuantType) -> str:
    """Returns NumPy's name of a type."""
    return str(quant_type.name[1:].lower())


def _overrides(
    parameters: QuantizationParameters, quant_type: QuantType, *, axis: int = 0
) -> list[dict[str, Any]]:
    """Returns ONNX Runtime's overrides for a tensor: one entry, or one for each channel.

    Args:
        parameters: of any 8-bit type.
        quant_type: type to write.
        axis: axis of the channels in the stored tensor.
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
    overrides: Mapping[str, list[dict[str, Any]]] | None = None,
) -> onnx.ModelProto:
    activation_type, weight_type = QUANT_TYPES[quant_type]
    head = find_head(model)
    layers = {layer.name for layer in read_layers(model)}
    excluded = [
        node.name
        for node in model.graph.node
        if node.op_type in _OWN_RANGE or (node.op_type == "Conv" and node.name not in layers)
    ]
    harmless = _EXPECTED_WARNINGS if overrides else {"": "Ranges of a black image mean nothing."}
    with scratch_folder() as scratch:
        # As a file: given the model itself, quantize_static moves its weights out of it.
        before, after = scratch / "before.onnx", scratch / "after.onnx"
        onnx.save(model, before)
        with no_warnings("ONNX Runtime", expected=harmless):
            quantize_static(
                before,
                after,
                _NoCalibration(),
                quant_format=QuantFormat.QDQ,
                activation_type=activation_type,
                weight_type=weight_type,
                per_channel=per_channel,
                nodes_to_exclude=[*head, *find_normalizations(model), *excluded, *float_layers],
                extra_options={
                    # Give pass-through operators Q/DQ pairs even if their input is in float.
                    "ForceQuantizeNoInputCheck": True,
                    "ActivationSymmetric": symmetric,
                    "WeightSymmetric": True,
                    "TensorQuantOverrides": dict(overrides or {}),
                },
            )
        quantized = onnx.load(after)
    leave_constants_in_float(quantized, model)
    leave_logits_in_float(quantized, head)
    keep_float_layers(quantized)
    return quantized
