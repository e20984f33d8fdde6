"""Equalized models compute the same, with ranges that are more alike."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import pytest

from resnet8.core.errors import ArtifactError
from resnet8.quantize.equalization import (
    Equalization,
    FactorGroup,
    decode,
    equalized,
    find_factors,
)
from resnet8.quantize.quantization import Quantization
from tests.quantize import graphs
from tests.quantize.graphs import SAME, layer, node, weights

# Of the largest value: dividing and multiplying by float32 factors rounds, and so do the sums of
# what was multiplied.
RTOL_EQUALIZED = 1e-5
CONV, INNER, NEXT = (5, 3, 3, 3), (5, 5, 3, 3), (4, 5, 3, 3)
CONSTANTS = {
    "low": np.array(-0.5, np.float32),
    "high": np.array(0.5, np.float32),
    "factor": np.linspace(0.5, 2, 5, dtype=np.float32).reshape(5, 1, 1),
}


def build(steps: Sequence[onnx.NodeProto], *, shape: Any = (3, 8, 8), **sizes: Any) -> Any:
    """A model in which `pixels` stand for the input, which no layer of the pipeline's reads."""
    arrays = weights(**sizes)
    for name in ("flat", "square"):
        arrays[name] = np.array([-1, {"flat": 5, "square": 20}[name]])
    steps = [node("Abs", "pixels", "input"), *steps]
    used = {name for step in steps for name in step.input}
    arrays = {name: x for name, x in (arrays | CONSTANTS).items() if name in used}
    return graphs.build(steps, arrays, shape=shape)


FIRST, LAST = layer("Conv", "first", "pixels"), layer("Conv", "last", "x")
FIRST_SAME = layer("Conv", "first", "pixels", **SAME)
RELU = node("Relu", "a", "first")


def between(*steps: onnx.NodeProto, last: tuple[int, ...] = NEXT, **more: Any) -> onnx.ModelProto:
    """Steps from `first`, a convolution's 5 channels, to `x`, which `last` reads."""
    return build([FIRST, *steps, LAST], first=CONV, last=last, **more)


