"""Shows equalized models in the float model's units.

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
from resnet8.inspection.capture import Captured, Point, Watched
from resnet8.models import onnx_graph, onnx_model, torch_model
from resnet8.quantize import equalization
from resnet8.quantize.equalization import Equalization, Factors, check_count
from resnet8.quantize.quantization import RELU_AWARE

_NAMES = TypeAdapter(list[str])
T = TypeVar("T")


def read_equalization(path: Path) -> Equalization:
    """Reads the equalization factors in the file of a model.

    Raises:
        ArtifactError: the file is not a model, or its factors are malformed.
    """
    return _read(path, equalization.METADATA, equalization.decode, "equalization factors")


def read_relu_aware(path: Path) -> list[str]:
    """Reads the names of tensors that a model clips on purpose.

    Raises:
        ArtifactError: the file is not a model, or its names are malformed.
    """
    return _read(path, RELU_AWARE, lambda text: _NAMES.validate_json(text or "[]"), "names")


def _read(path: Path, key: str, decode: Callable[[str], T], content: str) -> T:
    if path.suffix == ".pt2":
        text = torch_model.read_metadata(path, key)
    else:
        text = onnx_graph.metadata(onnx_model.load_model(path)).get(key, "")
    try:
        return decode(text)
    except ValueError as exc:
        reason = " ".join(str(exc).split())[:200].rstrip(".")
        raise ArtifactError(
            f"{path} must hold {content}, got: {reason}. Run `dvc repro` to make it again."
        ) from exc


def in_float_units(
    watched: Watched, factors: Equalization, *, clipped: Collection[str] = ()
) -> Watched:
    """Converts the outputs and parameters of an equalized model to the float model's units.

    Args:
        watched: the model.
        factors: by which its channels were divided.
        clipped: tensors that the model clips on purpose.
    """
    scaled = {name: x for name, x in factors.outputs.items() if name in watched.points}

    def convert_point(name: str, point: Point) -> Point:
        quantization = point.quantization
        if quantization and name in scaled:
            quantization = quantization.scaled(scaled[name], axis=1)
        return Point(point.place, quantization, clips_on_purpose=name in clipped)

    def run(images: NDArray[np.float32]) -> Captured:
        captured = watched.run(images)
        outputs = dict(captured.outputs)
        for name, factor in scaled.items():
            values = outputs[name]
            check_count(name, factor, values.shape[1] if values.ndim > 1 else 0)
            if watched.points[name].quantization is None:
                outputs[name] = values * factor.reshape(-1, *[1] * (values.ndim - 2))
        return captured._replace(outputs=outputs)

    parameters = {
        name: {
            kind: _convert(x, name, factors.outputs.get(name), factors.inputs.get(name))
            for kind, x in kinds.items()
        }
        for name, kinds in watched.parameters.items()
    }
    points = {name: convert_point(name, point) for name, point in watched.points.items()}
    return watched._replace(points=points, parameters=parameters, run=run)


def _convert(
    parameter: Parameter, layer: str, outputs: Factors | None, inputs: Factors | None
) -> Parameter:
    """Multiplies a weight or bias by output factors, and divides a weight by input factors.

    Args:
        parameter: a weight (O, I, ...), a depthwise weight (O, 1, ...), or a bias (O,).
        layer: for errors.
        outputs: (O,) factors.
        inputs: (I,) factors.
    """
    if outputs is None and inputs is None:
        return parameter
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
    return Parameter(values, quantization and quantization.scaled(unit, axis=0))
