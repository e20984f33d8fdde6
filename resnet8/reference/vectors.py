"""Test vectors: the expected codes of a device for some images, with all parameters.

docs/test-vectors.md describes the format.

Shape letters: N images, C channels, O outputs of a layer, K classes.
"""

import re
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from resnet8.reference.network import IMAGES, PIXELS, Network
from resnet8.reference.operations import Operation, exact_text
from resnet8.reference.operators import Values
from resnet8.reference.reading import read_operations

FORMAT, VERSION = "resnet8 test vectors", 1
# Distance from a tie in steps; errors of float64 are far smaller, except for clipped codes.
_NEAR = 1e-6
_FOLDERS = {"weight": "weights", "bias": "biases", "table": "tables", "indices": "indices"}


class Vectors(NamedTuple):
    """Operations of a network and their exact codes.

    operations: in order.
    codes: by tensor, the images first; (N, ...) uint8, int32 of sums.
    output: the tensor whose largest number is the class.
    classes: (N,) of the images.
    """

    operations: list[Operation]
    codes: dict[str, NDArray[Any]]
    output: str
    classes: list[int]


def compute(network: Network, images: NDArray[np.uint8]) -> Vectors:
    """Computes images (N, H, W, C) exactly.

    Raises:
        ArtifactError: integers and tables do not compute one of the network's operators.
    """
    codes: dict[str, NDArray[Any]] = {IMAGES: images}
    operations: list[Operation] = []
    for step in network.steps:
        values = network.compute(step, codes)
        shapes = {name: x.shape[1:] for name, x in {**codes, **values}.items()}
        for operation in read_operations(network, step, shapes):
            codes[operation.output] = _run(operation, network, codes, values)
            operations.append(operation)
    last = network.steps[-1].nodes[-1]
    output = last.input[0] if last.op_type == "Softmax" else last.output[0]
    (scored,) = (x for x in operations if x.output == output)
    return Vectors(operations, codes, output, _classes(scored, codes[output]))


def _run(
    operation: Operation,
    network: Network,
    codes: Mapping[str, NDArray[Any]],
    values: Mapping[str, Values],
) -> NDArray[Any]:
    """Returns the output of an operation for the codes of its inputs."""
    if operation.grid:
        return _round(operation, values[operation.nodes[0].output[0]])
    sources = [codes[x] for x in operation.inputs]
    if operation.kind == "table":
        return np.asarray(operation.arrays["table"][sources[0]])
    (node,) = operation.nodes
    if operation.kind == "move":
        indices = operation.arrays["indices"]
        moved = sources[0].reshape(len(sources[0]), -1)[:, indices]
        moved[:, indices < 0] = operation.numbers.get("fill", 0)
        return np.asarray(moved.reshape(values[operation.output].shape))
    numbers = (x.astype(np.float64) for x in sources)
    copied = network.apply(node, dict(zip(node.input, numbers, strict=False)))
    return np.asarray(copied.astype(sources[0].dtype))


def _round(operation: Operation, values: Values) -> NDArray[Any]:
    """Rounds exact values to codes, and leaves sums unrounded."""
    if operation.parameters is None:
        units = np.array([float(x) for x in operation.grid])
        sums = values / units.reshape(-1, *[1] * (values.ndim - 2))
        return np.asarray(np.rint(sums).astype(np.int32))
    scale, zero_point, *_ = operation.parameters
    steps = round_exactly(values, scale=float(scale), grid=operation.grid)
    lowest, highest = (operation.numbers[x] for x in ("lowest", "highest"))
    return np.asarray(np.clip(steps + zero_point, lowest, highest).astype(np.uint8))


