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
    """Replaces batch normalization by constants, or folds it into the layer before it.

    The constants are computed elementwise in float64 and rounded to float32 once: the same bits on
    every CPU, where TensorFlow would use an approximate reciprocal square root. If a layer with
    a kernel feeds the batch normalization alone, the scale is multiplied into the kernel and the
    offset added to the bias. Elsewhere a scale and an offset of each channel remain.

    Args:
        flat: its layers are changed, and compute the same.

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
            layer.call = _apply(steps, axis=layer.axis)
    return folded


def _apply(steps: list[tuple[Any, NDArray[Any]]], *, axis: int) -> Callable[..., Any]:
    """A layer's `call` that applies operations with constants (C,) along an axis in order."""

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
    """(C,) factors and addends of a batch normalization in inference.

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
    """The kernel, in the layer's shape, and the bias (C,) of both layers together."""
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
    """Counts the parameters that remain once batch normalization is folded.

    Biases and offsets that are all zero disappear.

    Returns:
        The count, or None for a model with layers whose constants an exporter may fold in ways
        that the model does not show.
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


_LAYERS = keras.layers
_ACTIVATIONS = keras.activations
_PLAIN_ACTIVATIONS = (None, _ACTIVATIONS.linear, _ACTIVATIONS.relu, _ACTIVATIONS.softmax)
_COUNTED = _LAYERS.Conv2D | _LAYERS.DepthwiseConv2D | _LAYERS.Dense
_WITH_KERNEL = _COUNTED | _LAYERS.SeparableConv2D | _LAYERS.Conv2DTranspose
_WITHOUT_CONSTANTS = (
    *(_LAYERS.InputLayer, _LAYERS.Activation, _LAYERS.Softmax, _LAYERS.Add, _LAYERS.Flatten),
    *(_LAYERS.AveragePooling2D, _LAYERS.MaxPooling2D, _LAYERS.GlobalAveragePooling2D),
    _LAYERS.Dropout,
)


def _count_unless_zero(vector: NDArray[Any]) -> int:
    return vector.size if np.any(vector) else 0


def _count_bias(layer: keras.Layer) -> int:
    return _count_unless_zero(layer.bias.numpy()) if layer.use_bias else 0


def _layer_before(layer: keras.layers.BatchNormalization) -> keras.Layer | None:
    """The layer with a kernel whose output channels only this layer reads and normalizes.

    None if there is none, or if either is called more than once.
    """
    if len(layer._inbound_nodes) != 1:
        return None
    tensor = layer._inbound_nodes[0].input_tensors[0]
    source = tensor._keras_history.operation
    alone = len(source._inbound_nodes) == len(source._outbound_nodes) == 1
    if not (isinstance(source, _WITH_KERNEL) and alone):
        return None
    linear = source.activation is keras.activations.linear
    channels_last = getattr(source, "data_format", "channels_last") == "channels_last"
    normalizes_channels = layer.axis in (-1, len(tensor.shape) - 1)
    return source if linear and channels_last and normalizes_channels else None
