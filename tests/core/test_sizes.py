"""Quantized files that are larger than the float ones."""

from resnet8.core.sizes import list_larger


def test_list_larger_compares_with_the_float_model_of_the_same_runtime() -> None:
    sizes = {
        "keras_fp32": 1_000, "onnx_fp32": 40_000, "torch_fp32": 60_000, "onnx_int8": 50_000,
        "onnx_uint8": 40_000, "torch_int8": 60_100,
    }  # fmt: skip
    assert list_larger(sizes).startswith(
        "Larger than the float model's file: onnx_int8 by 10.0 kB, torch_int8 by 0.1 kB; the "
    )
    assert list_larger({"onnx_fp32": 315_000, "onnx_int8": 102_000, "torch_int8": 266_000}) == ""
