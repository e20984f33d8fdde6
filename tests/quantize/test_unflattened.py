"""8-bit programs give their named layers back, in stock PyTorch alone."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from resnet8.models import onnx_model, torch_conversion, torch_model
from resnet8.quantize import onnx_writer, torch_writer
from tests.quantize import graphs
from tests.quantize.graphs import QUICK, layer, node

# Mean difference of probabilities between runtimes: few codes fall to the other side.
MEAN_RUNTIMES = 0.005
PADDED_AT_ONE_END = {"strides": [2, 2], "pads": [0, 0, 1, 1]}  # a sequence of modules in PyTorch
# What a user does, and a record of the calls that hooks saw.
SCRIPT = """
import json, sys, warnings
import torch
warnings.simplefilter("ignore")
torch.set_num_threads(1)
results = {}
images = torch.randint(0, 256, (5, 32, 32, 3), generator=torch.Generator().manual_seed(0)).float()
for path in sys.argv[1:]:
    program = torch.export.load(path)
    expected = program.module()(images)
    layers, calls = torch.export.unflatten(program), []
    for name, layer in layers.named_children():
        layer.register_forward_hook(
            lambda _, args, output, name=name: calls.append([name, len(args), str(output.dtype)])
        )
    results[path] = {"calls": calls, "is_same": torch.equal(layers(images), expected)}
strangers = [name for name in sys.modules if name.split(".")[0] in ("torchao", "resnet8")]
assert not strangers, strangers
print(json.dumps(results))
"""


def mixed() -> onnx.ModelProto:
    """Layers named like codes, padded at one end, depthwise, shared, and one of three inputs."""
    nodes = [
        layer("Conv", "input_codes", "permute", strides=[4, 4]),
        node("Relu", "relu", "input_codes"),
        layer("Conv", "relu_codes", "relu", **PADDED_AT_ONE_END),
        layer("Conv", "relu_codes_", "relu_codes"),
        node("Relu", "relu1", "relu_codes_"),
        layer("Conv", "depthwise", "relu1", group=6, **PADDED_AT_ONE_END),
        node("Relu", "relu2", "depthwise"),
        layer("Conv", "conv1", "relu2", **graphs.SAME),
        node("Relu", "relu3", "conv1"),
        node("Conv", "conv2", "relu3", "conv1.weight", "conv1.bias", **graphs.SAME),
        layer("Conv", "left", "relu1", **PADDED_AT_ONE_END),
        layer("Conv", "right", "relu1", strides=[2, 2]),
        node("Add", "add", "left", "right"),
        node("Max", "maximum", "conv2", "add", "right"),  # PyTorch computes it in two steps
    ]
    shapes = {"input_codes": (4, 3, 3, 3), "relu_codes": (6, 4, 3, 3), "relu_codes_": (6, 6, 1, 1)}
    shapes |= {"depthwise": (6, 1, 3, 3), "conv1": (6, 6, 3, 3), "left": (6, 6, 3, 3)}
    return graphs.classifier(nodes, 6, divisor=200, **shapes, right=(6, 6, 1, 1))


MODEL = mixed()
CASES: dict[str, dict[str, Any]] = {
    "per-channel": {},
    "per-tensor": {
        **{"per_channel": False, "weight_symmetric": False, "activation_symmetric": True},
        "float_layers": ["left", "add"],
    },
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, fit_settings: Any) -> dict[str, Any]:
    """By case, the calls that hooks saw, and whether the result was that of the program."""
    folder, images = tmp_path_factory.mktemp("programs"), graphs.drawn(MODEL, 10)
    program = torch_model.export(torch_conversion.convert(MODEL))
    for case, changes in CASES.items():
        quantization = graphs.fitted(MODEL, fit_settings, images, **QUICK | changes)
        quantized = torch_model.export(torch_writer.quantize(program, quantization))
        content = torch_model.encode(quantized)
        loaded = torch_model.load_any(content)
        torch_writer.check(loaded, program, quantization)
        (folder / f"{case}.pt2").write_bytes(content)
        in_onnx = onnx_writer.quantize(MODEL, quantization, quant_type="uint8_int8")
        expected = onnx_model.make_predictor(in_onnx, as_written=True)(images.astype(np.float32))
        actual = torch_model.make_predictor(loaded)(images.astype(np.float32))
        assert np.abs(actual - expected).mean() < MEAN_RUNTIMES, case
        if case == "per-tensor":  # scales per tensor are numbers in the graph
            stored = [*loaded.state_dict.values(), *loaded.constants.values()]
            n_float = len(quantization.layers) + 2  # biases, and the layer in float
            assert len([x for x in stored if x.dtype.is_floating_point]) == n_float
    command = [sys.executable, "-I", "-c", SCRIPT, *(f"{case}.pt2" for case in CASES)]
    done = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)
    return {Path(name).stem: calls for name, calls in json.loads(done.stdout).items()}


@pytest.mark.parametrize("case", CASES)
def test_unflattened_layers_compute_the_programs_bits_and_hooks_see_each_once(
    runs: dict[str, Any], case: str
) -> None:
    assert runs[case]["is_same"]
    nodes = {node.name: node.op_type for node in MODEL.graph.node}
    calls = runs[case]["calls"]
    first, *codes = [name.rstrip("_") for name, _, dtype in calls if dtype == "torch.uint8"]
    assert first == "input_codes"
    assert codes
    assert set(codes) <= {f"{name}_codes" for name in nodes}
    n_inputs = [(name, count) for name, count, dtype in calls if dtype != "torch.uint8"]
    assert sorted(name for name, _ in n_inputs) == sorted(nodes)
    # A layer with weights dequantizes them itself.
    assert {count for name, count in n_inputs if nodes[name] in ("Conv", "Gemm")} == {1}
