"""What is told apart before a report is made."""

from typing import Any

from resnet8.report.inputs import classes_with_images, sort_variants
from tests.report_inputs import make_inputs


def comparison(**agreement: float) -> dict[str, Any]:
    return {
        "baseline": "keras_fp32",
        "variants": {name: {"agreement": x} for name, x in agreement.items()},
    }


def test_sort_variants_compares_quantized_ones_and_conversions_that_moved() -> None:
    names = ("keras_fp32", "onnx_fp32", "torch_fp32", "onnx_int8")
    rows = comparison(keras_fp32=1, onnx_fp32=1, torch_fp32=0.99, onnx_int8=1)
    found = sort_variants(names, rows)
    assert found.compared == ["torch_fp32", "onnx_int8"]
    assert (found.quantized, found.converted) == (["onnx_int8"], ["onnx_fp32", "torch_fp32"])


def test_sort_variants_compares_conversions_when_there_is_nothing_else() -> None:
    rows = comparison(keras_fp32=1, onnx_fp32=1)
    assert sort_variants(("keras_fp32", "onnx_fp32"), rows).compared == ["onnx_fp32"]


def test_sort_variants_takes_a_quantized_baseline() -> None:
    rows = comparison(keras_fp32=0.98, onnx_int8=1) | {"baseline": "onnx_int8"}
    found = sort_variants(("keras_fp32", "onnx_int8"), rows)
    assert (found.quantized, found.converted) == ([], ["keras_fp32"])
    assert found.compared == ["keras_fp32"]


def test_classes_with_images_leaves_out_those_without() -> None:
    found = classes_with_images(make_inputs(missing_class=3))
    assert len(found) == 9
    assert "cat" not in found
    assert found["truck"] == 9
