"""PyTorch: conversion, files that stock PyTorch loads, and 8 bits where they should be."""

import subprocess
import sys
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F  # noqa: N812

from resnet8.core.errors import ArtifactError
from resnet8.core.evaluation import predict
from resnet8.models import onnx_model, torch_conversion, torch_model

aten = torch.ops.aten
# What stands between an 8-bit tensor and the operator that takes its dequantized values.
DEQUANTIZING = {aten.mul.Tensor, aten.sub.Tensor, aten.to.dtype, aten._to_copy.default}
# Float kernels round by what else their process has loaded (TensorFlow, in this one), and a sum
# that is as good as half a step then gets the next code.
ATOL_PROCESS, ATOL_PROCESS_INT8 = 2e-6, 2e-3
MOVING = {aten.pad.default, aten.flatten.using_ints, aten.permute.default}


@pytest.fixture(params=["torch_fp32", "torch_int8"])
def any_program(request: pytest.FixtureRequest) -> Any:
    return request.getfixturevalue(request.param)


def test_converted_model_computes_what_onnx_computes(
    torch_fp32: Any, onnx_fp32: Any, test_set: Any
) -> None:
    images = test_set[0][:100]
    expected = predict(onnx_model.make_predictor(onnx_fp32), images, batch_size=100)
    found = predict(torch_model.make_predictor(torch_fp32), images, batch_size=100)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_forward_hooks_fire_on_layers_named_like_the_onnx_nodes(
    torch_fp32: Any, onnx_fp32: Any
) -> None:
    module = torch.export.unflatten(torch_fp32)
    fired = []
    for name, layer in module.named_children():
        layer.register_forward_hook(lambda *_, name=name: fired.append(name))
    module(torch.zeros(2, 32, 32, 3))
    assert sorted(fired) == sorted(node.name for node in onnx_fp32.graph.node)


@pytest.mark.parametrize("batch", [1, 7])
def test_any_batch_size_runs(any_program: Any, batch: int) -> None:
    found = torch_model.make_predictor(any_program)(np.zeros((batch, 32, 32, 3), np.float32))
    assert found.shape == (batch, 10)


def test_predictions_do_not_depend_on_the_layout_of_images_in_memory(
    any_program: Any, test_set: Any
) -> None:
    rows_first = np.ascontiguousarray(test_set[0][:50], np.float32)
    channels_first = rows_first.transpose(0, 3, 1, 2).copy().transpose(0, 2, 3, 1)
    predictor = torch_model.make_predictor(any_program)
    assert np.array_equal(predictor(rows_first), predictor(channels_first))


def test_encode_gives_the_same_bytes_twice(torch_fp32: Any, onnx_fp32: Any) -> None:
    again = torch_model.export(torch_conversion.convert(onnx_fp32))
    assert torch_model.encode(again) == torch_model.encode(torch_fp32)


def test_encode_keeps_the_public_part_of_pytorchs_version_alone(
    torch_fp32: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = torch_model.encode(torch_fp32)
    version = torch.torch_version.TorchVersion("2.13.0+cu130")
    monkeypatch.setattr(torch, "__version__", version)
    assert torch_model.encode(torch_fp32) == expected
    assert torch.__version__ is version
    assert b"2.13.0+" not in expected


def test_file_holds_no_path_of_the_machine_that_wrote_it(any_program: Any, tmp_path: Path) -> None:
    (tmp_path / "model.pt2").write_bytes(torch_model.encode(any_program))
    with zipfile.ZipFile(tmp_path / "model.pt2") as archive:
        text = b"".join(archive.read(name) for name in archive.namelist() if "json" in name)
    assert b"nn_module_stack" in text
    assert str(Path(__file__).parents[2]).encode() not in text
    assert str(Path(sys.prefix)).encode() not in text


def test_file_loads_in_stock_pytorch_with_the_same_predictions(
    any_program: Any, tmp_path: Path, test_set: Any
) -> None:
    images = test_set[0][:16].astype(np.float32)
    (tmp_path / "model.pt2").write_bytes(torch_model.encode(any_program))
    np.save(tmp_path / "images.npy", images)
    # A process that has PyTorch and NumPy, and refuses everything else of this project.
    script = """
import sys
sys.modules.update(dict.fromkeys(["onnx", "onnx2torch", "torchao", "torchvision", "resnet8"]))
import numpy, torch
unpickled = []
sys.addaudithook(lambda event, args: event == "pickle.find_class" and unpickled.append(args))
module = torch.export.load("model.pt2").module()
assert not unpickled, unpickled
with torch.inference_mode():
    numpy.save("out.npy", module(torch.from_numpy(numpy.load("images.npy"))).numpy())
"""
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, check=True)
    expected = torch_model.make_predictor(torch_model.load_model(tmp_path / "model.pt2"))(images)
    is_quantized = any(x.target == aten.round.default for x in any_program.graph.nodes)
    atol = ATOL_PROCESS_INT8 if is_quantized else ATOL_PROCESS
    np.testing.assert_allclose(np.load(tmp_path / "out.npy"), expected, atol=atol)


