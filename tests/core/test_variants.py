"""Variants: their parts, and their files."""

from pathlib import Path
from typing import get_args

import pytest

from resnet8.core.errors import ArtifactError
from resnet8.core.names import OnnxType, TorchType
from resnet8.core.variants import FLOAT_VARIANTS, QUANTIZED_VARIANTS, Variant


def test_quantized_variants_are_all_types_that_parameters_can_ask_for() -> None:
    onnx = [f"onnx_{name}" for name in get_args(OnnxType)]
    torch = [f"torch_{name}" for name in get_args(TorchType)]
    assert list(QUANTIZED_VARIANTS) == onnx + torch
    assert FLOAT_VARIANTS == ("keras_fp32", "onnx_fp32", "torch_fp32")


def test_variant_has_a_runtime_a_type_and_a_float_original() -> None:
    variant = Variant("onnx_uint8_int8")
    assert (variant.runtime, variant.type, variant.is_float) == ("onnx", "uint8_int8", False)
    assert variant.original == "onnx_fp32"
    assert variant.original.is_float


def test_path_is_that_of_each_runtimes_file(tmp_path: Path) -> None:
    (tmp_path / "model.keras").touch()
    models = Path("models")
    assert Variant.KERAS_FP32.path(models, raw=tmp_path) == tmp_path / "model.keras"
    assert Variant.ONNX_UINT8_INT8.path(models) == models / "onnx_uint8_int8.onnx"
    assert Variant.TORCH_INT8.path(models) == models / "torch_int8.pt2"


def test_path_refuses_a_folder_without_a_keras_model(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"must hold one model, got"):
        Variant.KERAS_FP32.path(Path("models"), raw=tmp_path)


def test_path_of_the_keras_model_needs_its_folder() -> None:
    with pytest.raises(ValueError, match="the folder of keras_fp32 must be given"):
        Variant.KERAS_FP32.path(Path("models"))
