"""ONNX models compute and are described. Refusals of files are in tests/hostile/test_onnx.py."""

from typing import Any

import numpy as np
import pytest
from onnx.reference import ReferenceEvaluator

from resnet8.core.errors import ArtifactError
from resnet8.models import onnx_model
from resnet8.models.onnx_graph import copy_of


def test_predictor_agrees_with_the_onnx_reference_implementation(
    onnx_fp32: Any, test_set: Any
) -> None:
    images = test_set[0][:4].astype(np.float32)
    (expected,) = ReferenceEvaluator(onnx_fp32).run(None, {"input": images})
    np.testing.assert_allclose(onnx_model.make_predictor(onnx_fp32)(images), expected, atol=1e-5)


def test_describe_gives_operators_names_types_and_dimensions(onnx_fp32: Any) -> None:
    description = onnx_model.describe(onnx_fp32)
    assert description["opset"] == {"ai.onnx": 17}
    assert description["inputs"] == [
        {"name": "input", "dtype": "float32", "shape": ["batch", 32, 32, 3]}
    ]
    assert description["outputs"] == [
        {"name": "probabilities", "dtype": "float32", "shape": ["batch", 10]}
    ]
    assert description["operators"] == {
        "Transpose": 1, "Conv": 9, "Relu": 7, "Add": 3, "AveragePool": 1, "Reshape": 1,
        "Gemm": 1, "Softmax": 1,
    }  # fmt: skip


def test_describe_refuses_a_graph_that_contradicts_itself(onnx_fp32: Any) -> None:
    broken = copy_of(onnx_fp32)
    broken.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 11
    with pytest.raises(ArtifactError, match="must pass the ONNX checker"):
        onnx_model.describe(broken)
