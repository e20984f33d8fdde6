"""The quantization of a model, independent of frameworks.

Shape letters: O outputs and I inputs of a layer, h x w pixels of a kernel.
"""

import json
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from resnet8.core.qparams import Parameter, QuantizationParameters
from resnet8.quantize.equalization import METADATA, Equalization

Array = NDArray[np.float32]
RELU_AWARE = "relu_aware"  # key of a JSON list of names in the file of a quantized model


class LayerParameters(NamedTuple):
    """Parameters that replace those of a layer of the float model.

    weight: (O, I, h, w) or (O, I), outputs first; with int8 codes, or in float if equalization
        changed a layer that stays in float.
    bias: (O,) float32, None if the layer has none. If the weight has codes, a multiple of input
        scale times weight scale.
    """

    weight: Parameter
    bias: Array | None

    @property
    def values(self) -> tuple[Array, Array | None]:
        """The weight and the bias."""
        return self.weight.values, self.bias


class Quantization(NamedTuple):
    """All decisions of calibration about a model.

    activations: uint8 parameters by tensor of the ONNX model; tensors have the names of nodes.
    layers: by name, the layers whose parameters change.
    equalization: factors by which the model's channels are divided.
    relu_aware: addends that are clipped below on purpose, because the ReLU behind the addition
        discards the clipped values, and the sums of these additions.
    symmetric: True if the ranges of activations are symmetric around zero.
    float_layers: nodes that the user wants in float.
    notes: sentences for the user.
    """

    activations: Mapping[str, QuantizationParameters]
    layers: Mapping[str, LayerParameters]
    equalization: Equalization = Equalization()
    relu_aware: tuple[str, ...] = ()
    symmetric: bool = False
    float_layers: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def parameters(self) -> dict[str, tuple[Array, Array | None]]:
        """Weights and biases that replace those of the float model, by layer."""
        return {name: layer.values for name, layer in self.layers.items()}

    @property
    def weights(self) -> dict[str, QuantizationParameters]:
        """Quantization parameters of 8-bit weights, by layer."""
        by_layer = {name: layer.weight.quantization for name, layer in self.layers.items()}
        return {name: x for name, x in by_layer.items() if x is not None}

    @property
    def codes(self) -> dict[str, NDArray[np.int8]]:
        """Codes of 8-bit weights, in the shape of the weights, by layer."""
        weights = self.weights
        return {x: weights[x].quantize(self.layers[x].weight.values) for x in weights}

    @property
    def metadata(self) -> dict[str, str]:
        """Entries for the file of a quantized model, needed to show its layers correctly."""
        texts = {
            METADATA: json.dumps(self.equalization.encode(), separators=(",", ":")),
            RELU_AWARE: json.dumps(self.relu_aware),
        }
        return {key: text for key, text in texts.items() if text != "[]"}
