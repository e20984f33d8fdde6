"""Looking inside any model in one line."""

import importlib
import os
import subprocess
import sys
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from PIL import Image
from torch import nn

import resnet8
from resnet8 import look
from resnet8.core.errors import ArtifactError
from resnet8.core.pictures import encode_png
from resnet8.inside import Inside
from resnet8.models import torch_model
from resnet8.quantize import onnx_writer
from samples.dataset import SAMPLE_MODEL

IMAGES = np.random.default_rng(0).normal(size=(2, 3, 8, 8)).astype(np.float32)


def small(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 5))


@pytest.fixture(scope="module")
def inside() -> Inside:
    return look(small(), IMAGES)


def png(content: Any) -> tuple[int, int]:
    """The size of a picture as a notebook shows it."""
    return Image.open(BytesIO(content._repr_png_())).size


def test_import_of_the_package_loads_no_framework() -> None:
    code = (
        "import sys, resnet8; assert 'look' in dir(resnet8);"
        "assert not {'torch', 'numpy', 'onnx', 'tensorflow'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(AttributeError, match="'resnet8' has no attribute 'nothing'"):
        resnet8.nothing  # noqa: B018


def test_a_copy_of_the_project_uses_its_own_package(tmp_path: Path) -> None:
    (tmp_path / "resnet8").mkdir()
    (tmp_path / "resnet8" / "__init__.py").write_text("")
    (tmp_path / "stages.py").write_text("import resnet8; print(resnet8.__file__)")
    command = [sys.executable, "-m", "stages"]
    shown = subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True)
    assert shown.stdout.strip() == str(tmp_path / "resnet8" / "__init__.py")


def test_outputs_and_parameters_are_those_of_the_module(inside: Inside) -> None:
    module = small()
    with torch.no_grad():
        expected = module[0](torch.from_numpy(IMAGES)).numpy()
        assert np.array_equal(inside.output, module(torch.from_numpy(IMAGES)).numpy())
    assert inside.layers == ["0", "1", "2", "3"]
    assert np.array_equal(inside["0"], expected)
    assert np.array_equal(inside.parameters("3")["bias"], module[3].bias.detach().numpy())
    assert inside.parameters("1") == {}


def test_what_is_returned_is_a_copy(inside: Inside) -> None:
    before = inside["0"]
    inside["0"][:] = 0
    inside.parameters("0")["weight"][:] = 0
    assert np.array_equal(inside["0"], before)
    assert inside.parameters("0")["weight"].any()


def test_statistics_are_those_of_output_and_weight(inside: Inside) -> None:
    found = inside.statistics("0")
    room = found["dynamic_range"] / 10_000
    assert found["mean"] == pytest.approx(inside["0"].mean(), abs=room)
    assert inside.statistics("0", of="weight")["shape"] == [4, 3, 3, 3]
    with pytest.raises(KeyError, match="1 of Sequential has no bias. It has: output"):
        inside.statistics("1", of="bias")


