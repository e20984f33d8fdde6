"""Shows equalized models in the float model's units.

Shape letters: N images, C channels, O outputs and I inputs of a layer, h x w pixels.
"""

from collections.abc import Collection
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from pydantic import TypeAdapter

from resnet8.core.errors import ArtifactError
from resnet8.core.qparams import Parameter
from resnet8.inspection.capture import Captured, Watched
from resnet8.models import onnx_graph, torch_model
from resnet8.models.faults import reason
from resnet8.quantize import equalization
from resnet8.quantize.equalization import Equalization, along, check_count
from resnet8.quantize.quantization import RELU_AWARE

_NAMES = TypeAdapter(list[str])


def read_metadata(model: object, path: Path) -> tuple[Equalization, list[str]]:
    """Reads the equalization factors and the tensors clipped on purpose of a model from `path`.

    Raises:
        ArtifactError: the file of a program is damaged, or factors or names are malformed.
    """
    if isinstance(model, onnx.ModelProto):
        texts = onnx_graph.metadata(model)
    else:
        keys = (equalization.METADATA, RELU_AWARE)
        texts = {key: torch_model.read_metadata(path, key) for key in keys}
    content = "equalization factors"
    try:
        factors = equalization.decode(texts.get(equalization.METADATA, ""))
        content = "names"
        return factors, _NAMES.validate_json(texts.get(RELU_AWARE) or "[]")
    except ValueError as exc:
        raise ArtifactError(
            f"{path} must hold {content}, got: {reason(exc)}. Run `dvc repro` to make it again."
        ) from exc


def in_float_units(
    watched: Watched, factors: Equalization, *, clipped: Collection[str] = ()
) -> Watched:
    """Converts an equalized model, which clips some tensors on purpose, to float units."""
    points = {x: p._replace(clips_on_purpose=x in clipped) for x, p in watched.points.items()}
    scaled = {layer: x for layer, x in factors.outputs.items() if layer in points}
    for layer, factor in scaled.items():
        if quantization := points[layer].quantization:
            quantization = quantization.scaled(factor, axis=1)
            points[layer] = points[layer]._replace(quantization=quantization)

    def run(images: NDArray[np.float32]) -> Captured:
        captured = watched.run(images)
        outputs = dict(captured.outputs)
        for layer, factor in scaled.items():
            values = outputs[layer]
            check_count(layer, factor, values.shape[1] if values.ndim > 1 else 0)
            if points[layer].quantization is None:
                outputs[layer] = values * along(factor, 1, values.ndim)
        return captured._replace(outputs=outputs)

    parameters = {
        layer: {kind: _convert(x, layer, factors) for kind, x in kinds.items()}
        for layer, kinds in watched.parameters.items()
    }
    return watched._replace(points=points, parameters=parameters, run=run)


def _convert(parameter: Parameter, layer: str, factors: Equalization) -> Parameter:
    """Multiplies a weight or bias by (O,) factors, and divides a weight by (I,) factors.

    A depthwise weight (O, 1, h, w) has an input for each output.
    """
    outputs, inputs = factors.outputs.get(layer), factors.inputs.get(layer)
    if outputs is None and inputs is None:
        return parameter
    values, quantization = parameter
    unit = np.ones(len(values), np.float32) if outputs is None else outputs
    check_count(layer, unit, len(values))
    values = values * along(unit, 0, values.ndim)
    if inputs is not None and values.ndim > 1:
        axis = 0 if values.shape[1] == 1 and len(inputs) > 1 else 1
        check_count(layer, inputs, values.shape[axis])
        values = values / along(inputs, axis, values.ndim)
        unit = unit / (inputs if axis == 0 else inputs.min())  # see `Parameter`
    return Parameter(values, quantization.scaled(unit, axis=0) if quantization else None)
