"""8-bit programs give their named layers back, in stock PyTorch alone."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from resnet8.models import torch_conversion, torch_model
from resnet8.quantize import onnx_writer, torch_writer
from resnet8.quantize.fit import fit
from tests.quantize import graphs

# Settings that need no second look at the images.
QUICK = {"activation_range": "minmax", "weight_rounding": "nearest", "bias_correction": False}
PADDED_AT_ONE_END = {"strides": [2, 2], "pads": [0, 0, 1, 1]}  # a sequence of modules in PyTorch
# What a user does, and a note of what the hooks saw.
SCRIPT = """
import json, sys, warnings
import torch
warnings.simplefilter("ignore")
torch.set_num_threads(1)
found = {}
images = torch.randint(0, 256, (5, 32, 32, 3), generator=torch.Generator().manual_seed(0)).float()
for path in sys.argv[1:]:
    program = torch.export.load(path)
    expected = program.module()(images)
    layers, seen = torch.export.unflatten(program), []
    for name, layer in layers.named_children():
        layer.register_forward_hook(
            lambda _, inputs, output, name=name: seen.append([name, len(inputs), str(output.dtype)])
        )
    found[path] = {"seen": seen, "is_same": torch.equal(layers(images), expected)}
strangers = [name for name in sys.modules if name.split(".")[0] in ("torchao", "resnet8")]
assert not strangers, strangers
print(json.dumps(found))
"""


def classifier(
    nodes: Sequence[onnx.NodeProto], channels: int, **shapes: tuple[int, ...]
) -> onnx.ModelProto:
    """A model from images to four probabilities, with some nodes in the middle.

    Args:
        nodes: from `permute` (N, 3, 32, 32) to `channels` channels.
        channels: of the last node.
        shapes: of their weights, by layer.
    """
    arrays = graphs.weights(**shapes, dense=(4, channels))
    arrays["dense.weight"] = np.ascontiguousarray(arrays["dense.weight"].T)
    arrays["flatten.constant1"] = np.array([-1, channels])
    nodes = [
        graphs.node("Transpose", "permute", "input", perm=[0, 3, 1, 2]),
        *nodes,
        graphs.node("GlobalAveragePool", "pool", nodes[-1].name),
        graphs.node("Reshape", "flatten", "pool", "flatten.constant1"),
        graphs.layer("Gemm", "dense", "flatten"),
        graphs.node("Softmax", "probabilities", "dense"),
    ]
    return graphs.build(nodes, arrays, shape=(32, 32, 3))


def padded() -> onnx.ModelProto:
    nodes = [
        graphs.layer("Conv", "conv0", "permute", **PADDED_AT_ONE_END),
        graphs.node("Relu", "relu0", "conv0"),
        graphs.layer("Conv", "conv1", "relu0", **PADDED_AT_ONE_END),
        graphs.layer("Conv", "conv2", "relu0", strides=[2, 2]),
        graphs.node("Add", "add", "conv1", "conv2"),
    ]
    return classifier(nodes, 6, conv0=(4, 3, 3, 3), conv1=(6, 4, 3, 3), conv2=(6, 4, 1, 1))


def depthwise() -> onnx.ModelProto:
    nodes = [
        graphs.layer("Conv", "conv0", "permute", strides=[4, 4]),
        graphs.node("Relu", "relu0", "conv0"),
        graphs.layer("Conv", "depthwise", "relu0", group=6, **PADDED_AT_ONE_END),
        graphs.node("Relu", "relu1", "depthwise"),
        graphs.layer("Conv", "pointwise", "relu1"),
    ]
    return classifier(nodes, 5, conv0=(6, 3, 3, 3), depthwise=(6, 1, 3, 3), pointwise=(5, 6, 1, 1))


def shared() -> onnx.ModelProto:
    """Two layers of the same weights."""
    nodes = [
        graphs.layer("Conv", "conv0", "permute", strides=[2, 2]),
        graphs.node("Relu", "relu0", "conv0"),
        graphs.layer("Conv", "conv1", "relu0", **PADDED_AT_ONE_END),
        graphs.node("Relu", "relu1", "conv1"),
        graphs.node("Conv", "conv2", "relu1", "conv1.weight", "conv1.bias", **PADDED_AT_ONE_END),
    ]
    return classifier(nodes, 4, conv0=(4, 3, 3, 3), conv1=(4, 4, 3, 3))


def of_three() -> onnx.ModelProto:
    """An operator of three inputs, which PyTorch computes in two steps."""
    nodes = [
        *(graphs.layer("Conv", f"conv{i}", "permute", **PADDED_AT_ONE_END) for i in range(3)),
        graphs.node("Max", "maximum", "conv0", "conv1", "conv2"),
    ]
    return classifier(nodes, 4, conv0=(4, 3, 3, 3), conv1=(4, 3, 3, 3), conv2=(4, 3, 3, 3))


def named_like_codes() -> onnx.ModelProto:
    nodes = [
        graphs.layer("Conv", "input_codes", "permute", strides=[2, 2]),
        graphs.node("Relu", "relu", "input_codes"),
        graphs.layer("Conv", "relu_codes", "relu", **PADDED_AT_ONE_END),
        graphs.layer("Conv", "relu_codes_", "relu_codes"),
    ]
    shapes = {"input_codes": (4, 3, 3, 3), "relu_codes": (4, 4, 3, 3), "relu_codes_": (5, 4, 1, 1)}
    return classifier(nodes, 5, **shapes)


def dense_only() -> onnx.ModelProto:
    arrays = graphs.weights(dense0=(6, 3072), dense1=(4, 6))
    for name in ("dense0", "dense1"):
        arrays[f"{name}.weight"] = np.ascontiguousarray(arrays[f"{name}.weight"].T)
    arrays["flatten.constant1"] = np.array([-1, 3072])
    nodes = [
        graphs.node("Reshape", "flatten", "input", "flatten.constant1"),
        graphs.layer("Gemm", "dense0", "flatten"),
        graphs.node("Relu", "relu", "dense0"),
        graphs.layer("Gemm", "dense1", "relu"),
        graphs.node("Softmax", "probabilities", "dense1"),
    ]
    return graphs.build(nodes, arrays, shape=(32, 32, 3))


CASES: dict[str, tuple[onnx.ModelProto, dict[str, Any]]] = {
    "residual": (graphs.small_resnet(), {}),
    "padded-per-tensor": (padded(), {"per_channel": False, "weight_symmetric": False}),
    "padded-in-float": (padded(), {"float_layers": ["conv1"]}),
    "depthwise": (depthwise(), {}),
    "shared": (shared(), {}),
    "of-three": (of_three(), {}),
    "named-like-codes": (named_like_codes(), {}),
    "dense-only": (dense_only(), {}),
}


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory, fit_settings: Any) -> dict[str, Any]:
    """By case, the calls that hooks saw, and whether the result was that of the program."""
    folder = tmp_path_factory.mktemp("programs")
    for name, (model, changes) in CASES.items():
        settings = fit_settings.model_copy(update=QUICK | changes)
        points = onnx_writer.find_points(model, symmetric=False, float_layers=settings.float_layers)
        quantization = fit(model, graphs.drawn(model, 10), settings, points=points)
        program = torch_model.export(torch_conversion.convert(model))
        quantized = torch_model.export(torch_writer.quantize(program, quantization))
        content = torch_model.encode(quantized)
        torch_writer.check(torch_model.load_any(content), program, quantization)
        (folder / f"{name}.pt2").write_bytes(content)
    command = [sys.executable, "-I", "-c", SCRIPT, *(f"{name}.pt2" for name in CASES)]
    done = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)
    return {Path(name).stem: calls for name, calls in json.loads(done.stdout).items()}


@pytest.mark.parametrize("case", CASES)
def test_unflattened_layers_compute_the_programs_bits(found: dict[str, Any], case: str) -> None:
    assert found[case]["is_same"]


@pytest.mark.parametrize("case", CASES)
def test_forward_hooks_see_each_layer_once_and_codes_apart(
    found: dict[str, Any], case: str
) -> None:
    nodes = {node.name: node.op_type for node in CASES[case][0].graph.node}
    seen = found[case]["seen"]
    first, *codes = [name.rstrip("_") for name, _, dtype in seen if dtype == "torch.uint8"]
    assert first == "input_codes"
    assert codes
    assert set(codes) <= {f"{name}_codes" for name in nodes}
    n_inputs = [(name, count) for name, count, dtype in seen if dtype != "torch.uint8"]
    assert sorted(name for name, _ in n_inputs) == sorted(nodes)
    # A layer with weights dequantizes them itself.
    assert {count for name, count in n_inputs if nodes[name] in ("Conv", "Gemm")} == {1}