def flattened(shape: str, pixels: int) -> onnx.ModelProto:
    """5 channels of pixels x pixels, flattened for a dense layer."""
    window = [6 // pixels] * 2
    steps = [
        *(FIRST, RELU, node("AveragePool", "b", "a", kernel_shape=window, strides=window)),
        *(node("Reshape", "x", "b", shape), layer("Gemm", "last", "x", transB=1)),
    ]
    return build(steps, first=CONV, last=(4, 5 * pixels**2))


def from_input(*steps: onnx.NodeProto) -> onnx.ModelProto:
    """Steps to `x` with a convolution that keeps the input's channels."""
    return build([*steps, LAST], first=(3, 3, 3, 3), last=(4, 3, 3, 3))


SHARED = ("shared.weight", "shared.bias")
DENSE = [layer("Gemm", "first", "pixels", transB=1), node("Relu", "x", "first")]
TWO_READERS = [
    *(FIRST, node("Relu", "x", "first"), layer("Conv", "left", "x")),
    *(layer("Conv", "right", "x"), node("Concat", "last", "left", "right", axis=1)),
]
CLIP_ON_THE_WAY = [
    *(RELU, layer("Conv", "second", "a"), node("Clip", "b", "second", "low", "high")),
    *(layer("Conv", "third", "b"), node("Relu", "x", "third")),
]
CALLED_TWICE = [
    *(FIRST_SAME, RELU, node("Conv", "once", "a", *SHARED, **SAME), node("Relu", "b", "once")),
    *(node("Conv", "twice", "b", *SHARED, **SAME), node("Relu", "x", "twice"), LAST),
]
HOMOGENEOUS: dict[str, dict[str, Any]] = {
    "Relu": {},
    "LeakyRelu": {"alpha": 0.3},
    "Identity": {},
    "MaxPool": {"kernel_shape": [2, 2]},
    "AveragePool": {"kernel_shape": [3, 3], "pads": [1, 0, 1, 0]},
}
# Models, and the tensors of their groups.
FREE: Mapping[str, tuple[onnx.ModelProto, list[str]]] = {
    **{x: (between(node(x, "x", "first", **y)), ["first x"]) for x, y in HOMOGENEOUS.items()},
    "a residual block": (
        between(
            *(RELU, layer("Conv", "middle", "a", **SAME), node("Add", "sum", "a", "middle")),
            node("Relu", "x", "sum"),
            middle=INNER,
        ),
        ["first a middle sum x"],
    ),
    "dense layers": (
        build([*DENSE, layer("Gemm", "last", "x")], shape=(7,), first=(6, 7), last=(6, 6)),
        ["first x"],
    ),
    "flattened, one pixel": (flattened("flat", 1), ["first a b x"]),
    "two readers": (build(TWO_READERS, first=CONV, left=NEXT, right=NEXT), ["first x"]),
    "a depthwise convolution": (
        between(
            RELU, layer("Conv", "deep", "a", group=5), node("Relu", "x", "deep"), deep=(5, 1, 3, 3)
        ),
        ["first a", "deep x"],
    ),
    "a clip on the way": (  # the clipped tensors stay as they are, unlike those around them
        between(*CLIP_ON_THE_WAY, second=INNER, third=(5, 5, 1, 1), last=(4, 5, 1, 1)),
        ["first a", "third x"],
    ),
    "one layer that is called twice": (
        build(CALLED_TWICE, first=CONV, shared=INNER, last=NEXT),
        ["first a", "once b", "twice x"],
    ),
}
INHOMOGENEOUS = {
    "Clip": ("low", "high"),
    "Sigmoid": (),
    "Mul": ("factor",),
    "Add": ("factor",),
    "PRelu": ("factor",),
}
FIXED: Mapping[str, onnx.ModelProto] = {
    **{x: between(node(x, "x", "first", *names)) for x, names in INHOMOGENEOUS.items()},
    "a concatenation": between(node("Concat", "x", "first", "first", axis=1), last=(4, 10, 3, 3)),
    "other channels": between(
        node("Transpose", "x", "first", perm=[0, 2, 1, 3]), last=(4, 6, 3, 3)
    ),
    "flattened, four pixels": flattened("square", 2),
    "5 groups with two outputs each": between(
        *(node("Identity", "a", "first"), layer("Conv", "x", "a", group=5)),
        x=(10, 1, 3, 3),
        last=(4, 10, 3, 3),
    ),
    "an input that is added": from_input(FIRST_SAME, node("Add", "x", "input", "first")),
    "an input that is pooled and added": from_input(
        node("MaxPool", "a", "input", kernel_shape=[2, 2]),
        *(layer("Conv", "first", "a", **SAME), node("Add", "x", "a", "first")),
    ),
    "a computed bias": build(
        [
            node("Neg", "bias", "first.bias"),
            node("Conv", "first", "pixels", "first.weight", "bias"),
            *(node("Relu", "x", "first"), LAST),
        ],
        first=CONV,
        last=NEXT,
    ),
}


def largest_of(tensors: graphs.Arrays) -> graphs.Arrays:
    """(C,) largest absolute values of each tensor."""
    axes = {name: tuple(x for x in range(y.ndim) if x != 1) for name, y in tensors.items()}
    return {name: np.abs(x).max(axes[name]) for name, x in tensors.items()}


@pytest.mark.parametrize("name", FREE)
def test_equalized_divides_each_tensor_of_a_group(name: str) -> None:
    model, groups = FREE[name]
    images = graphs.drawn(model)
    before = graphs.computed(model, images)
    factors = find_factors(model, largest_of(before), strength=1.0)
    assert [sorted(x.outputs) for x in factors.groups] == [sorted(x.split()) for x in groups]
    assert min(x.min() for x in factors.outputs.values()) < 0.9  # there is something to equalize
    after = graphs.computed(equalized(model, factors), images)
    for tensor, values in before.items():
        factor = factors.outputs.get(tensor, np.ones(1, np.float32))
        expected = values / factor.reshape(-1, *[1] * (values.ndim - 2))
        room = RTOL_EQUALIZED * np.abs(expected).max()
        np.testing.assert_allclose(after[tensor], expected, atol=room, err_msg=tensor)


@pytest.mark.parametrize("name", FIXED)
def test_find_factors_leaves_out_what_cannot_be_divided(name: str) -> None:
    largest = largest_of(graphs.computed(FIXED[name], graphs.drawn(FIXED[name])))
    assert find_factors(FIXED[name], largest, strength=1.0) == Equalization()


@pytest.mark.parametrize("count", [1, 4, 6])
@pytest.mark.parametrize("form", ["outputs", "inputs"])
def test_equalized_names_a_layer_with_other_channels(form: str, count: int) -> None:
    layer_name = {"outputs": "first", "inputs": "last"}[form]
    names: dict[str, Any] = {"outputs": [], "inputs": []} | {form: [layer_name]}
    factors = Equalization((FactorGroup(numerators=[2048] * count, **names),))
    message = f"equalization of {layer_name} must have a factor for each of 5 .+, got {count}"
    with pytest.raises(ArtifactError, match=message):
        equalized(FREE["Relu"][0], factors)


HALF_A_PART = 0.5 / 4096  # factors are multiples of a part
LARGEST = {"first": np.array([2.0, 1.0, 0.5], np.float32)}


@pytest.mark.parametrize("strength", [0.1, 0.5, 0.75, 1.0])
def test_find_factors_raise_shares_of_the_largest_range_to_the_strength(strength: float) -> None:
    shares = np.geomspace(0.001, 1, 50)
    largest = {"first": (2 * shares).astype(np.float32)}
    factors = find_factors(FREE["Relu"][0], largest, strength=strength)
    assert [*factors.outputs, *factors.inputs] == ["first", "x", "last"]
    expected = np.maximum(shares, 0.01) ** strength
    for actual in (*factors.outputs.values(), *factors.inputs.values()):
        np.testing.assert_allclose(actual, expected, atol=HALF_A_PART)


@pytest.mark.parametrize(
    ("largest", "strength", "expected"),
    [
        (LARGEST, 1, [4096, 2048, 1024]),
        # A channel is as large as in any tensor of the group.
        (LARGEST | {"x": np.array([1.0, 10.0, 2.0], np.float32)}, 1, [4096, 4096, 1024]),
        ({}, 1, None),
        ({"first": np.zeros(3, np.float32)}, 1, None),
        (LARGEST, 0, None),
    ],
    ids=["one tensor", "two tensors", "not observed", "silent", "strength 0"],
)
def test_find_factors_by_hand(largest: Any, strength: float, expected: Any) -> None:
    groups = find_factors(FREE["Relu"][0], largest, strength=strength).groups
    assert [x.numerators for x in groups] == ([expected] if expected else [])


# As text, which files of models carry.


def text_of(**changes: Any) -> str:
    group = {"numerators": [4096], "denominator": 4096, "outputs": ["a"], "inputs": []}
    return json.dumps([group | changes])


def test_decode_reads_what_metadata_carries() -> None:
    text = text_of(numerators=[4096, 2048, 1], outputs=["a", "b"], inputs=["next"])
    factors = decode(text)
    assert factors.outputs.keys() == {"a", "b"}
    for values in (*factors.outputs.values(), factors.inputs["next"]):
        assert values.dtype == np.float32
        assert values.tolist() == [1.0, 0.5, 1 / 4096]
    assert json.loads(Quantization({}, {}, factors).metadata["equalization"]) == json.loads(text)
    assert Quantization({}, {}).metadata == {}
    assert decode("") == Equalization()


RUBBISH = {
    "a page": "<!DOCTYPE html>",
    "an object": "{}",
    "numbers": "[1, 2]",
    "nothing in a group": "[{}]",
    "half of it": text_of()[:-5],
    "no factors": text_of(numerators=[]),
    "a factor of zero": text_of(numerators=[0]),
    "a factor below zero": text_of(numerators=[-1]),
    "a factor above one": text_of(numerators=[4097]),
    "a factor beyond 64 bits": text_of(numerators=[2**70]),
    "half a numerator": text_of(numerators=[0.5]),
    "a numerator in words": text_of(numerators=["1"]),
    "a numerator that is true": text_of(numerators=[True]),
    "a numerator that is NaN": text_of(numerators=[float("nan")]),
    "another denominator": text_of(denominator=1024),
    "a denominator of zero": text_of(denominator=0),
    "names that are none": text_of(outputs=[1]),
    "a name for names": text_of(outputs="a"),
    "another key": text_of(more=1),
    "nested without end": "[" * 100_000,
}


@pytest.mark.parametrize("text", RUBBISH.values(), ids=RUBBISH)
def test_decode_refuses(text: str) -> None:
    with pytest.raises(ValueError, match="validation error"):
        decode(text)
