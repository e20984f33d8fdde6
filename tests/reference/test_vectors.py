"""Test vectors: an independent reader recomputes them; the command that writes them."""

import json
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from resnet8 import test_vectors
from resnet8.core.errors import ArtifactError, ParamsError
from resnet8.core.sections import Fit
from resnet8.quantize import onnx_writer, storage
from resnet8.quantize.fit import fit
from resnet8.quantize.quantization import Quantization
from resnet8.reference import vectors
from resnet8.reference.network import Network
from tests.quantize import graphs
from tests.quantize.graphs import depthwise
from tests.reference.everything import everything
from tests.reference.vector_reader import find_faults

KINDS = (
    *("add", "average_pool", "concat", "conv", "dense", "max_pool", "move", "multiply"),
    *("reshape", "subtract", "table"),
)
Fitted = Callable[..., tuple[onnx.ModelProto, Quantization]]


@pytest.fixture(scope="module")
def fitted(fit_settings: Fit) -> Fitted:
    """A function that fits a small model on drawn pixels."""

    def run(model: onnx.ModelProto, **changes: Any) -> tuple[onnx.ModelProto, Quantization]:
        settings = fit_settings.model_copy(update=changes)
        points = onnx_writer.find_points(
            model, symmetric=settings.activation_symmetric, float_layers=settings.float_layers
        )
        return model, fit(model, graphs.drawn(model, 20), settings, points=points)

    return run


@pytest.fixture(scope="module")
def small(fitted: Fitted) -> tuple[onnx.ModelProto, Quantization]:
    return fitted(everything())


def write(
    folder: Path, model: Any, quantization: Quantization, images: Any, dtype: str = "uint8"
) -> vectors.Vectors:
    found = vectors.compute(Network(model, quantization), images)
    test_vectors.write(folder, vectors.describe(found, dtype=dtype, chosen="test:0"))
    return found


def stored(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "network.json").read_text())


# An independent reader.


@pytest.mark.parametrize("dtype", ["uint8", "int8"])
def test_reader_recomputes_20_images_of_the_sample(
    tmp_path: Path, onnx_fp32: Any, quantization: Any, test_set: Any, dtype: str
) -> None:
    write(tmp_path, onnx_fp32, quantization, test_set[0][:20], dtype)
    assert find_faults(tmp_path) == []


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"activation_symmetric": True},
        {"weight_symmetric": False, "per_channel": False},
    ],
    ids=str,
)
@pytest.mark.parametrize("build", [everything, depthwise], ids=lambda build: build.__name__)
def test_reader_recomputes(
    tmp_path: Path, fitted: Fitted, build: Any, changes: dict[str, Any]
) -> None:
    model, quantization = fitted(build(), **changes)
    found = write(tmp_path, model, quantization, graphs.drawn(model, 8))
    assert find_faults(tmp_path) == []
    if build is everything:
        assert {x.kind for x in found.operations} == {*KINDS}


def test_reader_recomputes_a_clip_inside_of_the_range(tmp_path: Path, small: Any) -> None:
    model, quantization = small
    wide = quantization.activations["clip"]._replace(scale=np.array(6 / 100, np.float32))
    changed = quantization._replace(activations={**quantization.activations, "clip": wide})
    write(tmp_path, model, changed, graphs.drawn(model))
    (clip,) = [x for x in stored(tmp_path)["operations"] if x["output"] == "clip"]
    assert (clip["lowest"], clip["highest"]) == (0, 100)
    assert find_faults(tmp_path) == []


PLANTED: dict[str, Callable[[Any], Any]] = {
    "codes": lambda x: x ^ (np.arange(len(x)) == 0),
    "weights": lambda x: ~x,
    "biases": lambda x: x + 10_000,
    "tables": lambda x: x ^ 1,
    "indices": lambda x: np.roll(x, 1),
}


def plant(path: Path) -> bytes:
    """Changes numbers of a file; returns what was there."""
    content = path.read_bytes()
    kind = path.parent.name
    dtype = {"weights": np.int8, "biases": "<i4", "indices": "<i4"}.get(kind, np.uint8)
    numbers = np.frombuffer(content, dtype)
    path.write_bytes(PLANTED[kind](numbers).astype(dtype).tobytes())
    return content


