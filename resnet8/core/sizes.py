"""Describes model files that quantization made larger."""

from collections.abc import Mapping

from resnet8.core.variants import Variant

_REASON = (
    "the quantization steps and their parameters take more bytes than 8-bit weights save, as they "
    "do in small models"
)


def describe_size(n_bytes: int, *, original: int) -> str:
    """Describes the size of a quantized model's file, and its excess over the float model's.

    Args:
        n_bytes: size of the quantized model's file.
        original: size of the float model's file in the same format, in bytes.
    """
    size = f"{n_bytes} bytes"
    if n_bytes <= original:
        return size
    return f"{size}, {n_bytes - original} more than the float model: {_REASON}"


def list_larger(sizes: Mapping[str, int]) -> str:
    """Names the quantized variants whose file is larger than that of the runtime's float model.

    Args:
        sizes: bytes of model files by variant.

    Returns:
        A sentence, or an empty text if there are none.
    """
    originals = {name: sizes.get(Variant(name).original) for name in sizes}
    larger = [
        f"{name} by {(sizes[name] - n_bytes) / 1000:.1f} kB"
        for name, n_bytes in originals.items()
        if n_bytes is not None and sizes[name] > n_bytes
    ]
    return f"Larger than the float model's file: {', '.join(larger)}; {_REASON}." if larger else ""
