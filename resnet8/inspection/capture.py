"""Captured layers of a model, in any runtime.

Layers are named as in `onnx_graph.name_after_layers`, in every variant.
Shape letters: N images, H = W = 32 pixels, C = 3 channels, K classes.
"""

import fnmatch
from collections.abc import Callable, Sequence
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
        """Clips values from below, as the model does on purpose, if so."""
        if not self.clips_on_purpose:
            return values
        return self.quantization.clip_below(values) if self.quantization else np.maximum(values, 0)


class Captured(NamedTuple):
    """Outputs (N, ...) of a run by layer, codes if its point is quantized, and of the model."""

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


def dequantized(watched: Watched, captured: Captured) -> dict[str, NDArray[np.float32]]:
    """Returns captured outputs by layer in the float model's units."""
    return {x: point.dequantize(captured.outputs[x]) for x, point in watched.points.items()}


def with_rows(watched: Watched, captured: Captured, n_images: int) -> Watched:
    """Makes the layers absent whose captured output has no row for each image."""
    rows = {x for x, out in captured.outputs.items() if out.ndim > 1 and len(out) == n_images}
    absent = dict.fromkeys([x for x in watched.points if x not in rows], NO_ROWS)
    points = {layer: point for layer, point in watched.points.items() if layer in rows}
    return watched._replace(points=points, absent=watched.absent | absent)


def select_layers(layers: Sequence[str], pattern: str) -> list[str]:
    """Returns the layers that a shell pattern such as `conv2d_*` matches; commas join several.

    Raises:
        ValueError: a pattern matches nothing.
    """
    selected: set[str] = set()
    for part in pattern.split(","):
        matched = fnmatch.filter(layers, part.strip())
        if not matched:
            raise ValueError(
                f"the layer pattern must match a layer, got {part.strip()!r}. "
                f"Layers: {', '.join(layers)}."
            )
        selected.update(matched)
    return [layer for layer in layers if layer in selected]


def comparable(model: Watched, reference: Watched) -> Watched:
    """Restricts a model to the outputs and parameters that have the same shape in its reference.

    Both must return kept outputs, whatever images they run on.
    """
    nothing = np.empty(0, np.float32)
    mine, theirs = (watched.run(nothing).outputs for watched in (model, reference))
    shared = [layer for layer in model.points if layer in reference.points]
    alike = [layer for layer in shared if mine[layer].shape == theirs[layer].shape]
    other = {layer: "an output of another shape" for layer in shared if layer not in alike}
    parameters = {
        layer: {
            kind: kinds[kind]
            for kind, theirs in reference.parameters.get(layer, {}).items()
            if kind in kinds and kinds[kind].values.shape == theirs.values.shape
        }
        for layer, kinds in model.parameters.items()
    }
    points = {layer: model.points[layer] for layer in alike}
    return model._replace(points=points, absent=model.absent | other, parameters=parameters)
