"""Captures of any PyTorch module, which is afterwards as it was."""

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from resnet8.inspection.torch_capture import capture

IMAGES = np.random.default_rng(0).normal(size=(2, 3, 8, 8)).astype(np.float32)


def outputs(module: nn.Module, images: NDArray[np.float32] = IMAGES) -> dict[str, Any]:
    return capture(module, images).run(images).outputs


class Twice(nn.Module):
    """Calls one ReLU twice, and never its other layer."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.relu, self.unused = nn.Conv2d(3, 3, 1), nn.ReLU(inplace=True), nn.Tanh()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.relu(self.conv(self.relu(x.clone())))


class Giving(nn.Module):
    """Gives something that is no plain tensor."""

    def __init__(self, give: Callable[[torch.Tensor], Any]) -> None:
        super().__init__()
        self.give = give

    def forward(self, x: torch.Tensor) -> Any:
        return self.give(x)


class Busy(nn.Module):
    """Has all the state that a forward pass may change."""

    def __init__(self, *, fails: bool = False) -> None:
        super().__init__()
        self.norm, self.drop, self.fails = nn.BatchNorm2d(3), nn.Dropout(), fails
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        found = self.drop(self.norm(x)) + torch.rand(())
        if self.fails:
            raise RuntimeError("no more")
        return found


def test_outputs_are_those_of_each_layer() -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Sequential(nn.BatchNorm2d(4), nn.ReLU()))
    found = outputs(module)
    assert list(found) == ["0", "1.0", "1.1"]
    module.eval()
    after = torch.from_numpy(IMAGES)
    with torch.no_grad():
        for name, layer in (("0", module[0]), ("1.0", module[1][0]), ("1.1", module[1][1])):
            after = layer(after)
            assert np.array_equal(found[name], after.numpy())


def test_calls_are_kept_apart_and_work_in_place_changes_no_earlier_output() -> None:
    found = capture(Twice(), IMAGES)
    kept = found.run(IMAGES).outputs
    assert list(kept) == ["relu", "conv", "relu:2"]
    assert kept["conv"].min() < 0 == kept["relu:2"].min()
    assert found.absent == {"unused": "not called"}


@pytest.mark.parametrize(
    "give", [lambda x: (None, x), lambda x: {"a": x, "b": x + 1}, lambda x: [(x,)]]
)
def test_the_first_tensor_of_a_tuple_or_dictionary_is_taken(give: Any) -> None:
    assert np.array_equal(outputs(Giving(give))["Giving"], IMAGES)


@pytest.mark.parametrize(
    ("give", "reason"),
    [
        (lambda x: x.argmax(1), "gives int64"),
        (lambda x: x.sum(), "no array with a row for each image"),
        (lambda x: x[:1], "no array with a row for each image"),
        (lambda x: None, "no array with a row for each image"),
    ],
)
def test_another_output_is_absent_with_the_reason(give: Any, reason: str) -> None:
    found = capture(Giving(give), IMAGES)
    assert (found.points, found.absent) == ({}, {"Giving": reason})


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
    if fails:
        with pytest.raises(RuntimeError, match="no more"):
            capture(module, IMAGES)
    else:
        capture(module, IMAGES)
    assert state(module) == before
    module.fails = False
    module(torch.from_numpy(IMAGES)).sum().backward()  # it still learns


def test_modes_are_set_where_a_module_refuses_to_be_evaluated() -> None:
    program = torch.export.export(nn.Sequential(nn.ReLU()), (torch.zeros(2, 3, 8, 8),))
    assert np.array_equal(outputs(torch.export.unflatten(program))["0"], np.maximum(IMAGES, 0))
    with pytest.raises(NotImplementedError, match="eval"):
        program.module().eval()
    assert capture(program.module(), IMAGES).points.keys() <= {"_guards_fn"}


def test_hooks_of_the_user_are_run_and_stay() -> None:
    module = nn.Sequential(nn.ReLU())
    module[0].register_forward_hook(lambda _module, _inputs, output: output + 1)
    assert np.array_equal(outputs(module)["0"], np.maximum(IMAGES, 0) + 1)
    assert len(module[0]._forward_hooks) == 1


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_images_get_the_type_of_the_module(dtype: torch.dtype) -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 3)).to(dtype)
    found = outputs(module)["0"]
    expected = module(torch.from_numpy(IMAGES).to(dtype)).detach().float().numpy()
    assert found.dtype == np.float32
    assert np.array_equal(found, expected)


def test_lazy_modules_take_their_shapes_from_the_images() -> None:
    module = nn.Sequential(nn.LazyConv2d(4, 3), nn.LazyBatchNorm2d(), nn.Flatten())
    found = capture(module, IMAGES)
    assert found.parameters["0"]["weight"].values.shape == (4, 3, 3, 3)
    assert found.run(IMAGES).outputs["2"].shape == (2, 144)


def test_frozen_and_compiled_modules_are_taken() -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 3)).requires_grad_(False)
    traced = torch.fx.symbolic_trace(copy.deepcopy(module))
    for other in (traced, torch.compile(module)):
        assert np.array_equal(outputs(other)["0"], outputs(module)["0"])


def test_parameters_have_output_channels_first() -> None:
    module = nn.Sequential(nn.ConvTranspose2d(3, 5, 2), nn.PReLU())
    found = capture(module, IMAGES).parameters
    assert found["0"]["weight"].values.shape == (5, 3, 2, 2)
    assert found["0"]["bias"].values.shape == (5,)
    assert found["1"]["weight"].values.shape == (1,)


def test_parametrized_layers_are_layers_with_the_weights_that_they_use() -> None:
    linear = nn.utils.parametrizations.weight_norm(nn.Linear(192, 3))
    found = capture(nn.Sequential(nn.Flatten(), linear), IMAGES)
    assert list(found.points) == ["0", "1"]
    assert np.array_equal(found.parameters["1"]["weight"].values, linear.weight.detach().numpy())
