"""Looking inside any model in one line."""

import importlib
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
from samples.dataset import SAMPLE_MODEL
from tests.quantize.graphs import build, node

IMAGES = np.random.default_rng(0).normal(size=(2, 3, 8, 8)).astype(np.float32)
ATOL_FLOAT32 = 1e-6  # of numbers near one


def small() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 5))


@pytest.fixture(scope="module")
def inside() -> Inside:
    return look(small(), IMAGES)


def size_of(figure: Any) -> tuple[int, int]:
    """The size of a picture as a notebook shows it."""
    return Image.open(BytesIO(figure._repr_png_())).size


def test_import_of_the_package_loads_no_framework() -> None:
    code = (
        "import sys, resnet8; assert 'look' in dir(resnet8);"
        "assert not {'torch', 'numpy', 'onnx', 'tensorflow'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(AttributeError, match="'resnet8' has no attribute 'nothing'"):
        resnet8.nothing  # noqa: B018


def test_outputs_and_parameters_are_copies_of_the_modules(inside: Inside) -> None:
    module = small().requires_grad_(False)
    assert inside.layers == ["0", "1", "2", "3"]
    for _ in range(2):
        output, parameters = inside["0"], inside.parameters("0")
        assert np.array_equal(output, module[0](torch.from_numpy(IMAGES)).numpy())
        assert np.array_equal(parameters["weight"], module[0].weight.numpy())
        output[:] = parameters["weight"][:] = 0
    assert np.array_equal(inside.output, module(torch.from_numpy(IMAGES)).numpy())
    assert inside.parameters("1") == {}


def test_statistics_are_those_of_output_and_weight(inside: Inside) -> None:
    row = inside.statistics("0")
    room = row["dynamic_range"] / 10_000
    assert row["mean"] == pytest.approx(inside["0"].mean(), abs=room)
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
    view = look(module, IMAGES)
    html = view._repr_html_()
    assert ">&lt;b&gt;[red]<" in html
    assert "color" not in html
    assert "<b>[red]" in repr(view)


def test_select_keeps_the_order_of_layers(inside: Inside) -> None:
    assert inside.select("[23], 0").layers == ["0", "2", "3"]
    assert inside.select("*").layers == inside.layers
    with pytest.raises(ValueError, match=r"must match a layer, got 'pool\*'\. Layers: 0, 1, 2, 3"):
        inside.select("0,pool*")


def test_figures_show_themselves_and_leave_pyplot_alone(inside: Inside) -> None:
    assert size_of(inside.histogram("0")) > (500, 300)
    assert size_of(inside.feature_maps("1", 1)) > (300, 300)
    assert size_of(inside.ranges()) > (500, 100)
    pyplot = sys.modules.get("matplotlib.pyplot")
    assert pyplot is None or not pyplot.get_fignums()
    with pytest.raises(IndexError, match="image must be from 0 to 1, got 2"):
        inside.feature_maps("1", 2)


def test_compare_measures_each_layer_against_the_reference(inside: Inside) -> None:
    module = small()
    with torch.no_grad():
        module[0].bias += 0.1
    errors = look(module, IMAGES).compare(inside)
    assert repr(look(module, IMAGES).compare(small())) == repr(errors)
    expected = np.full(inside["0"].shape, 0.1)
    np.testing.assert_allclose(errors["0"], expected, atol=ATOL_FLOAT32)
    row = errors.statistics("0")
    ratio = 10 * np.log10((inside["0"] ** 2).sum() / (expected**2).sum())
    assert row["sqnr_db"] == pytest.approx(ratio, abs=0.01)
    assert row["max_abs_error"] == pytest.approx(0.1, abs=1e-4)
    assert errors.statistics("0", of="bias")["max_abs_error"] == pytest.approx(0.1, abs=1e-4)
    assert errors.statistics("3", of="weight")["sqnr_db"] is None
    lines = repr(errors).splitlines()
    assert lines[0] == "Sequential (compared) against Sequential over 2 images"
    assert lines[2].split() == ["layer", "SQNR", "dB", "cosine", "max", "error", "std"]
    for draw in (errors.histogram, errors.feature_maps):
        assert size_of(draw("0")) > (300, 100)
    assert size_of(errors.sqnr()) > (300, 100)


def test_compare_leaves_out_layers_of_another_shape(inside: Inside) -> None:
    module = small()
    module[0] = nn.Conv2d(3, 4, 3, padding=1)
    module[2] = nn.Sequential(nn.AdaptiveAvgPool2d(6), nn.Flatten())
    errors = look(module, IMAGES).compare(inside)
    assert errors.absent == dict.fromkeys(["0", "1"], "an output of another shape")
    with pytest.raises(KeyError, match=r"0 is not in Sequential \(compared\)"):
        errors["0"]


@pytest.mark.parametrize(
    ("model", "images", "message"),
    [
        (small(), IMAGES[:1], "must run on equal images, got 1 image of shape"),
        (nn.ReLU(), IMAGES, "must have layers of one name and shape, got ReLU and 0"),
    ],
)
def test_compare_refuses(inside: Inside, model: nn.Module, images: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        look(model, images).compare(inside)


@pytest.mark.parametrize(
    ("images", "atol"),
    [
        (IMAGES.transpose(0, 2, 3, 1), ATOL_FLOAT32),
        (IMAGES[0], ATOL_FLOAT32),
        (torch.from_numpy(IMAGES).requires_grad_(), ATOL_FLOAT32),
        (torch.from_numpy(IMAGES).bfloat16(), 0.1),
        (IMAGES.tolist(), ATOL_FLOAT32),
    ],
    ids=["NHWC", "one image", "tensor", "bfloat16", "list"],
)
def test_layouts_are_distinguished(inside: Inside, images: Any, atol: float) -> None:
    output = look(small(), images)["0"]
    np.testing.assert_allclose(output, inside["0"][: len(output)], atol=atol)


def test_whole_numbers_become_floats_and_floats_stay_as_they_are() -> None:
    pixels = np.arange(192, dtype=np.uint8).reshape(1, 3, 8, 8)
    assert np.array_equal(look(nn.ReLU(), pixels)["ReLU"], pixels.astype(np.float32))
    assert np.array_equal(look(nn.Identity(), -IMAGES)["Identity"], -IMAGES)


def test_random_images_have_the_given_size() -> None:
    assert look(small(), "random:0", size=(3, 8, 8))["0"].shape == (1, 4, 6, 6)
    assert look(nn.ReLU(), "random:0", size=(8, 8, 3))["ReLU"].shape == (1, 8, 8, 3)


def test_pictures_are_read_and_must_have_one_size(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), np.uint8)
    paths = [tmp_path / f"{i}.png" for i in range(2)]
    for path, picture in zip(paths, pixels, strict=True):
        path.write_bytes(encode_png(picture))
    view = look(nn.ReLU(), paths)
    assert np.array_equal(view["ReLU"], pixels.transpose(0, 3, 1, 2))
    assert view.over == "0.png, 1.png"
    assert np.array_equal(look(nn.ReLU(), str(paths[0]))["ReLU"], view["ReLU"][:1])
    paths[1].write_bytes(encode_png(pixels[0, :4]))
    message = r"got 8 x 8 pixels in \S+/0.png and 8 x 4 pixels in \S+/1.png\."
    with pytest.raises(ArtifactError, match=message):
        look(nn.ReLU(), paths)


def test_layers_without_numbers_are_absent() -> None:
    class Root(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return (x - 2).sqrt()  # of negative numbers

    view = look(nn.Sequential(Root(), nn.ReLU(), nn.Softmax(1)), IMAGES)
    assert view.layers == []
    assert set(view.absent.values()) == {"output is not finite, or too large to square in float32"}
    assert "Not captured: 3" in repr(view)


def test_a_program_of_other_images_is_taken(inside: Inside, tmp_path: Path) -> None:
    program = torch.export.export(small(), (torch.zeros(2, 3, 8, 8),))
    assert look(program, IMAGES).layers == inside.layers
    with pytest.raises(ValueError, match="Of an exported program, give the program itself"):
        look(program.module(), IMAGES)
    path = tmp_path / "small.pt2"
    torch.export.save(program, path)
    view = look(path, IMAGES)
    assert (view.name, view.layers) == ("small", inside.layers)
    np.testing.assert_allclose(view["3"], inside["3"], atol=ATOL_FLOAT32)
    with pytest.raises(ValueError, match=r"takes images \(3, 8, 8\), got \(3, 9, 9\)"):
        look(path, np.zeros((2, 3, 9, 9), np.float32))
    with pytest.raises(ArtifactError, match=r"small must run on images of shape \(1, 3, 8, 8\)"):
        look(path, IMAGES[:1])


def test_an_onnx_model_of_other_images_is_taken(inside: Inside, tmp_path: Path) -> None:
    weights = inside.parameters("0")
    model = build([node("Conv", "0", "input", "weight", "bias"), node("Relu", "1", "0")], weights)
    model.graph.node[0].name, model.graph.node[1].name = "first", "r"
    output = onnx.helper.make_tensor_value_info("1", onnx.TensorProto.FLOAT, ["batch", 4, 6, 6])
    model.graph.output[0].CopyFrom(output)
    onnx.save(model, tmp_path / "other.onnx")
    view = look(str(tmp_path / "other.onnx"), IMAGES)
    assert view.layers == ["0", "r"]
    np.testing.assert_allclose(view["0"], inside["0"], atol=ATOL_FLOAT32)
    assert np.array_equal(view.parameters("0")["weight"], weights["weight"])
    assert view.compare(inside).layers == ["0", "1", "2", "3"]


def test_a_model_of_torchvision_is_taken() -> None:
    importlib.import_module("resnet8.models.torch_conversion")  # mends torchvision's import
    torchvision = importlib.import_module("torchvision")
    model = torchvision.models.mobilenet_v3_small(num_classes=10)
    view = look(model, np.zeros((1, 64, 64, 3), np.uint8))
    assert model.training
    assert view.output.shape == (1, 10)
    assert view["features.0.0"].shape == (1, 16, 32, 32)
    assert size_of(view.select("features.0.*").feature_maps("features.0.2")) > (300, 300)


def test_models_of_the_pipeline_are_shown_in_the_units_of_the_float_model(
    models_folder: Path, torch_fp32: Any, quantization: Any, test_set: Any
) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    images = test_set[0][:2]
    paths = (models_folder / "torch_int8.pt2", models_folder / "onnx_int8.onnx", SAMPLE_MODEL)
    original, in_torch, in_onnx, keras = (look(x, images) for x in (torch_fp32, *paths))
    assert torch.get_num_threads() == 2
    torch.set_num_threads(threads)
    assert in_torch.statistics("activation")["dtype"] == "uint8"
    errors = in_torch.compare(original)
    assert errors.statistics("activation")["clipped_share"] < 0.1
    assert errors.statistics("conv2d", of="weight")["sqnr_db"] > 20
    np.testing.assert_allclose(original["conv2d"], keras["conv2d"], atol=1e-4)  # of 30
    weights = [x.parameters("conv2d_5")["weight"] for x in (keras, original)]
    assert np.array_equal(*weights)  # folded
    assert keras.name == "keras_fp32"
    for errors in (in_onnx.compare(in_torch), in_torch.compare(in_onnx)):  # not in codes
        row = errors.statistics("activation_3")
        assert row["max_abs_error"] <= 2 * quantization.activations["activation_3"].scale.max()
        assert row["cosine_similarity"] > 0.999

    # Layers that are computed together name the other and show their weights.
    message = r"computed together with activation_1\). Near: activation_1"
    with pytest.raises(KeyError, match=message):
        in_onnx.histogram("conv2d_1")
    assert in_onnx.parameters("conv2d_1")["weight"].shape == (16, 16, 3, 3)
    legends = [x.get_legend() for x in in_onnx.histogram("activation_1").axes]
    words = [text.get_text() for legend in legends if legend for text in legend.get_texts()]
    assert any(x.endswith(", int8") for x in words)  # compared with nothing


AMBIGUOUS = 'Pass layout="NCHW" or layout="NHWC"'


@pytest.mark.parametrize(
    ("model", "images", "size", "error", "message"),
    [
        (None, IMAGES, None, TypeError, "PyTorch module, .* got <class 'NoneType'>"),
        (nn.ReLU(), IMAGES * np.nan, None, ValueError, "images must be finite numbers"),
        (nn.ReLU(), np.zeros((2, 3, 8, 4)), None, ValueError, AMBIGUOUS),
        (nn.ReLU(), np.zeros((2, 16, 8, 8)), None, ValueError, AMBIGUOUS),
        (nn.ReLU(), np.zeros((5, 28, 28)), None, ValueError, AMBIGUOUS),
        (nn.ReLU(), "random:0", None, ValueError, r"input size, such as size=\(3, 224, 224\)"),
        (nn.ReLU(), "random:0", (32, 32), ValueError, r"size must be that of one image, .* \(32"),
    ],
)
def test_look_refuses(
    model: Any, images: Any, size: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        look(model, images, size=size)


def test_a_layout_may_be_given() -> None:
    images = np.arange(192, dtype=np.float32).reshape(2, 3, 8, 4)  # of 3 or 4 channels
    for layout, expected in (("NCHW", images), ("NHWC", images.transpose(0, 3, 1, 2))):
        view = look(nn.ReLU(), images, layout=layout)
        assert np.array_equal(view["ReLU"], expected)
