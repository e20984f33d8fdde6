"""The quantization of a model, in a form that belongs to no framework.

Shape letters: O outputs and I inputs of a layer, h x w pixels of a kernel.
"""

import json
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from resnet8.core.errors import ArtifactError
from resnet8.core.qparams import Parameter, QuantizationParameters
from resnet8.quantize.equalization import Equalization, as_metadata

Array = NDArray[np.float32]
RELU_AWARE = "relu_aware"  # where a quantized model's file has the names, as a list in JSON


class LayerParameters(NamedTuple):
    """The parameters that a layer gets in place of the float model's.

    weight: (O, I, h, w) or (O, I), outputs first; of int8 codes, or in float where equalization
        changed a layer that stays in float.
    bias: (O,) float32; where the weight has codes, a whole number of steps of input scale times
        weight scale. None to leave the model's own, if any.
    """

    weight: Parameter
    bias: Array | None


class Quantization(NamedTuple):
    """All that calibration decides about a model.

    activations: uint8, by tensor of the ONNX model; tensors are called like the nodes.
    layers: by name, those whose parameters change.
    equalization: by which the channels of the model differ from the float model's.
    relu_aware: tensors whose range leaves out what the ReLU behind an addition discards, so that
        they are clipped below on purpose, and the sums of these additions.
    symmetric: whether activations reach as far below zero as above it.
    float_layers: nodes that stay in float by the engineer's choice.
    notes: what an engineer should know, a sentence each.
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
        """Weights and biases that replace the float model's, by layer."""
        return {name: (layer.weight.values, layer.bias) for name, layer in self.layers.items()}

    @property
    def weights(self) -> dict[str, QuantizationParameters]:
        """Quantization parameters of weights in 8 bits, by layer."""
        found = {name: layer.weight.quantization for name, layer in self.layers.items()}
        return {name: x for name, x in found.items() if x is not None}

    @property
    def metadata(self) -> dict[str, str]:
        """Entries of a quantized model's file, with which its layers are shown rightly."""
        names = {RELU_AWARE: json.dumps(self.relu_aware)} if self.relu_aware else {}
        return as_metadata(self.equalization) | names

    @property
    def codes(self) -> dict[str, NDArray[np.int8]]:
        """Codes of weights in 8 bits, in the weights' shape, by layer."""
        return {
            name: parameters.quantize(self.layers[name].weight.values)
            for name, parameters in self.weights.items()
        }

    def check_shapes(self, shapes: Mapping[str, Sequence[tuple[int, ...]]]) -> None:
        """Checks that the layers are those of a model.

        Args:
            shapes: by layer of the model, that of its weight, outputs first, and of its bias, if
                any.

        Raises:
            ArtifactError: the model has no such layer, or one with other parameters.
        """
        for name, parameters in self.parameters.items():
            given = [x.shape for x in parameters if x is not None]
            own = [*shapes.get(name, [])]
            if own[: len(given)] != given:  # a bias that is left alone may be there
                raise ArtifactError(
                    f"The quantization must be that of the model, got parameters of shape {given} "
                    f"for layer {name}, which has {own}. Run `dvc repro` to fit it again."
                )
