"""Captured layers of a model, in any runtime.

Layers are named as in `onnx_graph.name_after_layers`, in every variant.
Shape letters: N images, H = W = 32 pixels, C = 3 channels, K classes.
"""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from resnet8.core.evaluation import Probabilities
from resnet8.core.qparams import Parameter, QuantizationParameters

NO_ROWS = "no array with a row for each image"  # why a layer is absent


class Point(NamedTuple):
    """Place where a layer's output is captured.

    place: description: a hook, a Keras layer or a tensor.
    quantization: converts captured codes to the float model's units; None if floats are captured.
    clips_on_purpose: True if values below the range, or below zero if the layer is not quantized,
        are discarded by the next operator anyway.
    """

    place: str
    quantization: QuantizationParameters | None = None
    clips_on_purpose: bool = False

    def dequantize(self, output: NDArray[Any]) -> NDArray[np.float32]:
        """Returns a captured output in the float model's units."""
        return output if self.quantization is None else self.quantization.dequantize(output)

    def clip_on_purpose(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Clips values from below if the model does so on purpose."""
        if not self.clips_on_purpose:
            return values
        return self.quantization.clip_below(values) if self.quantization else np.maximum(values, 0)


class Captured(NamedTuple):
    """Outputs of a run.

    outputs: (N, ...) by layer, codes if its point is quantized.
    probabilities: (N, K) of the model.
    """

    outputs: dict[str, NDArray[Any]]
    probabilities: Probabilities


class Watched(NamedTuple):
    """A model whose layers are captured.

    points: by layer, in the order of computation.
    parameters: `weight` and `bias` by layer.
    absent: reasons why layers of the float model are not captured, by layer.
    run: (N, 32, 32, 3) float32 in [0, 255] -> captured outputs.
    """

    points: dict[str, Point]
    parameters: dict[str, dict[str, Parameter]]
    absent: dict[str, str]
    run: Callable[[NDArray[np.float32]], Captured]

    def dequantize(self, captured: Captured) -> dict[str, NDArray[np.float32]]:
        """Returns captured outputs by layer in the float model's units."""
        return {x: point.dequantize(captured.outputs[x]) for x, point in self.points.items()}

    def without(self, layers: Iterable[str], reason: str) -> "Watched":
        """Makes layers absent."""
        absent = dict.fromkeys(layers, reason)
        points = {x: point for x, point in self.points.items() if x not in absent}
        return self._replace(points=points, absent=self.absent | absent)

    def with_rows(self, captured: Captured, n_images: int) -> "Watched":
        """Makes the layers absent whose captured output has no row for each image."""
        rows = {x for x, out in captured.outputs.items() if out.ndim > 1 and len(out) == n_images}
        return self.without([x for x in self.points if x not in rows], NO_ROWS)


def comparable(model: Watched, reference: Watched) -> Watched:
    """Restricts a model to the outputs and parameters that have the same shape in its reference.

    `run` of both must return stored outputs.
    """
    outputs, others = (x.run(np.empty(0, np.float32)).outputs for x in (model, reference))
    points = {x: point for x, point in model.points.items() if x in reference.points}
    differing = [x for x in points if outputs[x].shape != others[x].shape]
    shapes = {
        (layer, kind): x.values.shape
        for layer, kinds in reference.parameters.items()
        for kind, x in kinds.items()
    }
    parameters = {
        layer: {k: x for k, x in kinds.items() if x.values.shape == shapes.get((layer, k))}
        for layer, kinds in model.parameters.items()
    }
    shared = model._replace(points=points, parameters=parameters)
    return shared.without(differing, "an output of another shape")
