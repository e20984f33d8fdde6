"""Folds batch normalization of Keras models in float64.

Shape letters: C channels, h x w pixels of a kernel.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resnet8.models.keras_graph import FlatModel
from resnet8.models.keras_library import keras


def fold_batch_normalization(flat: FlatModel) -> dict[str, str]:
    """Replaces batch normalization by the constants that it comes down to when it is not trained.

    They are computed from the weights elementwise in float64 and rounded to float32 once, which
    gives the same bits on every CPU; left alone, TensorFlow would fold them with an approximate
    reciprocal square root. Behind a layer with a kernel, which feeds nothing else, the scale is
    multiplied into the kernel and the offset is the layer's bias. Elsewhere (behind an addition, in
    front of a convolution) a scale and an offset of each channel remain.

    Args:
        flat: is changed: its layers compute the same with other weights.

    Returns:
        The name of the batch normalization by the name of the layer that it was folded into.
    """
    folded = {}
    for layer in flat.model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            source = _layer_before(layer)
            if source is None:
                scale, offset = _scale_and_offset(layer)
                steps = [(keras.ops.multiply, scale), (keras.ops.add, offset)]
            else:
                kernel, offset = _folded(source, layer)
                _kernel(source).assign(kernel)
                if source.use_bias:
                    source.bias.assign(offset)
                steps = [] if source.use_bias or not offset.any() else [(keras.ops.add, offset)]
                folded[source.name] = layer.name
            layer.call = _calling(steps, axis=layer.axis)
    return folded


def _calling(steps: list[tuple[Any, NDArray[Any]]], *, axis: int) -> Callable[..., Any]:
    """A layer's `call` that applies constants (C,) along an axis, one after the other."""

    def call(inputs: Any, training: Any = None, mask: Any = None) -> Any:  # noqa: ARG001
        for operation, constant in steps:
            shape = [1] * len(inputs.shape)
            shape[axis] = -1
            inputs = operation(inputs, constant.astype(np.float32).reshape(shape))
        return inputs

    return call


def _scale_and_offset(
    layer: keras.layers.BatchNormalization,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(C,) factors and addends of a batch normalization that is not trained.

    Source: S. Ioffe, C. Szegedy (2015), Batch Normalization: Accelerating Deep Network Training by
    Reducing Internal Covariate Shift, https://arxiv.org/abs/1502.03167, algorithm 2.
    """
    gamma = _float64(layer.gamma) if layer.scale else 1.0
    beta = _float64(layer.beta) if layer.center else 0.0
    scale = gamma / np.sqrt(_float64(layer.moving_variance) + layer.epsilon)
    return scale, beta - _float64(layer.moving_mean) * scale


def _folded(
    source: keras.Layer, normalization: keras.layers.BatchNormalization
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The kernel, in the shape that the layer has it in, and the bias (C,) of both layers."""
    scale, offset = _scale_and_offset(normalization)
    if source.use_bias:
        offset = offset + _float64(source.bias) * scale
    kernel = _float64(_kernel(source))
    if isinstance(source, keras.layers.DepthwiseConv2D):  # (h, w, C, multiplier)
        scale = scale.reshape(kernel.shape[-2:])
    elif isinstance(source, keras.layers.Conv2DTranspose):  # (h, w, outputs, inputs)
        scale = scale[:, np.newaxis]
    return kernel * scale, offset


def _float64(variable: Any) -> NDArray[np.float64]:
    return np.asarray(variable.numpy(), np.float64)


def _kernel(layer: keras.Layer) -> Any:
    """The variable whose last axes are the layer's outputs."""
    separable = isinstance(layer, keras.layers.SeparableConv2D)
    return layer.pointwise_kernel if separable else layer.kernel


def count_folded_parameters(model: keras.Model) -> int | None:
    """Counts the parameters that are left once batch normalization is folded.

    A batch normalization that is alone behind a layer with a kernel disappears into its kernel and
    bias. Biases and offsets that are all zero disappear too.

    Returns:
        The count, or None for a model with layers or connections of which an exporter may
        fold the constants in ways that cannot be told from the model.
    """
    total = 0
    for layer in model.layers:
        if getattr(layer, "activation", None) not in _PLAIN_ACTIVATIONS:
            return None
        if isinstance(layer, keras.layers.BatchNormalization):
            source = _layer_before(layer)
            if not isinstance(source, _COUNTED):
                return None
            _, bias = _folded(source, layer)
            total += _count_unless_zero(bias) - _count_bias(source)
        elif isinstance(layer, _COUNTED):
            total += int(np.prod(layer.kernel.shape)) + _count_bias(layer)
        elif not isinstance(layer, _WITHOUT_CONSTANTS):
            return None
    return total


_PLAIN_ACTIVATIONS = (
    *(None, keras.activations.linear, keras.activations.relu, keras.activations.softmax),
)
_COUNTED = keras.layers.Conv2D | keras.layers.DepthwiseConv2D | keras.layers.Dense
_WITH_KERNEL = _COUNTED | keras.layers.SeparableConv2D | keras.layers.Conv2DTranspose
_WITHOUT_CONSTANTS = (
    keras.layers.InputLayer
    | keras.layers.Activation
    | keras.layers.Softmax
    | keras.layers.Add
    | keras.layers.AveragePooling2D
    | keras.layers.MaxPooling2D
    | keras.layers.GlobalAveragePooling2D
    | keras.layers.Flatten
    | keras.layers.Dropout
)


def _count_unless_zero(vector: NDArray[Any]) -> int:
    return vector.size if np.any(vector) else 0


def _count_bias(layer: keras.Layer) -> int:
    return _count_unless_zero(layer.bias.numpy()) if layer.use_bias else 0


def _layer_before(layer: keras.layers.BatchNormalization) -> keras.Layer | None:
    """The layer with a kernel that feeds only this layer, if there is one and nothing is between.

    None, too, where either is used more than once or the normalized channels are not its outputs.
    """
    if len(layer._inbound_nodes) != 1:
        return None
    tensor = layer._inbound_nodes[0].input_tensors[0]
    source = tensor._keras_history.operation
    channels_last = layer.axis in (-1, len(tensor.shape) - 1)
    if not (isinstance(source, _WITH_KERNEL) and channels_last and len(source._inbound_nodes) == 1):
        return None
    linear = source.activation is keras.activations.linear
    channels_last = getattr(source, "data_format", "channels_last") == "channels_last"
    return source if linear and channels_last and len(source._outbound_nodes) == 1 else None
