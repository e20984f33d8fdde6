"""Recomputes test vectors from the images: `python -m tests.reference.vector_reader FOLDER`.

Written from docs/test-vectors.md alone; imports nothing of the project. Sums are those of int64,
scales are exact rationals. Float64 rounds where it is far from a tie; rationals decide the rest.
"""

import json
import sys
from fractions import Fraction
from itertools import product
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

TYPES = {"uint8": "u1", "int8": "i1", "int32": "<i4"}
# Float64 is off by less than 2**-50 of a number; numbers that are larger than 2**20 are clipped.
SURE = 2.0**-30


class Folder:
    """Test vectors as they are stored."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.network = json.loads((path / "network.json").read_text(encoding="utf-8"))
        assert (self.network["format"], self.network["version"]) == ("resnet8 test vectors", 1)
        self.tensors = self.network["tensors"]

    def array(self, described: dict[str, Any]) -> Any:
        """The numbers of a file, in int64."""
        stored = np.fromfile(self.path / described["file"], TYPES[described["type"]])
        return stored.astype(np.int64).reshape(described["shape"])

    def codes(self, tensor: str) -> Any:
        """(N, ...) of all images."""
        described = self.tensors[tensor]
        shape = [self.network["images"]["count"], *described["shape"]]
        return self.array({**described, "shape": shape})


def exact(scale: dict[str, Any]) -> Any:
    """The rational number of a scale, or of each scale of a list."""
    if isinstance(scale["hex"], list):
        pairs = zip(scale["hex"], scale["decimal"], strict=True)
        return [exact({"hex": a, "decimal": b}) for a, b in pairs]
    assert float.fromhex(scale["hex"]) == scale["decimal"]
    return Fraction(scale["decimal"])


def find_faults(path: Path) -> list[str]:
    """Recomputes all tensors from the images, and lists those with other codes."""
    folder = Folder(path)
    image = folder.network["images"]["tensor"]
    codes = {image: folder.codes(image)}
    for operation in folder.network["operations"]:
        inputs = [codes[name] for name in operation["inputs"]]
        codes[operation["output"]] = compute(folder, operation, inputs)
    assert codes.keys() == folder.tensors.keys()
    faults = []
    for tensor, recomputed in codes.items():
        stored = folder.codes(tensor)
        assert stored.shape == recomputed.shape, tensor
        if differing := int(np.count_nonzero(stored != recomputed)):
            faults.append(f"{tensor}: {differing} of {stored.size} codes are others")
    output = folder.network["output"]
    scales = folder.tensors[output["tensor"]]
    scales = exact(scales["scales"]) if "scales" in scales else [1] * scales["shape"][0]
    numbers = [
        [int(x) * scale for x, scale in zip(row, scales, strict=True)]
        for row in codes[output["tensor"]]
    ]
    if [row.index(max(row)) for row in numbers] != output["classes"]:
        faults.append("classes are others")
    return faults


def compute(folder: Folder, operation: Any, inputs: list[Any]) -> Any:  # noqa: PLR0911
    """(N, ...) the output of an operation."""
    sources = [folder.tensors[name] for name in operation["inputs"]]
    output = folder.tensors[operation["output"]]
    shape = (len(inputs[0]), *output["shape"])
    match operation["kind"]:
        case "table":
            table = folder.array(operation["table"])
            return table[inputs[0] - np.iinfo(sources[0]["type"]).min]
        case "reshape":
            return inputs[0].reshape(shape)
        case "concat":
            return np.concatenate(inputs, axis=1 + operation["axis"])
        case "move":
            indices = folder.array(operation["indices"])
            moved = inputs[0].reshape(shape[0], -1)[:, indices]
            moved[:, indices < 0] = operation["fill"] if (indices < 0).any() else 0
            return moved.reshape(shape)
        case "max_pool":
            lowest = np.iinfo(np.int64).min
            return windows(inputs[0], operation, operation["kernel"], shape, lowest).max(axis=0)
    steps = [x - source["zero_point"] for x, source in zip(inputs, sources, strict=True)]
    scales = [exact(source["scale"]) for source in sources]
    sums, units = add_up(folder, operation, steps, scales, shape)
    if output["type"] == "int32":
        assert exact(output["scales"]) == units.ravel().tolist()
        return sums
    rounded = round_half_even(sums, units / exact(output["scale"])) + output["zero_point"]
    return np.clip(rounded, operation["lowest"], operation["highest"])


def add_up(folder: Folder, operation: Any, steps: Any, scales: Any, shape: Any) -> tuple[Any, Any]:
    """(N, ...) integers, and the rational numbers that they are multiplied with."""
    match operation["kind"]:
        case "conv":
            return conv(folder, operation, steps[0], scales[0], shape)
        case "dense":
            weight, bias = folder.array(operation["weight"]), folder.array(operation["bias"])
            sums = steps[0] @ (weight - operation["weight"]["zero_point"]).T + bias
            return sums, np.array(exact(operation["weight"]["scales"])) * scales[0]
        case "average_pool":
            kernel = operation["kernel"]
            sums = windows(steps[0], operation, kernel, shape, 0).sum(axis=0)
            ones = np.ones_like(steps[0][:1, :1])
            counts = windows(ones, operation, kernel, shape, 0).sum(axis=0)
            if operation["counts_pads"]:
                counts[:] = prod(kernel)
            return sums, scales[0] / counts.astype(object)
        case "multiply":
            return prod(steps), np.array([prod(scales)])
        case "add" | "subtract":
            denominator = max(scale.denominator for scale in scales)  # all are powers of two
            sums, sign = np.zeros(shape, np.int64), 1
            for x, scale in zip(steps, scales, strict=True):
                sums = sums + sign * x * int(scale * denominator)
                sign = -1 if operation["kind"] == "subtract" else 1
            assert sum(255 * scale * denominator for scale in scales) < 2**63
            return sums, np.array([Fraction(1, denominator)])
    raise ValueError(operation["kind"])


def windows(x: Any, operation: dict[str, Any], kernel: list[int], shape: Any, outside: int) -> Any:
    """(h w, N, C, H, W) what each place of a window covers."""
    top, left, bottom, right = operation["pads"]
    padded = np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)), constant_values=outside)
    (down, along), (rows, columns) = operation["strides"], operation["dilations"]
    covered = [
        padded[:, :, i * rows :: down, j * columns :: along][:, :, : shape[2], : shape[3]]
        for i, j in product(range(kernel[0]), range(kernel[1]))
    ]
    return np.stack(covered)


def conv(folder: Folder, operation: dict[str, Any], steps: Any, scale: Any, shape: Any) -> Any:
    weight, bias = folder.array(operation["weight"]), folder.array(operation["bias"])
    weight = weight - operation["weight"]["zero_point"]
    outputs, _, *kernel = weight.shape
    n, _, height, width = shape
    sums = np.empty((n, outputs, height * width), np.int64)
    covered = windows(steps, operation, kernel, shape, 0)  # the zero point, less itself
    groups = operation["groups"]
    inputs_of, outputs_of = np.split(covered, groups, axis=2), np.split(np.arange(outputs), groups)
    for x, channels in zip(inputs_of, outputs_of, strict=True):
        columns = x.transpose(1, 2, 0, 3, 4).reshape(n, -1, height * width)  # (N, I h w, H W)
        sums[:, channels] = weight[channels].reshape(len(channels), -1) @ columns
    sums = sums.reshape(shape) + bias[:, None, None]
    units = np.array(exact(operation["weight"]["scales"])) * scale
    return sums, units[:, None, None]


def round_half_even(sums: Any, ratios: Any) -> Any:
    """Rounds `sums * ratios`, of integers and rationals, exactly."""
    estimates = sums * ratios.astype(np.float64)
    rounded = np.rint(np.clip(estimates, -(2.0**20), 2.0**20)).astype(np.int64)
    near = np.abs(estimates - np.floor(estimates) - 0.5) < SURE
    ratios = np.broadcast_to(ratios, sums.shape)
    for place in zip(*np.nonzero(near & (np.abs(estimates) < 2.0**20)), strict=True):
        rounded[place] = round(int(sums[place]) * ratios[place])  # half to even
    return rounded


if __name__ == "__main__":
    faults = find_faults(Path(sys.argv[1]))
    print("\n".join(faults) or "every code is as recomputed")
    sys.exit(bool(faults))
