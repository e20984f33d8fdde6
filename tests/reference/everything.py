"""A small network with every operation that test vectors have."""

import numpy as np
import onnx

from tests.quantize.graphs import build, layer, node, weights


def everything() -> onnx.ModelProto:
    """On 8 x 8 places of (N, 32, 32, 3)."""
    arrays = weights(
        conv=(6, 3, 5, 5), deep=(6, 1, 3, 3), point=(6, 6, 1, 1), gate=(6, 6, 1, 1),
        dense=(5, 48), logits=(4, 5),
    )  # fmt: skip
    arrays["conv.weight"] /= 100
    arrays["dense.weight"] = np.ascontiguousarray(arrays["dense.weight"].T)
    del arrays["dense.bias"], arrays["point.bias"]
    arrays |= {
        "zero": np.array(0, np.float32),
        "three": np.array(3, np.float32),
        "six": np.array(6, np.float32),
        "sixth": np.full((1, 1, 1, 1), 1 / 6, np.float32),
        "frame": np.array([0, 0, 1, 0, 0, 0, 0, 1]),
        "outside": np.array(0.75, np.float32),
        "from": np.array([0, 1]),
        "to": np.array([4, 5]),
        "axes": np.array([2, 3]),
        "row": np.array([-1, 48]),
    }
    nodes = [
        node("Transpose", "permute", "input", perm=[0, 3, 1, 2]),
        layer("Conv", "conv", "permute", strides=[4, 4], auto_pad="SAME_UPPER"),
        node("LeakyRelu", "leaky", "conv", alpha=0.1),
        node("MaxPool", "max", "leaky", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 0, 0],
             ceil_mode=1),
        layer("Conv", "deep", "max", group=6, dilations=[2, 2], pads=[2, 2, 2, 2]),
        node("Clip", "clip", "deep", "zero", "six"),
        node("Conv", "point", "clip", "point.weight"),
        node("GlobalAveragePool", "mean", "point"),
        layer("Conv", "gate", "mean"),
        node("Add", "gate_add", "gate", "three"),
        node("Clip", "gate_clip", "gate_add", "zero", "six"),
        node("Mul", "gate_mul", "gate_clip", "sixth"),
        node("Mul", "gated", "point", "gate_mul"),
        node("Sub", "less", "gated", "max"),
        node("Add", "sum", "less", "clip"),
        node("Relu", "relu", "sum"),
        node("Concat", "both", "relu", "gated", axis=1),
        node("Pad", "framed", "both", "frame", "outside"),
        node("AveragePool", "inside", "framed", kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        node("Sigmoid", "sigmoid", "inside"),
        node("AveragePool", "around", "sigmoid", kernel_shape=[2, 2], pads=[1, 1, 0, 0],
             count_include_pad=1),
        node("Slice", "crop", "around", "from", "to", "axes"),
        node("MaxPool", "halved", "crop", kernel_shape=[2, 2], strides=[2, 2]),
        node("Reshape", "flatten", "halved", "row"),
        node("MatMul", "dense", "flatten", "dense.weight"),
        node("Relu", "dense_relu", "dense"),
        layer("Gemm", "logits", "dense_relu", transB=1),
        node("Softmax", "probabilities", "logits"),
    ]  # fmt: skip
    return build(nodes, arrays, shape=(32, 32, 3))
