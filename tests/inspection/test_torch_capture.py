"""Captured layers of PyTorch programs and modules, which are afterwards as they were."""

import copy
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from resnet8.core.errors import ArtifactError
from resnet8.inspection import torch_capture
from resnet8.inspection.torch_capture import capture
from resnet8.models import torch_model

IMAGES = np.random.default_rng(0).normal(size=(2, 3, 8, 8)).astype(np.float32)


class Calling(nn.Module):
    """Calls a function with its input and its submodules."""

    def __init__(self, call: Callable[..., Any], **modules: nn.Module) -> None:
        super().__init__()
        self.call = call
        for name, module in modules.items():
            self.add_module(name, module)

    def forward(self, x: torch.Tensor) -> Any:
        return self.call(x, **dict(self.named_children()))


# Programs of the pipeline.


def test_watch_refuses_codes_outside_of_modules(torch_int8: Any) -> None:
    program = torch_model.load_any(torch_model.encode(torch_int8))
    for node in program.graph.nodes:
        stack = node.meta.get("nn_module_stack") or {}
        if any(path.endswith("_codes") for path, _ in stack.values()):
            stack.popitem()  # the model itself is left
    with pytest.raises(ArtifactError, match="output of activation quantized outside of modules"):
        torch_capture.watch(program)


def test_watch_refuses_codes_of_an_infinite_scale() -> None:
    def quantize(x: torch.Tensor, layer: nn.Module) -> torch.Tensor:
        codes = (layer(x).clamp(0.0, 255.0) * 0.0).round().to(torch.uint8)
        return codes.to(torch.float32).mean((1, 2)).softmax(1)

    inside = Calling(quantize, layer=nn.ReLU())
    program = torch_model.export(Calling(lambda x, codes: codes(x), codes=inside))
    with pytest.raises(ArtifactError, match=r"quantize layers as .+ZeroDivisionError.+ again\."):
        torch_capture.watch(program)


def test_hooks_capture_what_an_interpreter_computes_node_by_node(
    torch_int8: Any, calibration_images: NDArray[np.uint8]
) -> None:
    class Recorder(torch.fx.Interpreter):
        def run_node(self, node: torch.fx.Node) -> Any:
            computed[node.name] = super().run_node(node)
            return computed[node.name]

    computed: dict[str, Any] = {}
    images = np.ascontiguousarray(calibration_images[:3], np.float32)
    module = torch_int8.module()
    probabilities = Recorder(module).run(torch.from_numpy(images))
    last = {
        path: node.name
        for node in module.graph.nodes
        for path, _ in (node.meta.get("nn_module_stack") or {}).values()
    }
    watched = torch_capture.watch(torch_int8)
    captured = watched.run(images)
    for layer, point in watched.points.items():
        node = last[point.place.removeprefix("forward hook on ")]
        assert np.array_equal(captured.outputs[layer], computed[node].detach().numpy()), layer
    assert np.array_equal(captured.probabilities, probabilities.detach().numpy())


def test_watch_takes_blocks_of_layers_and_leaves_out_what_gives_two_arrays() -> None:
    def call(x: torch.Tensor, block: Any, halves: Any, dense: Any) -> torch.Tensor:
        first, second = halves(block(x))
        return dense((first * second).mean((2, 3))).softmax(1)

    model = Calling(
        call,
        block=nn.Sequential(nn.Conv2d(32, 4, 3), nn.BatchNorm2d(4)),
        halves=Calling(lambda x: x.chunk(2, 1)),
        dense=nn.Linear(2, 10),
    )
    watched = torch_capture.watch(torch_model.export(model.eval()))
    outputs = watched.run(np.ones((3, 32, 32, 3), np.float32)).outputs
    shapes = {layer: output.shape for layer, output in outputs.items()}
    assert shapes == {"block": (3, 4, 30, 1), "dense": (3, 10)}
    assert list(watched.absent) == ["halves"]
    assert list(watched.parameters) == ["dense"]


# Any module.


def outputs(module: nn.Module) -> dict[str, Any]:
    return capture(module, IMAGES).run(IMAGES).outputs


def test_outputs_are_those_of_each_layer() -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Sequential(nn.BatchNorm2d(4), nn.ReLU()))
    captured = outputs(module)
    assert list(captured) == ["0", "1.0", "1.1"]
    module.eval()
    after = torch.from_numpy(IMAGES)
    with torch.no_grad():
        for name, layer in (("0", module[0]), ("1.0", module[1][0]), ("1.1", module[1][1])):
            after = layer(after)
            assert np.array_equal(captured[name], after.numpy())


