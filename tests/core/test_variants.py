"""Variants: their parts, and their files."""

from pathlib import Path
from typing import get_args

import pytest

from resnet8.core.errors import ArtifactError
from resnet8.core.names import OnnxType, TorchType
from resnet8.core.variants import FLOAT_VARIANTS, QUANTIZED_VARIANTS, Variant, list_larger


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


def test_list_larger_compares_with_the_float_model_of_the_same_runtime() -> None:
    sizes = {
        "keras_fp32": 1_000, "onnx_fp32": 40_000, "torch_fp32": 60_000, "onnx_int8": 50_000,
        "onnx_uint8": 40_000, "torch_int8": 60_100,
    }  # fmt: skip
    assert list_larger(sizes).startswith(
        "Larger than the float model's file: onnx_int8 by 10.0 kB, torch_int8 by 0.1 kB; the "
    )
    assert list_larger({"onnx_fp32": 315_000, "onnx_int8": 102_000, "torch_int8": 266_000}) == ""