@pytest.mark.parametrize("folder", [x for x in PLANTED if x != "codes"])
def test_reader_finds_a_planted_fault_in(tmp_path: Path, small: Any, folder: str) -> None:
    model, quantization = small
    write(tmp_path, model, quantization, graphs.drawn(model))
    for path in sorted((tmp_path / folder).iterdir()):
        content = plant(path)
        assert find_faults(tmp_path), path
        path.write_bytes(content)
    assert find_faults(tmp_path) == []


def test_reader_finds_a_wrong_code_in_the_tensor_of_each_operation(
    tmp_path: Path, small: Any
) -> None:
    model, quantization = small
    write(tmp_path, model, quantization, graphs.drawn(model))
    network = stored(tmp_path)
    for operation in {x["kind"]: x for x in network["operations"]}.values():
        path = tmp_path / network["tensors"][operation["output"]]["file"]
        content = plant(path)
        (fault,) = find_faults(tmp_path)
        assert fault.startswith(f"{operation['output']}: 1 of ")
        path.write_bytes(content)


def test_reader_finds_another_scale_and_another_class(tmp_path: Path, small: Any) -> None:
    model, quantization = small
    write(tmp_path, model, quantization, graphs.drawn(model))
    network = stored(tmp_path)
    network["output"]["classes"][0] ^= 1
    scale = network["tensors"]["point"]["scale"]
    scale["decimal"] *= 1.01
    scale["hex"] = scale["decimal"].hex()
    (tmp_path / "network.json").write_text(json.dumps(network))
    found = find_faults(tmp_path)
    assert found[0].startswith("point: ")
    assert found[-1] == "classes are others"


# What is written.


def test_codes_of_int8_are_128_less(small: Any) -> None:
    model, quantization = small
    found = vectors.compute(Network(model, quantization), graphs.drawn(model))
    one, other = (vectors.describe(found, dtype=x, chosen="") for x in ("uint8", "int8"))
    assert one.arrays.keys() == other.arrays.keys()
    for name, array in one.arrays.items():
        shifted = name.startswith(("codes", "tables")) and array.dtype == np.uint8
        offset = 128 if shifted and not name.endswith("_images.bin") else 0
        assert np.array_equal(array.astype(int) - offset, other.arrays[name]), name
        assert offset == 0 or other.arrays[name].dtype == np.int8


def test_scales_and_weights_are_those_of_the_quantization(
    tmp_path: Path, onnx_fp32: Any, quantization: Any, test_set: Any
) -> None:
    write(tmp_path, onnx_fp32, quantization, test_set[0][:1])
    network = stored(tmp_path)
    for name, parameters in quantization.activations.items():
        described = network["tensors"][name]
        assert float.fromhex(described["scale"]["hex"]) == float(parameters.scale), name
        assert described["zero_point"] == parameters.zero_point, name
    layers = {x["name"]: x["weight"] for x in network["operations"] if "weight" in x}
    assert layers.keys() == quantization.weights.keys()
    for name, weight in layers.items():
        codes = np.fromfile(tmp_path / weight["file"], np.int8).reshape(weight["shape"])
        assert np.array_equal(codes, quantization.codes[name]), name
        scales = [float.fromhex(x) for x in weight["scales"]["hex"]]
        assert scales == weight["scales"]["decimal"] == quantization.weights[name].scale.tolist()


def rounded(values: list[float], grid: Fraction, scale: float = 1.0) -> list[float]:
    found = vectors.round_exactly(np.array([values]), scale=scale, grid=[grid])
    return found.ravel().tolist()


def test_round_exactly_rounds_ties_half_to_even() -> None:
    assert rounded([0.5, 1.5, 2.5, -0.5, -1.5], Fraction(1, 2)) == [0, 2, 2, 0, -2]


def test_round_exactly_sees_what_float64_does_not() -> None:
    above, below = Fraction(2**59 + 1, 2**60), Fraction(2**60 - 1, 2**61)
    assert float(above) == float(below) == 0.5
    assert rounded([0.5], above) == [1]
    assert rounded([0.5], below) == [0]
    assert rounded([1.5], 3 * below) == [1]


# Networks without test vectors.