def test_the_table_has_a_line_for_each_layer_and_fits_the_terminal(
    inside: Inside, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = repr(inside).splitlines()
    assert lines[0] == "Sequential over 2 images"
    assert [line.split()[0] for line in lines[4:]] == inside.layers
    monkeypatch.setenv("COLUMNS", "30")
    assert max(map(len, repr(inside).splitlines())) <= 30


def test_the_table_of_a_notebook_is_escaped_and_has_no_colours_of_its_own() -> None:
    module = nn.Sequential()
    module.add_module("<b>[red]", nn.ReLU())
    found = look(module, IMAGES)
    html = found._repr_html_()
    assert ">&lt;b&gt;[red]<" in html
    assert "color" not in html
    assert "<b>[red]" in repr(found)


def test_figures_show_themselves_and_leave_pyplot_alone(inside: Inside) -> None:
    assert png(inside.histogram("0")) > (500, 300)
    assert png(inside.feature_maps("1", 1)) > (300, 300)
    assert png(inside.ranges()) > (500, 100)
    assert (
        "matplotlib.pyplot" not in sys.modules or not sys.modules["matplotlib.pyplot"].get_fignums()
    )
    with pytest.raises(IndexError, match="image must be from 0 to 1, got 2"):
        inside.feature_maps("1", 2)


def test_compare_measures_each_layer_against_the_reference(inside: Inside) -> None:
    module = small()
    with torch.no_grad():
        module[0].bias += 0.1
    found = look(module, IMAGES).compare(inside)
    assert repr(look(module, IMAGES).compare(small())) == repr(found)
    error = np.full(inside["0"].shape, 0.1)
    np.testing.assert_allclose(found["0"], error, atol=1e-6)  # float32 near one
    row = found.statistics("0")
    ratio = 10 * np.log10((inside["0"] ** 2).sum() / (error**2).sum())
    assert row["sqnr_db"] == pytest.approx(ratio, abs=0.01)
    assert row["max_abs_error"] == pytest.approx(0.1, abs=1e-4)
    assert found.statistics("0", of="bias")["max_abs_error"] == pytest.approx(0.1, abs=1e-4)
    assert found.statistics("3", of="weight")["sqnr_db"] is None
    lines = repr(found).splitlines()
    assert lines[0] == "Sequential (compared) against Sequential over 2 images"
    assert lines[2].split() == ["layer", "SQNR", "dB", "cosine", "max", "error", "std"]
    for figure in (found.histogram("0"), found.feature_maps("0"), found.sqnr(), found.ranges()):
        assert png(figure) > (300, 100)


def test_compare_leaves_out_layers_of_another_shape(inside: Inside) -> None:
    module = small()
    module[0] = nn.Conv2d(3, 4, 3, padding=1)
    module[2] = nn.Sequential(nn.AdaptiveAvgPool2d(6), nn.Flatten())
    found = look(module, IMAGES).compare(inside)
    assert found.absent == dict.fromkeys(["0", "1"], "an output of another shape")
    with pytest.raises(KeyError, match=r"0 is not in Sequential \(compared\)"):
        found["0"]


def test_compare_refuses_other_images_and_other_layers(inside: Inside) -> None:
    with pytest.raises(ValueError, match="must have seen the same images, got 1 image of shape"):
        look(small(), IMAGES[:1]).compare(inside)
    with pytest.raises(ValueError, match="must have layers of one name and shape, got ReLU and 0"):
        look(nn.ReLU(), IMAGES).compare(inside)


@pytest.mark.parametrize("layout", ["NHWC", "one image", "tensor", "bfloat16", "list"])
def test_layouts_are_told_apart(inside: Inside, layout: str) -> None:
    given: Any = {
        "NHWC": IMAGES.transpose(0, 2, 3, 1),
        "one image": IMAGES[0],
        "tensor": torch.from_numpy(IMAGES).requires_grad_(),
        "bfloat16": torch.from_numpy(IMAGES).bfloat16(),
        "list": IMAGES.tolist(),
    }[layout]
    found = look(small(), given)["0"]
    n, atol = (1 if layout == "one image" else 2), (0.1 if layout == "bfloat16" else 1e-6)
    np.testing.assert_allclose(found, inside["0"][:n], atol=atol)


@pytest.mark.parametrize("shape", [(2, 3, 8, 4), (2, 16, 8, 8), (5, 28, 28)])
def test_a_layout_that_the_shape_does_not_tell_is_asked_for(shape: tuple[int, ...]) -> None:
    images = np.zeros(shape, np.float32)
    with pytest.raises(ValueError, match='Say layout="NCHW" or layout="NHWC"'):
        look(nn.ReLU(), images)
    assert look(nn.ReLU(), images, layout="NCHW").layers == ["ReLU"]


def test_whole_numbers_become_floats_and_floats_stay_as_they_are() -> None:
    pixels = np.arange(192, dtype=np.uint8).reshape(1, 3, 8, 8)
    assert np.array_equal(look(nn.ReLU(), pixels)["ReLU"], pixels.astype(np.float32))
    assert np.array_equal(look(nn.Identity(), -IMAGES)["Identity"], -IMAGES)


def test_random_images_need_the_size_of_a_module() -> None:
    assert look(small(), "random:0", size=(3, 8, 8))["0"].shape == (1, 4, 6, 6)
    assert look(nn.ReLU(), "random:0", size=(8, 8, 3))["ReLU"].shape == (1, 8, 8, 3)
    with pytest.raises(ValueError, match=r"input size, such as size=\(3, 224, 224\)"):
        look(small(), "random:0")


def test_pictures_are_read_and_must_have_one_size(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), np.uint8)
    paths = [tmp_path / f"{i}.png" for i in range(2)]
    for path, picture in zip(paths, pixels, strict=True):
        path.write_bytes(encode_png(picture))
    found = look(nn.ReLU(), paths)
    assert np.array_equal(found["ReLU"], pixels.transpose(0, 3, 1, 2))
    assert found.over == "0.png, 1.png"
    assert np.array_equal(look(nn.ReLU(), str(paths[0]))["ReLU"], found["ReLU"][:1])
    paths[1].write_bytes(encode_png(pixels[0, :4]))
    message = r"got 8 x 8 pixels in \S+/0.png and 8 x 4 pixels in \S+/1.png\."
    with pytest.raises(ArtifactError, match=message):
        look(nn.ReLU(), paths)


