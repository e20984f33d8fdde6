"""Quantized models as the pipeline runs them, watched layer by layer."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx
import torch
from numpy.typing import NDArray

from resnet8.core.variants import Variant
from resnet8.inspection import onnx_capture, torch_capture
from resnet8.inspection.capture import Captured, Watched
from resnet8.models import onnx_model, torch_model


class Runtime(NamedTuple):
    """A quantized model in its runtime.

    watched: its layers; their codes as the runtime makes them.
    exact_sums: layers whose outputs the runtime computes from exact sums of 8-bit products.
    saturates: whether sums of 8-bit products saturate on this CPU.
    """

    watched: Watched
    exact_sums: frozenset[str]
    saturates: bool

    def codes(self, captured: Captured, tensor: str) -> NDArray[np.int64] | None:
        """The codes that a tensor got, as those of uint8; None where it has none."""
        point = self.watched.points.get(tensor)
        if point is None or point.quantization is None:
            return None
        lowest = np.iinfo(point.quantization.dtype).min
        return np.asarray(captured.outputs[tensor].astype(np.int64) - lowest)


def load(variant: Variant, path: Path) -> Runtime:
    """Opens the file of a quantized model as the pipeline runs it.

    Raises:
        ArtifactError: the file is missing or no such model.
    """
    if variant.runtime == "torch":
        return in_torch(torch_model.load(path))
    return in_onnx_runtime(onnx_model.load_model(path))


def in_torch(program: torch.export.ExportedProgram) -> Runtime:
    """Opens a program, which multiplies 8-bit values in float."""
    return Runtime(torch_capture.watch(program), frozenset(), saturates=False)


def in_onnx_runtime(model: onnx.ModelProto) -> Runtime:
    """Opens a model in QDQ form."""
    watched = onnx_capture.watch(model)
    exact = {f"tensor {x}" for x in onnx_model.integer_outputs(model)}
    return Runtime(
        watched,
        frozenset(layer for layer, point in watched.points.items() if point.place in exact),
        saturates=onnx_model.mixes_signs(model) and onnx_model.products_saturate(),
    )
