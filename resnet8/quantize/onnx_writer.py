"""Static quantization with ONNX Runtime, in QDQ form, with given quantization parameters."""

from collections.abc import Collection
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
    Graph,
    with_parameters,
)
from resnet8.quantize.float_parts import (
    find_head,
    find_statistics,
    keep_float_layers,
    leave_constants_in_float,
    leave_logits_in_float,
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
# the one behind it with a range of its own. So it is with a softmax, whose output ONNX Runtime
# gives a fixed scale, and with a table.
_OWN_RANGE = ("AveragePool", "Gather", "GlobalAveragePool", "Softmax")
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
    consumers = Graph(model).consumers
    for node in reversed(model.graph.node):
        range_of = quantization.activations.get(node.output[0])
        readers = [reader.name for reader in consumers.get(node.output[0], [])]
        cut_off = range_of is not None and not range_of.zero_point
        cut_off |= bool(readers) and left.keys().isdisjoint(readers)  # by a range further on
        if node.op_type in ("Relu", "Clip") and cut_off and node.name not in present:
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
    head, statistics = find_head(model), find_statistics(model)
    known = {layer.name for layer in read_layers(model)}
    apart = [
        node.name
        for node in model.graph.node
        if node.op_type in _OWN_RANGE or (node.op_type == "Conv" and node.name not in known)
    ]
    with scratch_folder() as scratch:
        # As a file: given the model itself, quantize_static moves its weights out of it.
        before, after = scratch / "before.onnx", scratch / "after.onnx"
        onnx.save(model, before)
        expected = (
            _EXPECTED_WARNINGS if overrides else {"": "Ranges of a black image mean nothing."}
        )
        with no_warnings("ONNX Runtime", expected=expected):
            quantize_static(
                before,
                after,
                _NoCalibration(),
                quant_format=QuantFormat.QDQ,
                activation_type=activation_type,
                weight_type=weight_type,
                per_channel=per_channel,
                nodes_to_exclude=[*head, *statistics, *apart, *float_layers],
                extra_options={
                    # Also what only moves values gets Q/DQ pairs where its input comes from float.
                    "ForceQuantizeNoInputCheck": True,
                    "ActivationSymmetric": symmetric,
                    "WeightSymmetric": True,
                    "TensorQuantOverrides": overrides or {},
                },
            )
        quantized = onnx.load(after)
    leave_constants_in_float(quantized, model)
    leave_logits_in_float(quantized, head)
    keep_float_layers(quantized)
    return quantized
