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
    Group,
    as_metadata,
    decode,
    encode,
    equalized,
    find_factors,
    find_groups,
)
from tests.quantize import graphs
from tests.quantize.graphs import build, layer, node, weights

# Of the largest value: dividing and multiplying by float32 factors rounds, and so do the sums of
# what was multiplied.
RTOL_EQUALIZED = 1e-5
SAME = {"pads": [1, 1, 1, 1]}
CONV = (5, 3, 3, 3)
NEXT = (4, 5, 3, 3)


def built(steps: Sequence[onnx.NodeProto], arrays: graphs.Arrays, **shape: Any) -> onnx.ModelProto:
    """A model in which `pixels` stand for the input, which no layer of the pipeline's reads."""
    return build([node("Abs", "pixels", "input"), *steps], arrays, **shape)


def between(*steps: onnx.NodeProto, after: tuple[int, ...] = NEXT, **more: Any) -> onnx.ModelProto:
    """Steps from `first`, a convolution's 5 channels, to `x`, which `last` reads."""
    arrays = weights(first=CONV, last=after, **more)
    return built([layer("Conv", "first", "pixels"), *steps, layer("Conv", "last", "x")], arrays)


def residual() -> onnx.ModelProto:
    return between(
        node("Relu", "a", "first"),
        layer("Conv", "middle", "a", **SAME),
        node("Add", "sum", "a", "middle"),
        node("Relu", "x", "sum"),
        middle=(5, 5, 3, 3),
    )


def dense() -> onnx.ModelProto:
    arrays = weights(first=(6, 7), last=(4, 6))
    arrays["first.weight"] = np.ascontiguousarray(arrays["first.weight"].T)
    steps = [
        layer("Gemm", "first", "pixels"),
        node("Relu", "x", "first"),
        layer("Gemm", "last", "x", transB=1),
    ]
    return built(steps, arrays, shape=(7,))


