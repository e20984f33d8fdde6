"""ONNX models compute and are described. Refusals of files are in tests/hostile/test_onnx.py."""

from typing import Any

import numpy as np
from onnx.reference import ReferenceEvaluator

from resnet8.models import onnx_model


def test_predictor_agrees_with_the_onnx_reference_implementation(
    onnx_fp32: Any, test_set: Any
) -> None:
    images = test_set[0][:4].astype(np.float32)
    (expected,) = ReferenceEvaluator(onnx_fp32).run(None, {"input": images})
    np.testing.assert_allclose(onnx_model.make_predictor(onnx_fp32)(images), expected, atol=1e-5)


def test_describe_gives_names_types_and_dimensions(onnx_fp32: Any) -> None:
    description = onnx_model.describe(onnx_fp32)
    images = {"name": "input", "dtype": "float32", "shape": ["batch", 32, 32, 3]}
    rows = {"name": "probabilities", "dtype": "float32", "shape": ["batch", 10]}
    assert (description["inputs"], description["outputs"]) == ([images], [rows])