class Foreign(torch.nn.Module):
    """A classifier of all kinds of layers, from people who do not know this project."""

    def __init__(self) -> None:
        super().__init__()
        nn = torch.nn
        self.mean = nn.Buffer(torch.tensor([0.5, 0.4, 0.3]))
        self.scale = torch.tensor([4.0])  # no buffer, so a constant
        self._stem2d = nn.Sequential(nn.Conv2d(3, 8, 3, padding="same"), nn.BatchNorm2d(8))
        self.down = nn.Conv2d(8, 8, 3, 2, groups=4, padding=1)
        self.up = nn.ConvTranspose2d(8, 8, 3, 2, 1, 1)
        self.relu = nn.ReLU(inplace=True)
        self.norms = nn.ModuleDict({"group-0": nn.GroupNorm(2, 8), "layer": nn.LayerNorm(16)})
        self.head = nn.Sequential(nn.Dropout(), nn.Linear(8, 10), nn.Softmax(-1))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        x = images.div_(255).sub(self.mean).mul(self.scale).permute(0, 3, 1, 2)
        x = self.relu(self._stem2d(x))
        x = self.relu(self.up(self.down(x)) + x)
        x = F.max_pool2d(F.pad(x, (0, 1, 0, 1), value=-torch.inf), 3, 2)
        x = F.interpolate(x, scale_factor=2, mode="bilinear")[:, :, 1:-1:2, ::2]
        x = self.norms["layer"](self.norms["group-0"](x)[..., :16])
        x = torch.cat([torch.maximum(x, x.sigmoid()), F.hardswish(x), F.silu(x)], 1)
        first, second, third = x.chunk(3, 1)
        x = F.gelu(first).clamp(0, 6) + F.hardsigmoid(second) * torch.erf(third)
        x = F.softmax(x, 1).transpose(2, 3).flatten(2)
        x = torch.matmul(x.reshape(images.shape[0], 8, -1), x.new_ones(x.shape[2], 1))
        return self.head(x.mean(2))


def test_load_takes_what_others_export_from_plain_modules(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module, path = Foreign(), tmp_path / "their-model.pt2"
    batch = torch.export.Dim("images", min=1)
    example = torch.zeros(7, 32, 32, 3)
    program = torch.export.export(module.eval(), (example,), dynamic_shapes=({0: batch},))
    torch.export.save(program, path, extra_files={"notes.txt": "of theirs"})
    images = np.random.default_rng(0).uniform(0, 255, (5, 32, 32, 3)).astype(np.float32)
    before = images.copy()
    found = torch_model.make_predictor(torch_model.load_model(path, n_classes=10))(images)
    assert np.array_equal(images, before)  # though the module divides its input in place
    np.testing.assert_allclose(found, module(torch.tensor(images)).detach(), atol=ATOL_PROCESS)


def test_encode_writes_nothing_that_load_refuses() -> None:
    class Sorts(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return images.mean((1, 2)).sort().values

    program = torch_model.export(Sorts())
    message = r"readers take, got: 'torch\.ops\.aten\.sort\.default' as 'target'\. Choose another"
    with pytest.raises(ArtifactError, match=message):
        torch_model.encode(program)


def in_8_bits(node: torch.fx.Node) -> bool:
    """Whether a value is an 8-bit tensor, dequantized and at most moved around."""
    if node.meta["val"].dtype in (torch.uint8, torch.int8):
        return True
    if node.target in DEQUANTIZING | MOVING:
        return in_8_bits(node.args[0])
    return False


def test_convolutions_pooling_and_dense_layer_take_8_bit_values(torch_int8: Any) -> None:
    checked = Counter()
    for node in torch_int8.graph.nodes:
        if node.target in (aten.conv2d.default, aten.avg_pool2d.default, aten.linear.default):
            assert in_8_bits(node.args[0]), node.name
            checked[node.target] += 1
    expected = {aten.conv2d.default: 9, aten.avg_pool2d.default: 1, aten.linear.default: 1}
    assert checked == expected


def test_additions_take_8_bit_values_or_a_convolution_that_they_are_fused_with(
    torch_int8: Any,
) -> None:
    additions = 0
    for node in torch_int8.graph.nodes:
        if node.target == aten.add.Tensor and isinstance(node.args[1], torch.fx.Node):
            kinds = [in_8_bits(x) for x in node.args]
            fused = [x.target == aten.conv2d.default and len(x.users) == 1 for x in node.args]
            assert any(kinds), node.name
            assert all(a or b for a, b in zip(kinds, fused, strict=True)), node.name
            additions += 1
    assert additions == 3


def test_weights_are_stored_in_int8_and_nowhere_else(torch_int8: Any, torch_fp32: Any) -> None:
    def count(program: Any, dims: int) -> Counter[torch.dtype]:
        tensors = [*program.state_dict.values(), *program.constants.values()]
        return sum((Counter({x.dtype: x.numel()}) for x in tensors if x.dim() >= dims), Counter())

    kernels = count(torch_fp32, 2)[torch.float32]
    assert count(torch_int8, 2) == {torch.int8: kernels}


def test_convert_names_an_operator_that_onnx2torch_does_not_know(onnx_fp32: Any) -> None:
    model = type(onnx_fp32)()
    model.CopyFrom(onnx_fp32)
    next(node for node in model.graph.node if node.op_type == "Relu").op_type = "Det"
    with pytest.raises(ArtifactError, match=r"^Layer activation \(Activation\) must .*got Det in"):
        torch_conversion.to_program(model)


def test_dense_weights_are_contiguous(torch_fp32: Any) -> None:
    assert all(x.is_contiguous() for x in torch_fp32.state_dict.values())