def test_calls_are_kept_apart_and_work_in_place_changes_no_earlier_output() -> None:
    module = Calling(
        lambda x, conv, relu, unused: relu(conv(relu(x.clone()))),
        conv=nn.Conv2d(3, 3, 1), relu=nn.ReLU(inplace=True), unused=nn.Tanh(),
    )  # fmt: skip
    watched = capture(module, IMAGES)
    kept = watched.run(IMAGES).outputs
    assert list(kept) == ["relu", "conv", "relu:2"]
    assert kept["conv"].min() < 0 == kept["relu:2"].min()
    assert watched.absent == {"unused": "not called"}


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        (lambda x: (None, x), None),
        (lambda x: {"a": x, "b": x + 1}, None),
        (lambda x: [(x,)], None),
        (lambda x: x.argmax(1), "returns int64"),
        (lambda x: x.sum(), "no array with a row for each image"),
        (lambda x: x[:1], "no array with a row for each image"),
        (lambda x: None, "no array with a row for each image"),
    ],
)
def test_the_first_tensor_is_taken_or_absent_with_the_reason(call: Any, reason: Any) -> None:
    watched = capture(Calling(call), IMAGES)
    assert watched.absent == ({"Calling": reason} if reason else {})
    assert watched.points.keys() == ({"Calling"} - watched.absent.keys())
    if not reason:
        assert np.array_equal(watched.run(IMAGES).outputs["Calling"], IMAGES)


class Busy(nn.Module):
    """Has all the state that a forward pass may change."""

    def __init__(self, *, fails: bool = False) -> None:
        super().__init__()
        self.norm, self.drop, self.fails = nn.BatchNorm2d(3), nn.Dropout(), fails
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        result = self.drop(self.norm(x)) + torch.rand(())
        if self.fails:
            raise RuntimeError("no more")
        return result


def state(module: nn.Module) -> list[Any]:
    """All that must be as before."""
    return [
        *([x.training, len(x._forward_hooks), len(x._buffers)] for x in module.modules()),
        *((name, x.tolist()) for name, x in module.state_dict().items()),
        *((x.requires_grad, None if x.grad is None else x.grad.tolist(), id(x))
          for x in module.parameters()),
        *(id(x) for x in module.buffers()),
        torch.is_grad_enabled(), torch.get_rng_state().tolist(), torch.get_num_threads(),
    ]  # fmt: skip


@pytest.mark.parametrize("fails", [False, True])
def test_the_module_is_as_it_was_also_after_an_error(fails: bool) -> None:
    module = Busy(fails=fails)
    module.drop.eval()  # of several modes
    module.norm.weight.grad = torch.ones(3)
    module.norm.bias.requires_grad_(False)
    module.norm.register_forward_hook(lambda *_: None)
    before = state(module)
    with pytest.raises(RuntimeError, match="no more") if fails else nullcontext():
        capture(module, IMAGES)
    assert state(module) == before
    module.fails = False
    module(torch.from_numpy(IMAGES)).sum().backward()  # it still learns


def test_modes_are_set_where_a_module_refuses_to_be_evaluated() -> None:
    program = torch.export.export(nn.ReLU(), (torch.from_numpy(IMAGES),))
    with pytest.raises(NotImplementedError, match="eval"):
        program.module().eval()
    assert capture(program.module(), IMAGES).points.keys() <= {"_guards_fn"}


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_images_get_the_type_of_the_module(dtype: torch.dtype) -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 3)).to(dtype)
    captured = outputs(module)["0"]
    expected = module(torch.from_numpy(IMAGES).to(dtype)).detach().float().numpy()
    assert captured.dtype == np.float32
    assert np.array_equal(captured, expected)


def test_frozen_and_compiled_modules_are_taken() -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 3)).requires_grad_(False)
    traced = torch.fx.symbolic_trace(copy.deepcopy(module))
    for other in (traced, torch.compile(module)):
        assert np.array_equal(outputs(other)["0"], outputs(module)["0"])


def test_parameters_have_output_channels_first_and_the_values_in_use() -> None:
    module = nn.Sequential(
        nn.LazyConv2d(4, 3), nn.LazyBatchNorm2d(), nn.ConvTranspose2d(4, 5, 2), nn.PReLU(),
        nn.Flatten(), nn.utils.parametrizations.weight_norm(nn.Linear(245, 3)),
    )  # fmt: skip
    watched = capture(module, IMAGES)
    assert list(watched.points) == ["0", "1", "2", "3", "4", "5"]
    shapes = {
        f"{layer}.{kind}": x.values.shape
        for layer, kinds in watched.parameters.items()
        for kind, x in kinds.items()
    }
    assert shapes == {
        "0.weight": (4, 3, 3, 3), "0.bias": (4,), "1.weight": (4,), "1.bias": (4,),
        "2.weight": (5, 4, 2, 2), "2.bias": (5,), "3.weight": (1,), "5.weight": (3, 245),
        "5.bias": (3,),
    }  # fmt: skip
    used = module[5].weight.detach().numpy()
    assert np.array_equal(watched.parameters["5"]["weight"].values, used)
