"""What is captured of a model's layers, whatever runtime it belongs to.

Layers have the names that they got in `onnx_graph.name_after_layers`, in every variant.
Shape letters: N images, H = W = 32 pixels, C = 3 channels, K classes.
"""

import fnmatch
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from resnet8.core.evaluation import Probabilities
from resnet8.core.qparams import Parameter, QuantizationParameters


class Point(NamedTuple):
    """Where a layer's output is captured.

    place: for people: a hook, a Keras layer or a tensor.
    quantization: of the codes that are captured, to numbers in the float model's units; None
        where numbers are captured.
    clips_on_purpose: whether what is below the range, or below zero where there is none, is
        discarded behind the layer anyway.
    """

    place: str
    quantization: QuantizationParameters | None = None
    clips_on_purpose: bool = False


class Captured(NamedTuple):
    """What one run of a model showed.

    outputs: by layer, (N, ...): codes where the layer's point is quantized, else float32.
    probabilities: (N, K).
    """

    outputs: dict[str, NDArray[Any]]
    probabilities: Probabilities


class Watched(NamedTuple):
    """A model whose layers are watched.

    points: by layer, in the order of computation.
    parameters: `weight` and `bias` by layer.
    absent: why a layer of the float model cannot be seen, by layer.
    run: (N, 32, 32, 3) float32 in [0, 255] -> what every point saw.
    """

    points: dict[str, Point]
    parameters: dict[str, dict[str, Parameter]]
    absent: dict[str, str]
    run: Callable[[NDArray[np.float32]], Captured]


def dequantized(point: Point, output: NDArray[Any]) -> NDArray[np.float32]:
    """A captured output as numbers in the float model's units."""
    return output if point.quantization is None else point.quantization.dequantize(output)


def select_layers(layers: Sequence[str], pattern: str) -> list[str]:
    """The layers that a shell pattern such as `conv2d_*` matches; commas join several.

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


def only(watched: Watched, layers: Sequence[str]) -> Watched:
    """Watches some of the layers only."""

    def run(images: NDArray[np.float32]) -> Captured:
        captured = watched.run(images)
        return captured._replace(outputs=_part(captured.outputs, layers))

    return watched._replace(
        points=_part(watched.points, layers),
        parameters=_part(watched.parameters, layers),
        run=run,
    )


def comparable(model: Watched, reference: Watched) -> Watched:
    """Watches what a model has in common with its reference: outputs and parameters of one shape.

    Both give outputs that they keep, whatever they are run on.
    """
    nothing = np.empty(0, np.float32)
    mine, theirs = (watched.run(nothing).outputs for watched in (model, reference))
    points = {layer: point for layer, point in model.points.items() if layer in reference.points}
    other = {layer for layer in points if mine[layer].shape != theirs[layer].shape}
    parameters = {
        layer: {
            kind: parameter
            for kind, parameter in kinds.items()
            if kind in (known := reference.parameters.get(layer, {}))
            and known[kind].values.shape == parameter.values.shape
        }
        for layer, kinds in model.parameters.items()
    }
    return model._replace(
        points={layer: point for layer, point in points.items() if layer not in other},
        absent={**model.absent, **dict.fromkeys(other, "an output of another shape")},
        parameters=parameters,
    )


def _part(by_layer: Mapping[str, Any], layers: Sequence[str]) -> dict[str, Any]:
    return {layer: by_layer[layer] for layer in layers if layer in by_layer}
