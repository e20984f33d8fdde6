"""Names model files that quantization made larger."""

from collections.abc import Mapping

from resnet8.core.variants import Variant


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