def round_exactly(values: Values, *, scale: float, grid: Sequence[Fraction]) -> NDArray[np.float64]:
    """Rounds exact values (N, C, ...) to integer steps, half to even, given in float64.

    A value close to a tie is replaced by the nearest multiple of the grid, one or one for each of
    C channels. As float64 has a relative error of a few 2**-53, and fewer than 2**50 multiples are
    in the range of 8-bit codes, this is the exact value. Values beyond are clipped anyway.
    """
    steps = values / scale
    rounded = np.rint(steps)
    near = np.abs(steps - np.floor(steps) - 0.5) < _NEAR
    for place in zip(*np.nonzero(near), strict=True):
        unit = grid[place[1] if len(grid) > 1 else 0]
        exact = round(Fraction(float(values[place])) / unit) * unit
        rounded[place] = round(exact / Fraction(scale))  # half to even
    return rounded


def _classes(operation: Operation, codes: NDArray[Any]) -> list[int]:
    """Returns the first class with the largest number for each image."""
    if operation.parameters is not None:
        return [int(x) for x in codes.argmax(axis=1)]
    rows = [[int(x) * y for x, y in zip(row, operation.grid, strict=True)] for row in codes]
    return [row.index(max(row)) for row in rows]


def describe(
    vectors: Vectors, *, dtype: str, chosen: str
) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Returns network.json, as docs/test-vectors.md describes it, and arrays by file.

    `dtype` is the type of codes other than images, `chosen` the text that selected the images.
    """
    writer = _Writer(np.dtype(dtype))
    pixels = Operation("images", (), (), IMAGES, PIXELS)
    by_output = {operation.output: operation for operation in [pixels, *vectors.operations]}
    content = {
        "format": FORMAT,
        "version": VERSION,
        "images": {"chosen": chosen, "count": len(vectors.classes), "tensor": IMAGES},
        "tensors": {x: writer.tensor(by_output[x], codes) for x, codes in vectors.codes.items()},
        "operations": [writer.operation(x) for x in vectors.operations],
        "output": {"tensor": vectors.output, "classes": vectors.classes},
    }
    return content, writer.arrays


class _Writer:
    """Describes operations and tensors, and collects their arrays by file name."""

    def __init__(self, dtype: np.dtype[Any]) -> None:
        self.arrays: dict[str, NDArray[Any]] = {}
        self._dtype = dtype
        self._offset = int(np.iinfo(dtype).min)

    def tensor(self, operation: Operation, codes: NDArray[Any]) -> dict[str, Any]:
        name, parameters = operation.output, operation.parameters
        if parameters is None:
            scales = exact_text([float(x) for x in operation.grid])
            return self._file("codes", name, codes) | {"zero_point": 0, "scales": scales}
        zero_point = int(parameters.zero_point)
        if name != IMAGES:
            codes, zero_point = self._shift(codes), zero_point + self._offset
        numbers = {"zero_point": zero_point, "scale": exact_text(float(parameters.scale))}
        return self._file("codes", name, codes) | numbers

    def operation(self, operation: Operation) -> dict[str, Any]:
        nodes = [node.name for node in operation.nodes]
        described: dict[str, Any] = {
            "kind": operation.kind,
            "name": nodes[0] if nodes else operation.output,
            "operators": [node.op_type for node in operation.nodes],
            "inputs": list(operation.inputs),
            "output": operation.output,
        }
        for key, number in operation.numbers.items():
            is_code = key in ("lowest", "highest", "fill")
            described[key] = number + self._offset if is_code else number
        for key, array in operation.arrays.items():
            stored = self._shift(array) if key == "table" else array
            file = self._file(_FOLDERS[key], described["name"], stored)
            described[key] = {**file, **described.get(key, {})}
        return described

    def _shift(self, codes: NDArray[np.uint8]) -> NDArray[Any]:
        return (codes.astype(np.int64) + self._offset).astype(self._dtype)

    def _file(self, folder: str, name: str, array: NDArray[Any]) -> dict[str, Any]:
        """Adds an array under a file name that is safe on every system."""
        readable = re.sub("[^A-Za-z0-9_-]", "_", name)[:60]
        file = f"{folder}/{len(self.arrays):03d}_{readable}.bin"
        self.arrays[file] = array
        shape = array.shape[1:] if folder == "codes" else array.shape
        return {"file": file, "shape": list(shape), "type": array.dtype.name}
