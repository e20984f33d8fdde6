"""PyTorch: conversion, and files that stock PyTorch loads."""

import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F  # noqa: N812

from resnet8.core.errors import ArtifactError
from resnet8.models import torch_conversion, torch_model
from resnet8.models.onnx_graph import copy_of

# Float kernels round by what else their process has loaded (TensorFlow, in this one), and a sum
# that is as good as half a step then gets the next code.
ATOL_PROCESS = {"torch_fp32": 2e-6, "torch_int8": 2e-3}
# PyTorch and NumPy, without anything else of this project.
STOCK = """
import sys
sys.modules.update(dict.fromkeys(["onnx", "onnx2torch", "torchao", "torchvision", "resnet8"]))
import numpy, torch
unpickled = []
sys.addaudithook(lambda event, args: event == "pickle.find_class" and unpickled.append(args))
images = torch.from_numpy(numpy.load("images.npy"))
for name in sys.argv[1:]:
    module = torch.export.load(name + ".pt2").module()
    assert not unpickled, unpickled
    with torch.inference_mode():
        numpy.save(name + ".npy", module(images).numpy())
"""


@pytest.mark.parametrize("name", ATOL_PROCESS)
def test_predictions_do_not_depend_on_the_layout_of_images_in_memory(
    request: pytest.FixtureRequest, test_set: Any, name: str
) -> None:
    predictor = torch_model.make_predictor(request.getfixturevalue(name))
    for batch in (1, 7):
        rows_first = np.ascontiguousarray(test_set[0][:batch], np.float32)
        channels_first = rows_first.transpose(0, 3, 1, 2).copy().transpose(0, 2, 3, 1)
        probabilities = predictor(rows_first)
        assert probabilities.shape == (batch, 10)
        assert np.array_equal(probabilities, predictor(channels_first))


def test_bytes_are_the_same_with_every_build_of_pytorch(
    torch_fp32: Any, onnx_fp32: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = torch_model.encode(torch_fp32)
    version = torch.torch_version.TorchVersion("2.13.0+cu130")
    monkeypatch.setattr(torch, "__version__", version)
    again = torch_model.export(torch_conversion.convert(onnx_fp32))
    assert torch_model.encode(again) == expected
    assert torch.__version__ is version
    assert b"2.13.0+" not in expected
    # Inductor's int8 kernels misread other weights.
    assert all(x.is_contiguous() for x in torch_fp32.state_dict.values())


def test_files_load_in_stock_pytorch_with_the_same_predictions(
    torch_fp32: Any, torch_int8: Any, tmp_path: Path, test_set: Any
) -> None:
    images = test_set[0][:16].astype(np.float32)
    np.save(tmp_path / "images.npy", images)
    for name, program in zip(ATOL_PROCESS, (torch_fp32, torch_int8), strict=True):
        path = tmp_path / f"{name}.pt2"
        path.write_bytes(torch_model.encode(program))
        with zipfile.ZipFile(path) as archive:
            text = b"".join(archive.read(x) for x in archive.namelist() if "json" in x)
        assert b"nn_module_stack" in text
        for folder in (Path(__file__).parents[2], Path(sys.prefix)):
            assert str(folder).encode() not in text
    subprocess.run([sys.executable, "-c", STOCK, *ATOL_PROCESS], cwd=tmp_path, check=True)
    for name, atol in ATOL_PROCESS.items():
        model = torch_model.load_model(tmp_path / f"{name}.pt2", n_classes=10)
        expected = torch_model.make_predictor(model)(images)
        np.testing.assert_allclose(np.load(tmp_path / f"{name}.npy"), expected, atol=atol)


class Foreign(torch.nn.Module):
    """A classifier of all kinds of layers, written without this project."""

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
    probabilities = torch_model.make_predictor(torch_model.load_model(path, n_classes=10))(images)
    assert np.array_equal(images, before)  # though the module divides its input in place
    np.testing.assert_allclose(probabilities, module(torch.tensor(images)).detach(), atol=2e-6)


class Sorts(torch.nn.Module):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.mean((1, 2)).sort().values


def test_encode_writes_nothing_that_load_refuses() -> None:
    program = torch_model.export(Sorts())
    message = r"readers take, got: 'torch\.ops\.aten\.sort\.default' as 'target'\. Choose another"
    with pytest.raises(ArtifactError, match=message):
        torch_model.encode(program)


def test_convert_names_an_operator_that_onnx2torch_does_not_know(onnx_fp32: Any) -> None:
    model = copy_of(onnx_fp32)
    next(node for node in model.graph.node if node.op_type == "Relu").op_type = "Det"
    with pytest.raises(ArtifactError, match=r"^Layer activation \(Activation\) must .*got Det in"):
        torch_conversion.to_program(model)
