"""The variants of a model that the pipeline makes and compares, and their files."""

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path

from resnet8.core.files import find_model

_SUFFIXES = {"onnx": ".onnx", "torch": ".pt2"}


class Variant(StrEnum):
    """A runtime and a number type, `<runtime>_<type>`, in the order of the pipeline's stages.

    The types of quantized models are those of `params.yaml`: activations and weights.
    """

    KERAS_FP32 = "keras_fp32"
    ONNX_FP32 = "onnx_fp32"
    TORCH_FP32 = "torch_fp32"
    ONNX_INT8 = "onnx_int8"
    ONNX_UINT8 = "onnx_uint8"
    ONNX_UINT8_INT8 = "onnx_uint8_int8"
    TORCH_INT8 = "torch_int8"

    @property
    def runtime(self) -> str:
        """`keras`, `onnx` or `torch`."""
        return self.partition("_")[0]

    @property
    def type(self) -> str:
        """`fp32`, or the type of a quantized model."""
        return self.partition("_")[2]

    @property
    def is_float(self) -> bool:
        return self.type == "fp32"

    @property
    def original(self) -> "Variant":
        """The float variant of the same runtime."""
        return Variant(f"{self.runtime}_fp32")

    def path(self, models: Path, *, raw: Path | None = None) -> Path:
        """Returns the path of the model's file, in `raw` if it is the Keras model."""
        if self.runtime in _SUFFIXES:
            return models / f"{self}{_SUFFIXES[self.runtime]}"
        if raw is None:
            raise ValueError(f"the folder of {self} must be given.")
        return find_model(raw)


FLOAT_VARIANTS = tuple(variant for variant in Variant if variant.is_float)
QUANTIZED_VARIANTS = tuple(variant for variant in Variant if not variant.is_float)


def list_larger(sizes: Mapping[str, int]) -> str:
    """Names the quantized variants whose file is larger than that of the runtime's float model.

    `sizes` has bytes by variant. The text is empty if there are none.
    """
    excess = {x: n - sizes.get(Variant(x).original, n) for x, n in sizes.items()}
    larger = [f"{name} by {n / 1000:.1f} kB" for name, n in excess.items() if n > 0]
    if not larger:
        return ""
    return (
        f"Larger than the float model's file: {', '.join(larger)}; the quantization steps and "
        "their parameters take more bytes than 8-bit weights save, as they do in small models."
    )