def test_a_model_without_layers_that_are_called_is_refused() -> None:
    program = torch.export.export(small(), (torch.zeros(2, 3, 8, 8),))
    with pytest.raises(ValueError, match="Of an exported program, give the program itself"):
        look(program.module(), IMAGES)
    assert look(program, IMAGES).layers == ["0", "1", "2", "3"]


def test_numbers_that_are_none_make_a_layer_absent() -> None:
    class Root(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return (x - 2).sqrt()  # of negative numbers

    found = look(nn.Sequential(Root(), nn.ReLU(), nn.Softmax(1)), IMAGES)
    assert found.layers == []
    assert set(found.absent.values()) == {"gives numbers that are too large, or none"}
    assert "Not captured: 3" in repr(found)


def test_a_program_of_other_images_is_taken_from_a_file(inside: Inside, tmp_path: Path) -> None:
    program = torch.export.export(small(), (torch.zeros(2, 3, 8, 8),))
    torch.export.save(program, tmp_path / "small.pt2")
    found = look(tmp_path / "small.pt2", IMAGES)
    assert (found.name, found.layers) == ("small", inside.layers)
    np.testing.assert_allclose(found["3"], inside["3"], atol=1e-6)  # float32 near one
    with pytest.raises(ValueError, match=r"takes images \(3, 8, 8\), got \(3, 9, 9\)"):
        look(tmp_path / "small.pt2", np.zeros((2, 3, 9, 9), np.float32))
    with pytest.raises(
        ArtifactError, match=r"small must run on images of shape \(1, 3, 8, 8\), got"
    ):
        look(tmp_path / "small.pt2", IMAGES[:1])


def test_an_onnx_model_of_other_images_is_taken(inside: Inside, tmp_path: Path) -> None:
    make, value = onnx.helper.make_node, onnx.helper.make_tensor_value_info
    weights = inside.parameters("0")
    graph = onnx.helper.make_graph(
        [make("Conv", ["x", "w", "b"], ["0"], name="first"), make("Relu", ["0"], ["1"], name="r")],
        "small",
        [value("x", onnx.TensorProto.FLOAT, ("n", 3, 8, 8))],
        [value("1", onnx.TensorProto.FLOAT, ("n", 4, 6, 6))],
        [onnx.numpy_helper.from_array(weights[x], x[0]) for x in ("weight", "bias")],
    )
    opset = onnx.helper.make_opsetid("", 17)
    model = onnx.helper.make_model(graph, opset_imports=[opset], ir_version=8)
    onnx.save(model, tmp_path / "other.onnx")
    found = look(str(tmp_path / "other.onnx"), IMAGES)
    assert found.layers == ["0", "r"]
    np.testing.assert_allclose(found["0"], inside["0"], atol=1e-6)  # float32 near one
    assert np.array_equal(found.parameters("0")["weight"], weights["weight"])
    assert found.compare(inside).layers == ["0", "1", "2", "3"]


def test_models_of_the_pipeline_are_shown_in_the_units_of_the_float_model(
    torch_int8: Any, torch_fp32: Any, quantization: Any, tmp_path: Path, test_set: Any
) -> None:
    (tmp_path / "x.pt2").write_bytes(torch_model.encode(torch_int8, quantization.metadata))
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    quantized, original = (look(x, test_set[0][:2]) for x in (tmp_path / "x.pt2", torch_fp32))
    assert torch.get_num_threads() == 2
    torch.set_num_threads(threads)
    assert quantized.statistics("activation")["dtype"] == "uint8"
    found = quantized.compare(original)
    assert found.statistics("activation")["clipped_share"] < 0.1
    assert found.statistics("conv2d", of="weight")["sqnr_db"] > 20
    keras = look(SAMPLE_MODEL, test_set[0][:2])
    np.testing.assert_allclose(original["conv2d"], keras["conv2d"], atol=1e-4)  # of 30
    assert keras.name == "keras_fp32"


def test_a_model_of_torchvision_is_taken() -> None:
    importlib.import_module("resnet8.models.torch_conversion")  # mends torchvision's import
    torchvision = importlib.import_module("torchvision")
    model = torchvision.models.mobilenet_v3_small(num_classes=10)
    found = look(model, np.zeros((1, 64, 64, 3), np.uint8))
    assert model.training
    assert found.output.shape == (1, 10)
    assert found["features.0.0"].shape == (1, 16, 32, 32)
    assert png(found.select("features.0.*").feature_maps("features.0.2")) > (300, 300)
    assert os.environ["ATEN_CPU_CAPABILITY"]


def test_a_quantized_reference_counts_in_numbers_not_in_codes(
    onnx_fp32: Any, torch_int8: Any, quantization: Any, tmp_path: Path, test_set: Any
) -> None:
    onnx.save(
        onnx_writer.quantize(onnx_fp32, quantization, quant_type="int8"),
        tmp_path / "onnx_int8.onnx",
    )
    (tmp_path / "torch_int8.pt2").write_bytes(torch_model.encode(torch_int8, quantization.metadata))
    one, other = (look(tmp_path / x, test_set[0][:2]) for x in ("onnx_int8.onnx", "torch_int8.pt2"))
    for errors in (one.compare(other), other.compare(one)):
        row = errors.statistics("activation_3")
        step = quantization.activations["activation_3"].scale.max()
        assert row["max_abs_error"] <= 2 * step
        assert row["cosine_similarity"] > 0.999


def test_layers_that_are_computed_together_name_the_other_and_show_their_weights(
    onnx_fp32: Any, quantization: Any, tmp_path: Path, test_set: Any
) -> None:
    onnx.save(
        onnx_writer.quantize(onnx_fp32, quantization, quant_type="int8"),
        tmp_path / "onnx_int8.onnx",
    )
    found = look(tmp_path / "onnx_int8.onnx", test_set[0][:2])
    with pytest.raises(
        KeyError, match=r"computed together with activation_1\). Near: activation_1"
    ):
        found.histogram("conv2d_1")
    assert found.parameters("conv2d_1")["weight"].shape == (16, 16, 3, 3)
    words = [t.get_text() for a in found.histogram("activation_1").axes if a.get_legend()
             for t in a.get_legend().get_texts()]  # fmt: skip
    assert any("int8, compared with nothing" in x for x in words)


@pytest.mark.parametrize(
    ("model", "images", "size", "error", "says"),
    [
        (
            None,
            IMAGES,
            None,
            TypeError,
            "model must be a PyTorch module, .* got <class 'NoneType'>",
        ),
        (nn.ReLU(), IMAGES * np.nan, None, ValueError, "images must be finite numbers"),
        (
            nn.ReLU(),
            "random:0",
            (32, 32),
            ValueError,
            r"size must be that of one image, .* \(32, 32",
        ),
    ],
)
def test_what_cannot_be_looked_at_is_refused(
    model: Any, images: Any, size: Any, error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        look(nn.Sequential(model) if model else model, images, size=size)