def flattened(pixels: int) -> onnx.ModelProto:
    """5 channels of pixels x pixels, flattened for a dense layer."""
    arrays = weights(first=CONV, last=(4, 5 * pixels**2))
    arrays["shape"] = np.array([-1, 5 * pixels**2])
    steps = [
        layer("Conv", "first", "pixels"),
        node("Relu", "a", "first"),
        node("AveragePool", "b", "a", kernel_shape=[6 // pixels] * 2, strides=[6 // pixels] * 2),
        node("Reshape", "x", "b", "shape"),
        layer("Gemm", "last", "x", transB=1),
    ]
    return built(steps, arrays)


def pooled_input() -> onnx.ModelProto:
    """The addend of a layer's output comes from the input through a pool."""
    steps = [
        node("MaxPool", "a", "input", kernel_shape=[2, 2]),
        layer("Conv", "first", "a", **SAME),
        node("Add", "x", "a", "first"),
        layer("Conv", "last", "x"),
    ]
    return built(steps, weights(first=(3, 3, 3, 3), last=(4, 3, 3, 3)))


def added_input() -> onnx.ModelProto:
    steps = [
        layer("Conv", "first", "pixels", **SAME),
        node("Add", "x", "input", "first"),
        layer("Conv", "last", "x"),
    ]
    return built(steps, weights(first=(3, 3, 3, 3), last=(4, 3, 3, 3)))


def shared_weight() -> onnx.ModelProto:
    """One layer that is called twice."""
    arrays = weights(first=CONV, shared=(5, 5, 3, 3), last=NEXT)
    steps = [
        layer("Conv", "first", "pixels", **SAME),
        node("Relu", "a", "first"),
        node("Conv", "once", "a", "shared.weight", "shared.bias", **SAME),
        node("Relu", "b", "once"),
        node("Conv", "twice", "b", "shared.weight", "shared.bias", **SAME),
        node("Relu", "x", "twice"),
        layer("Conv", "last", "x"),
    ]
    return built(steps, arrays)


def computed_bias() -> onnx.ModelProto:
    arrays = weights(first=CONV, last=NEXT)
    steps = [
        node("Neg", "bias", "first.bias"),
        node("Conv", "first", "pixels", "first.weight", "bias"),
        node("Relu", "x", "first"),
        layer("Conv", "last", "x"),
    ]
    return built(steps, arrays)


def two_readers() -> onnx.ModelProto:
    arrays = weights(first=CONV, left=NEXT, right=NEXT)
    steps = [
        layer("Conv", "first", "pixels"),
        node("Relu", "x", "first"),
        layer("Conv", "left", "x"),
        layer("Conv", "right", "x"),
        node("Concat", "last", "left", "right", axis=1),
    ]
    return built(steps, arrays)


FREE: Mapping[str, tuple[Any, set[str]]] = {
    "ReLU": (lambda: between(node("Relu", "x", "first")), {"first", "x"}),
    "leaky ReLU": (lambda: between(node("LeakyRelu", "x", "first", alpha=0.3)), {"first", "x"}),
    "identity": (lambda: between(node("Identity", "x", "first")), {"first", "x"}),
    "a residual block": (residual, {"first", "a", "middle", "sum", "x"}),
    "a pool of largest values": (
        lambda: between(node("MaxPool", "x", "first", kernel_shape=[2, 2])),
        {"first", "x"},
    ),
    "a padded pool of averages": (
        lambda: between(node("AveragePool", "x", "first", kernel_shape=[3, 3], pads=[1, 0, 1, 0])),
        {"first", "x"},
    ),
    "dense layers": (dense, {"first", "x"}),
    "flattened, one pixel": (lambda: flattened(1), {"first", "a", "b", "x"}),
    "two readers": (two_readers, {"first", "x"}),
}
FIXED: Mapping[str, Any] = {
    "a clip": lambda: between(node("Clip", "x", "first", "low", "high")),
    "a sigmoid": lambda: between(node("Sigmoid", "x", "first")),
    "a constant factor": lambda: between(node("Mul", "x", "first", "factor")),
    "a constant addend": lambda: between(node("Add", "x", "first", "factor")),
    "a slope for each channel": lambda: between(node("PRelu", "x", "first", "factor")),
    "a concatenation": lambda: between(
        node("Concat", "x", "first", "first", axis=1), after=(4, 10, 3, 3)
    ),
    "other channels": lambda: between(
        node("Transpose", "x", "first", perm=[0, 2, 1, 3]), after=(4, 6, 3, 3)
    ),
    "flattened, four pixels": lambda: flattened(2),
    "two groups": lambda: between(
        node("Identity", "a", "first"),
        layer("Conv", "x", "a", group=5),  # 5 groups with two outputs each
        x=(10, 1, 3, 3),
        after=(4, 10, 3, 3),
    ),
    "an input that is added": added_input,
    "an input that is pooled and added": pooled_input,
}
CONSTANTS = {
    "low": np.array(-0.5, np.float32),
    "high": np.array(0.5, np.float32),
    "factor": np.linspace(0.5, 2, 5, dtype=np.float32).reshape(5, 1, 1),
}


def made(build_model: Any) -> onnx.ModelProto:
    model = build_model()
    used = {name for step in model.graph.node for name in step.input}
    model.graph.initializer.extend(
        onnx.numpy_helper.from_array(x, name) for name, x in CONSTANTS.items() if name in used
    )
    return model


def largest_of(tensors: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: np.abs(x).max(tuple(axis for axis in range(x.ndim) if axis != 1))
        for name, x in tensors.items()
        if x.ndim > 1
    }


def factors_of(model: onnx.ModelProto, *, strength: float = 1.0) -> Equalization:
    seen = largest_of(graphs.computed(model, graphs.drawn(model)))
    return find_factors(find_groups(model), seen, strength=strength)


def assert_same_output(model: onnx.ModelProto, factors: Equalization) -> None:
    output = model.graph.output[0].name
    images = graphs.drawn(model)
    before, after = (
        graphs.by_reference(x, images)[output] for x in (model, equalized(model, factors))
    )
    np.testing.assert_allclose(after, before, atol=RTOL_EQUALIZED * np.abs(before).max())


@pytest.mark.parametrize("name", FREE)
def test_find_groups_ties_what_can_be_divided(name: str) -> None:
    build_model, tensors = FREE[name]
    (group,) = find_groups(made(build_model))
    assert set(group.tensors) == tensors


@pytest.mark.parametrize("name", FREE)
def test_equalized_divides_each_tensor_of_a_group(name: str) -> None:
    model = made(FREE[name][0])
    factors, images = factors_of(model), graphs.drawn(model)
    assert min(x.min() for x in factors.outputs.values()) < 0.9  # there is something to equalize
    before, after = (graphs.computed(x, images) for x in (model, equalized(model, factors)))
    for tensor, values in before.items():
        found = factors.outputs.get(tensor, np.ones(1, np.float32))
        expected = values / found.reshape(-1, *[1] * (values.ndim - 2))
        room = RTOL_EQUALIZED * np.abs(expected).max()
        np.testing.assert_allclose(after[tensor], expected, atol=room, err_msg=tensor)


@pytest.mark.parametrize("name", FIXED)
def test_find_groups_leaves_out_what_cannot_be_divided(name: str) -> None:
    assert find_groups(made(FIXED[name])) == []


@pytest.mark.parametrize(
    "build_model", [shared_weight, computed_bias, pooled_input], ids=lambda x: x.__name__
)
def test_equalized_computes_the_same_whatever_groups_are_found(build_model: Any) -> None:
    model = build_model()
    assert_same_output(model, factors_of(model))


def depthwise() -> onnx.ModelProto:
    return between(
        node("Relu", "a", "first"),
        layer("Conv", "deep", "a", group=5),
        node("Relu", "x", "deep"),
        deep=(5, 1, 3, 3),
    )


def test_equalized_computes_the_same_with_a_depthwise_convolution() -> None:
    model = depthwise()
    assert [group.tensors for group in find_groups(model)] == [("first", "a"), ("deep", "x")]
    factors = factors_of(model)
    assert set(factors.outputs) == {"first", "a", "deep", "x"}
    assert set(factors.inputs) == {"deep", "last"}
    assert_same_output(model, factors)


def test_find_groups_ends_at_a_clip_on_its_way() -> None:
    # The clipped tensors stay as they are, those before and behind them do not.
    arrays = weights(first=CONV, second=(5, 5, 3, 3), third=(5, 5, 1, 1), last=(4, 5, 1, 1))
    steps = [
        layer("Conv", "first", "pixels"),
        node("Relu", "a", "first"),
        layer("Conv", "second", "a"),
        node("Clip", "b", "second", "low", "high"),
        layer("Conv", "third", "b"),
        node("Relu", "c", "third"),
        layer("Conv", "last", "c"),
    ]
    model = built(steps, arrays | {x: CONSTANTS[x] for x in ("low", "high")})
    assert [group.tensors for group in find_groups(model)] == [("first", "a"), ("third", "c")]
    assert_same_output(model, factors_of(model))


@pytest.mark.parametrize("count", [1, 4, 6])
@pytest.mark.parametrize("form", ["outputs", "inputs"])
def test_equalized_names_a_layer_with_other_channels(form: str, count: int) -> None:
    layer_name = {"outputs": "first", "inputs": "last"}[form]
    factors = Equalization(**{form: {layer_name: np.full(count, 0.5, np.float32)}})
    message = f"equalization of {layer_name} must have a factor for each of 5 .+, got {count}"
    with pytest.raises(ArtifactError, match=message):
        equalized(between(node("Relu", "x", "first")), factors)


HALF_A_PART = 0.5 / 4096  # factors are multiples of a part
GROUP = Group(("a", "b", "c"), ("next",))
LARGEST = {"a": np.array([2.0, 1.0, 0.5], np.float32)}


@pytest.mark.parametrize("strength", [0.5, 1.0])
def test_find_factors_raise_shares_of_the_largest_range_to_the_strength(strength: float) -> None:
    largest = {"a": np.array([2.0, 1.0, 0.5, 0.0], np.float32)}
    outputs, inputs = find_factors([GROUP], largest, strength=strength)
    assert (list(outputs), list(inputs)) == (["a", "b", "c"], ["next"])
    for factors in (*outputs.values(), *inputs.values()):
        expected = np.array([1, 0.5, 0.25, 0.01]) ** strength
        np.testing.assert_allclose(factors, expected, atol=HALF_A_PART)


def test_find_factors_take_a_channel_for_as_large_as_it_is_in_any_tensor_of_the_group() -> None:
    seen = LARGEST | {"c": np.array([1.0, 10.0, 2.0], np.float32)}
    outputs, _ = find_factors([GROUP], seen, strength=1)
    assert outputs["a"].tolist() == [1.0, 1.0, 0.25]


@pytest.mark.parametrize("strength", [0.1, 0.75, 1.0])
def test_find_factors_are_whole_parts_so_that_no_power_decides_about_bits(strength: float) -> None:
    largest = {"a": np.geomspace(0.001, 1, 50).astype(np.float32)}
    parts = find_factors([GROUP], largest, strength=strength).outputs["a"].astype(np.float64) * 4096
    assert (parts == np.rint(parts)).all()
    assert parts.min() > 0


@pytest.mark.parametrize(
    ("largest", "strength"),
    [({}, 1), ({"a": np.zeros(3, np.float32)}, 1), (LARGEST, 0)],
    ids=["not observed", "silent", "strength 0"],
)
def test_find_factors_are_none_with(largest: Any, strength: float) -> None:
    assert find_factors([GROUP], largest, strength=strength) == Equalization({}, {})


# As text, which files of models carry.

HALVES = np.array([1.0, 0.5], np.float32)
MADE = Equalization(
    {"a": HALVES, "b": HALVES, "c": np.array([0.25, 41 / 4096, 1.0], np.float32)},
    {"next": HALVES, "last": np.array([4095 / 4096], np.float32)},
)


def test_decode_gives_what_was_encoded() -> None:
    assert decode(encode(Equalization())) == Equalization({}, {})
    decoded = decode(as_metadata(MADE)["equalization"])
    for given, expected in zip(decoded, MADE, strict=True):
        assert given.keys() == expected.keys()
        for name, factors in expected.items():
            assert given[name].dtype == np.float32
            np.testing.assert_array_equal(given[name], factors)


def test_encode_says_once_what_tensors_share() -> None:
    assert json.loads(encode(Equalization({"a": HALVES, "b": HALVES}, {"next": HALVES}))) == [
        {
            "numerators": [4096, 2048],
            "denominator": 4096,
            "outputs": ["a", "b"],
            "inputs": ["next"],
        }
    ]


def text_of(**changes: Any) -> str:
    group = {"numerators": [4096], "denominator": 4096, "outputs": ["a"], "inputs": []}
    return json.dumps([group | changes])


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
