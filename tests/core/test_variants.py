"""Variants: their parts, and their files."""

from pathlib import Path
from typing import get_args

import pytest

from resnet8.core.errors import ArtifactError
from resnet8.core.names import OnnxType, TorchType
from resnet8.core.variants import FLOAT_VARIANTS, QUANTIZED_VARIANTS, Variant


def test_variants_are_float_ones_and_all_types_that_parameters_can_ask_for() -> None:
    onnx = [f"onnx_{name}" for name in get_args(OnnxType)]
    torch = [f"torch_{name}" for name in get_args(TorchType)]
    assert list(QUANTIZED_VARIANTS) == onnx + torch
    assert FLOAT_VARIANTS == ("keras_fp32", "onnx_fp32", "torch_fp32")
    variant = Variant("onnx_uint8_int8")
    assert (variant.runtime, variant.type, variant.is_float) == ("onnx", "uint8_int8", False)
    assert variant.original == "onnx_fp32"
    assert variant.original.is_float


def test_path_is_that_of_each_runtimes_file(tmp_path: Path) -> None:
    models = Path("models")
    with pytest.raises(ArtifactError, match=r"must hold one model, got"):
        Variant.KERAS_FP32.path(models, raw=tmp_path)
    with pytest.raises(ValueError, match="the folder of keras_fp32 must be given"):
        Variant.KERAS_FP32.path(models)
    (tmp_path / "model.keras").touch()
    assert Variant.KERAS_FP32.path(models, raw=tmp_path) == tmp_path / "model.keras"
    assert Variant.ONNX_UINT8_INT8.path(models) == models / "onnx_uint8_int8.onnx"
    assert Variant.TORCH_INT8.path(models) == models / "torch_int8.pt2"
