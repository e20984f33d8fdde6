"""Windows that convolutions and pools move over the rows and columns of a tensor.

Shape letters: C channels, H x W places, h x w places of a window.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import onnx

from resnet8.models.onnx_graph import attributes
from resnet8.reference.operations import Scope, refuse


class Windows(NamedTuple):
    """Windows on (C, H, W).

    kernel, strides, dilations: along H and along W.
    pads: places that windows reach above, left of, below and right of the tensor.
    counts: the different numbers of places that windows have inside of the tensor.
    """

    kernel: Sequence[int]
    strides: Sequence[int]
    dilations: Sequence[int]
    pads: Sequence[int]
    counts: frozenset[int]

    @property
    def numbers(self) -> dict[str, Any]:
        """All but the counts, by name."""
        return {key: list(x) for key, x in self._asdict().items() if key != "counts"}


def read_windows(
    scope: Scope, node: onnx.NodeProto, *, kernel: Sequence[int] | None = None
) -> Windows:
    """Reads the attributes of a convolution or a pool.

    Args:
        scope: around it.
        node: a Conv, or a pool of two axes, or a global one.
        kernel: (h, w), None for that of the attributes.

    Raises:
        ArtifactError: its input is not (C, H, W).

    Source: https://onnx.ai/onnx/operators/onnx__MaxPool.html
    """
    source, output = scope.shapes[node.input[0]], scope.shapes[node.output[0]]
    if len(source) != 3:
        refuse(node, "read channels, rows and columns", f"shape {tuple(source)}")
    options = attributes(node)
    kernel = kernel or options.get("kernel_shape", source[1:])  # global pools have none
    strides, dilations = (options.get(name, [1, 1]) for name in ("strides", "dilations"))
    before, behind, counts = [], [], []
    for axis in range(2):
        places, windows = source[axis + 1], output[axis + 1]
        steps = [dilations[axis] * i for i in range(kernel[axis])]
        reached = (windows - 1) * strides[axis] + steps[-1] + 1
        missing = max(reached - places, 0)
        first = {
            b"SAME_UPPER": missing // 2,
            b"SAME_LOWER": missing - missing // 2,
        }.get(options.get("auto_pad", b""), options.get("pads", [0, 0])[axis])
        starts = [strides[axis] * i - first for i in range(windows)]
        before.append(first)
        behind.append(max(reached - places - first, 0))
        counts.append({sum(0 <= start + x < places for x in steps) for start in starts})
    inside = frozenset(rows * columns for rows in counts[0] for columns in counts[1])
    return Windows(kernel, strides, dilations, [*before, *behind], inside)
