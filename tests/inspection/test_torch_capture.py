"""Watched PyTorch programs: hooks that change nothing, and what they see."""

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from resnet8.core.errors import ArtifactError
from resnet8.inspection import torch_capture
from resnet8.models import torch_model

ATOL_SQNR_DB = 0.01  # torchao sums in float32


@pytest.fixture(params=["torch_fp32", "torch_int8"])
def program(request: pytest.FixtureRequest) -> Any:
    return request.getfixturevalue(request.param)


def test_watch_leaves_the_probabilities(
    program: Any, calibration_images: NDArray[np.uint8]
) -> None:
    images = calibration_images[:20].astype(np.float32)
    expected = torch_model.make_predictor(program)(images)
    assert np.array_equal(torch_capture.watch(program).run(images).probabilities, expected)


def test_watch_captures_codes_where_the_next_layer_reads_8_bits(torch_int8: Any) -> None:
    points = torch_capture.watch(torch_int8).points
    quantized = [layer for layer, point in points.items() if point.quantization]
    # What only moves values, like a flattening, has those of its input.
    assert {"activation", "conv2d_2", "activation_2", "average_pooling2d"} <= set(quantized)
    assert not {"conv2d_permute", "flatten"} & set(quantized)
    assert points["activation"].quantization.dtype == "uint8"
    assert points["activation"].place == "forward hook on activation_codes"
    assert (points["dense"].quantization, points["dense"].place) == (None, "forward hook on dense")


def test_watch_refuses_codes_outside_of_modules(torch_int8: Any) -> None:
    program = torch_model.load_any(torch_model.encode(torch_int8))
    for node in program.graph.nodes:
        stack = node.meta.get("nn_module_stack") or {}
        if any(path.endswith("_codes") for path, _ in stack.values()):
            stack.popitem()  # the model itself is left
    with pytest.raises(ArtifactError, match="must quantize the output of activation in a module"):
        torch_capture.watch(program)


def test_forward_hooks_are_gone_after_an_error() -> None:
    module = torch.nn.Sequential(torch.nn.Identity(), torch.nn.Linear(2, 2))
    seen: list[str] = []

    def keep(name: str, output: torch.Tensor) -> None:
        seen.append(name)
        raise RuntimeError("full")

    with (
        pytest.raises(RuntimeError, match="full"),
        torch_capture.forward_hooks(module, {"0": "first", "1": "second"}, keep),
    ):
        module(torch.zeros(1, 2))
    module(torch.zeros(1, 2))
    assert seen == ["first"]
    assert not any(child._forward_hooks for child in module.modules())


def test_hooks_see_what_an_interpreter_computes_node_by_node(
    torch_int8: Any, calibration_images: NDArray[np.uint8]
) -> None:
    class Recorder(torch.fx.Interpreter):
        def run_node(self, node: torch.fx.Node) -> Any:
            found[node.name] = super().run_node(node)
            return found[node.name]

    found: dict[str, Any] = {}
    images = np.ascontiguousarray(calibration_images[:3], np.float32)
    module = torch_int8.module()
    Recorder(module).run(torch.from_numpy(images))
    last = {
        path: node.name
        for node in module.graph.nodes
        for path, _ in (node.meta.get("nn_module_stack") or {}).values()
    }
    watched = torch_capture.watch(torch_int8)
    outputs = watched.run(images).outputs
    for layer, point in watched.points.items():
        node = last[point.place.removeprefix("forward hook on ")]
        assert np.array_equal(outputs[layer], found[node].detach().numpy()), layer


def test_watch_takes_blocks_of_layers_and_leaves_out_what_gives_two_arrays() -> None:
    class Halves(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
            return x.chunk(2, 1)

    class Blocks(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.block = torch.nn.Sequential(torch.nn.Conv2d(32, 4, 3), torch.nn.BatchNorm2d(4))
            self.halves = Halves()
            self.dense = torch.nn.Linear(2, 10)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            first, second = self.halves(self.block(images))
            return self.dense((first * second).mean((2, 3))).softmax(1)

    watched = torch_capture.watch(torch_model.export(Blocks().eval()))
    outputs = watched.run(np.ones((3, 32, 32, 3), np.float32)).outputs
    assert {layer: output.shape for layer, output in outputs.items()} == {
        "block": (3, 4, 30, 1),
        "dense": (3, 10),
    }
    assert list(watched.absent) == ["halves"]
    assert list(watched.parameters) == ["dense"]


class Codes(torch.nn.Module):
    """Makes codes of images, with a type and a factor that may be those of no quantization."""

    def __init__(self, dtype: torch.dtype, inverse: float) -> None:
        super().__init__()
        self.layer = torch.nn.ReLU()
        self.dtype, self.inverse = dtype, inverse

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        codes = (self.layer(images).clamp(0.0, 255.0) * self.inverse).round().to(self.dtype)
        return codes.to(torch.float32).mean((1, 2)).softmax(1)


def test_watch_refuses_codes_of_an_infinite_scale() -> None:
    class InModule(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.codes = Codes(torch.uint8, 0.0)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return self.codes(images)

    with pytest.raises(ArtifactError, match=r"quantize layers as .+ZeroDivisionError.+ again\."):
        torch_capture.watch(torch_model.export(InModule()))
