"""Folds batch normalization of Keras models in float64.

Shape letters: C channels, h x w pixels of a kernel.
"""

from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resnet8.models.keras_graph import FlatModel, flatten
from resnet8.models.keras_library import keras

_WITH_KERNEL = (
    keras.layers.Conv2D, keras.layers.DepthwiseConv2D, keras.layers.Dense,
    keras.layers.SeparableConv2D, keras.layers.Conv2DTranspose,
)  # fmt: skip
# Layers and activations without other constants that an exporter may fold or add.
_PLAIN_LAYERS = {
    "Activation", "Add", "AveragePooling2D", "Conv2D", "Dense", "DepthwiseConv2D", "Dropout",
    "Flatten", "GlobalAveragePooling2D", "InputLayer", "MaxPooling2D", "Softmax",
}  # fmt: skip
_PLAIN_ACTIVATIONS = {getattr(keras.activations, x) for x in ("linear", "relu", "softmax")}


def fold_batch_normalization(flat: FlatModel) -> dict[str, str]:
    """Replaces batch normalization by constants, or folds it into the layer before it.

    The constants are computed elementwise in float64 and rounded to float32 once: the same bits on
    every CPU, where TensorFlow would use an approximate reciprocal square root. If a layer with
    a kernel feeds the batch normalization alone, the scale is multiplied into the kernel and the
    offset added to the bias. Elsewhere a scale and an offset of each channel remain.

    Returns:
        The name of the batch normalization by the name of the layer that it was folded into.
    """
    folded = {}
    for layer in flat.model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            scale, offset = _scale_and_offset(layer)
            if source := _layer_before(layer):
                _fold_into(source, scale, offset)
                folded[source.name] = layer.name
                layer.call = lambda inputs, **_: inputs
            else:
                shape = [1] * len(layer.input.shape)
                shape[layer.axis] = -1
                constants = (x.astype(np.float32).reshape(shape) for x in (scale, offset))
                layer.call = partial(_scaled, *constants)
    return folded


def _scaled(scale: NDArray[Any], offset: NDArray[Any], inputs: Any, **_: Any) -> Any:
    return keras.ops.add(keras.ops.multiply(inputs, scale), offset)


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


def _fold_into(layer: keras.Layer, scale: NDArray[np.float64], offset: NDArray[np.float64]) -> None:
    """Lets a layer scale its output channels by (C,) factors and add (C,) addends."""
    separable = isinstance(layer, keras.layers.SeparableConv2D)
    variable = layer.pointwise_kernel if separable else layer.kernel
    kernel = _float64(variable)
    if layer.use_bias:
        offset = offset + _float64(layer.bias) * scale
    if isinstance(layer, keras.layers.DepthwiseConv2D):  # (h, w, C, multiplier)
        scale = scale.reshape(kernel.shape[-2:])
    elif isinstance(layer, keras.layers.Conv2DTranspose):  # (h, w, outputs, inputs)
        scale = scale[:, np.newaxis]
    variable.assign(kernel * scale)
    layer.use_bias, layer.bias = True, offset.astype(np.float32)


def _float64(variable: Any) -> NDArray[np.float64]:
    return np.asarray(variable.numpy(), np.float64)


def count_folded_parameters(model: keras.Model) -> int | None:
    """Counts the parameters that folding leaves, without biases that are all zero.

    None if the model has layers whose constants an exporter may fold in ways it does not show.
    """
    flat = flatten(model)
    folded = fold_batch_normalization(flat).values()
    layers = [layer for layer in flat.model.layers if layer.name not in folded]
    activations = {getattr(x, "activation", None) for x in layers} - {None}
    plain = {type(layer).__name__ for layer in layers} <= _PLAIN_LAYERS
    if not plain or not activations <= _PLAIN_ACTIVATIONS:
        return None
    arrays = (getattr(layer, kind, None) for layer in layers for kind in ("kernel", "bias"))
    counted = [np.asarray(array) for array in arrays if array is not None]
    return sum(array.size for array in counted if array.ndim > 1 or array.any())


def _layer_before(layer: keras.layers.BatchNormalization) -> keras.Layer | None:
    """The layer with a kernel whose output channels are normalized and not read elsewhere."""
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
