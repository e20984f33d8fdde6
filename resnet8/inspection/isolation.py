"""Makes the models of a sensitivity analysis for any quantized variant."""

from collections.abc import Sequence
from pathlib import Path

import onnx

from resnet8.core.evaluation import Predictor
from resnet8.core.variants import Variant
from resnet8.inspection import onnx_isolation, torch_isolation
from resnet8.inspection.sensitivity import Isolate
from resnet8.inspection.units import read_equalization
from resnet8.models import onnx_graph, onnx_model, torch_model
from resnet8.quantize.equalization import equalized


def load(variant: Variant, folder: Path) -> tuple[list[str], Isolate]:
    """The quantized layers of a variant, and what quantizes some of them only.

    Args:
        variant: a quantized one.
        folder: holds its model and the float one of ONNX.
    """
    path = variant.path(folder)
    original = onnx_model.load_model(Variant.ONNX_FP32.path(folder))
    load_quantized = _load_onnx if variant.runtime == "onnx" else _load_torch
    return load_quantized(path, equalized(original, read_equalization(path)))


def _load_onnx(path: Path, original: onnx.ModelProto) -> tuple[list[str], Isolate]:
    quantized = onnx_model.load_model(path)

    def isolate(layers: Sequence[str]) -> Predictor:
        model = onnx_isolation.isolate(original, quantized, layers)
        # Otherwise ONNX Runtime quantizes the weights of the float layers too.
        return onnx_model.make_predictor(model, as_written=True)

    return onnx_isolation.quantized_layers(original, quantized), isolate


def _load_torch(path: Path, original: onnx.ModelProto) -> tuple[list[str], Isolate]:
    parameters = onnx_graph.read_parameters(original)
    quantized = torch_model.load(path)

    def isolate(layers: Sequence[str]) -> Predictor:
        return torch_model.as_predictor(torch_isolation.isolate(parameters, quantized, layers))

    return torch_isolation.quantized_layers(quantized), isolate
