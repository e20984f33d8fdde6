"""Shows an equalized model in the float model's units.

Shape letters: N images, C channels, O outputs and I inputs of a layer, h x w pixels.
"""

from collections.abc import Callable, Collection
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter

from resnet8.core.errors import ArtifactError
from resnet8.core.qparams import Parameter
from resnet8.inspection.capture import Captured, Watched
from resnet8.models import onnx_graph, onnx_model, torch_model
from resnet8.quantize import equalization
from resnet8.quantize.equalization import Equalization, Factors, check_count
from resnet8.quantize.quantization import RELU_AWARE

_NAMES = TypeAdapter(list[str])
T = TypeVar("T")


def read_equalization(path: Path) -> Equalization:
    """Reads the factors that the file of a quantized model carries.

    Raises:
        ArtifactError: the file is no model, or carries something else.
    """
    return _read(path, equalization.METADATA, equalization.decode, "equalization factors")


def read_relu_aware(path: Path) -> list[str]:
    """Reads which tensors of a quantized model are clipped on purpose.

    Raises:
        ArtifactError: the file is no model, or carries something else.
    """
    return _read(path, RELU_AWARE, lambda text: _NAMES.validate_json(text or "[]"), "names")


def _read(path: Path, key: str, decode: Callable[[str], T], what: str) -> T:
    if path.suffix == ".pt2":
        text = torch_model.read_metadata(path, key)
    else:
        text = onnx_graph.metadata(onnx_model.load_model(path)).get(key, "")
    try:
        return decode(text)
    except ValueError as exc:
        reason = " ".join(str(exc).split())[:200].rstrip(".")
        raise ArtifactError(
            f"{path} must hold {what}, got: {reason}. Run `dvc repro` to make it again."
        ) from exc


def with_clipped_on_purpose(watched: Watched, names: Collection[str]) -> Watched:
    """Watches a model that clips some of its tensors on purpose."""
    points = {
        name: point._replace(clips_on_purpose=name in names)
        for name, point in watched.points.items()
    }
    return watched._replace(points=points)


def in_float_units(watched: Watched, factors: Equalization) -> Watched:
    """Watches an equalized model as if its channels had not been equalized.

    Args:
        watched: the model.
        factors: by which its channels were divided.
    """
    at = {name: x for name, x in factors.outputs.items() if name in watched.points}
    points = {
        name: point._replace(quantization=point.quantization.scaled(at[name], axis=1))
        if name in at and point.quantization
        else point
        for name, point in watched.points.items()
    }

    def run(images: NDArray[np.float32]) -> Captured:
        captured = watched.run(images)
        outputs = dict(captured.outputs)
        for name, found in at.items():
            values = outputs[name]
            check_count(name, found, values.shape[1] if values.ndim > 1 else 0)
            if points[name].quantization is None:
                outputs[name] = values * found.reshape(-1, *[1] * (values.ndim - 2))
        return captured._replace(outputs=outputs)

    parameters = {
        name: {
            kind: _in_float_units(
                parameter, name, factors.outputs.get(name), factors.inputs.get(name)
            )
            for kind, parameter in kinds.items()
        }
        for name, kinds in watched.parameters.items()
    }
    return watched._replace(points=points, parameters=parameters, run=run)


def _in_float_units(
    parameter: Parameter, layer: str, outputs: Factors | None, inputs: Factors | None
) -> Parameter:
    """Multiplies by the factors of outputs, and divides a weight by those of inputs.

    Args:
        parameter: a weight (O, I, ...), of a depthwise layer (O, 1, ...), or a bias (O,).
        layer: its name.
        outputs: (O,) factors.
        inputs: (I,) factors.
    """
    values, quantization = parameter
    unit = np.ones(len(values), np.float32) if outputs is None else outputs
    check_count(layer, unit, len(values))
    values = values * unit.reshape(-1, *[1] * (values.ndim - 1))
    if values.ndim > 1 and inputs is not None:
        is_depthwise = values.shape[1] == 1 and len(inputs) > 1
        check_count(layer, inputs, len(values) if is_depthwise else values.shape[1])
        by_input = inputs.reshape(-1, 1) if is_depthwise else inputs
        values = values / by_input.reshape(*by_input.shape, *[1] * (values.ndim - 2))
        unit = unit / (inputs if is_depthwise else inputs.min())
    if quantization is not None and (outputs is not None or inputs is not None):
        quantization = quantization.scaled(unit, axis=0)
    return Parameter(values, quantization)