def softmax_inside() -> onnx.ModelProto:
    """A function of all channels, which no table computes."""
    model = graphs.small_resnet()
    (relu,) = [x for x in model.graph.node if x.name == "relu1"]
    relu.op_type = "Softmax"
    return model


def averaged_twice() -> onnx.ModelProto:
    """An average of an average, which has no codes."""
    model = graphs.small_resnet()
    (pool,) = [x for x in model.graph.node if x.name == "pool"]
    pool.input[0] = "halved"
    halved = graphs.node("AveragePool", "halved", "relu3", kernel_shape=[2, 2])
    model.graph.node.insert(list(model.graph.node).index(pool), halved)
    return model


@pytest.mark.parametrize(
    ("build", "changes", "message"),
    [
        (
            graphs.small_resnet,
            {"float_layers": ["conv2"]},
            r"conv2 \(Conv\) must multiply 8-bit codes with 8-bit weights to have test vectors, "
            r"got a layer in float\. docs/test-vectors\.md lists",
        ),
        (softmax_inside, {}, r"relu1 \(Softmax\) must be an operator that .*, got Softmax"),
        (averaged_twice, {}, r"pool \(GlobalAveragePool\) must read 8-bit codes .*, got halved in"),
    ],
)
def test_main_refuses_and_writes_nothing(
    tmp_path: Path, fitted: Fitted, build: Any, changes: Any, message: str
) -> None:
    prepare(tmp_path, *fitted(build(), **changes))
    with pytest.raises(ArtifactError, match=message):
        run(tmp_path, "--input=random:0")
    assert not (tmp_path / "out").exists()


# The command.


def prepare(folder: Path, model: onnx.ModelProto, quantization: Quantization) -> None:
    (folder / "onnx_fp32.onnx").write_bytes(model.SerializeToString())
    storage.write(folder, quantization, {})


def run(folder: Path, *arguments: str) -> Path:
    folders = [f"--{name}={folder}" for name in ("models", "quantization", "data")]
    test_vectors.main([*folders, f"--out={folder / 'out'}", *arguments])
    return folder / "out"


@pytest.fixture
def project(tmp_path: Path, onnx_fp32: Any, quantization: Any, test_set: Any) -> Path:
    prepare(tmp_path, onnx_fp32, quantization)
    (tmp_path / "cifar10").mkdir()
    np.save(tmp_path / "cifar10" / "test_images.npy", test_set[0])
    return tmp_path


def test_main_writes_the_chosen_images(
    project: Path, test_set: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    out = run(project, "--input=test:3,1", "--type=int8")
    assert "17 operations, 2 images" in capsys.readouterr().out
    network = stored(out)
    images = network["tensors"]["images"]
    pixels = np.fromfile(out / images["file"], np.uint8).reshape(2, *images["shape"])
    assert np.array_equal(pixels, test_set[0][[3, 1]])
    assert network["images"] == {"chosen": "test:3,1", "count": 2, "tensor": "images"}
    assert find_faults(out) == []


def test_main_leaves_no_description_of_files_that_are_not_complete(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = run(project)
    real, written = test_vectors.write_bytes, []

    def fail_later(path: Path, content: bytes) -> None:
        if len(written) == 3:
            raise KeyboardInterrupt
        written.append(path)
        real(path, content)

    monkeypatch.setattr(test_vectors, "write_bytes", fail_later)
    with pytest.raises(KeyboardInterrupt):
        run(project, "--input=test:1")
    assert not (out / "network.json").exists()


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        (["--input=test:500"], ParamsError, "--input: test numbers must be from 0 to 499, got 500"),
        (["--input=image"], ParamsError, "--input: the input must be test:<index>"),
        (
            ["--data=nowhere"],
            ArtifactError,
            "test_images.npy must be .* such as build/demo/data, or choose random:",
        ),
        (["--models=nowhere"], ArtifactError, "onnx_fp32.onnx must "),
        (["--quantization=nowhere"], ArtifactError, "nowhere must hold a quantization"),
    ],
)
def test_main_refuses_what_does_not_exist(
    project: Path, arguments: list[str], kind: Any, message: str
) -> None:
    with pytest.raises(kind, match=message):
        run(project, *arguments)
    assert not (project / "out").exists()
