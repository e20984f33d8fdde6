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
from resnet8.quantize import storage
from resnet8.quantize.quantization import Quantization
from resnet8.reference import vectors
from resnet8.reference.network import Network
from tests.quantize import graphs
from tests.quantize.graphs import layer, node, weights
from tests.reference.vector_reader import find_faults

KINDS = (
    *("add", "average_pool", "concat", "conv", "dense", "max_pool", "move", "multiply"),
    *("reshape", "subtract", "table"),
)
Fitted = Callable[..., tuple[onnx.ModelProto, Quantization]]


def everything() -> onnx.ModelProto:
    """Has every operation that test vectors have, on 8 x 8 places of (N, 32, 32, 3)."""
    arrays = weights(
        conv=(6, 3, 5, 5), deep=(6, 1, 3, 3), point=(6, 6, 1, 1), gate=(6, 6, 1, 1),
        dense=(5, 48), logits=(4, 5),
    )  # fmt: skip
    arrays["conv.weight"] /= 100
    arrays["dense.weight"] = np.ascontiguousarray(arrays["dense.weight"].T)
    del arrays["dense.bias"], arrays["point.bias"]
    arrays |= {
        "zero": np.array(0, np.float32),
        "three": np.array(3, np.float32),
        "six": np.array(6, np.float32),
        "sixth": np.full((1, 1, 1, 1), 1 / 6, np.float32),
        "frame": np.array([0, 0, 1, 0, 0, 0, 0, 1]),
        "outside": np.array(0.75, np.float32),
        "from": np.array([0, 1]),
        "to": np.array([4, 5]),
        "axes": np.array([2, 3]),
        "row": np.array([-1, 48]),
    }
    nodes = [
        node("Transpose", "permute", "input", perm=[0, 3, 1, 2]),
        layer("Conv", "conv", "permute", strides=[4, 4], auto_pad="SAME_UPPER"),
        node("LeakyRelu", "leaky", "conv", alpha=0.1),
        node("MaxPool", "max", "leaky", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 0, 0],
             ceil_mode=1),
        layer("Conv", "deep", "max", group=6, dilations=[2, 2], pads=[2, 2, 2, 2]),
        node("Clip", "clip", "deep", "zero", "six"),
        node("Conv", "point", "clip", "point.weight"),
        node("GlobalAveragePool", "mean", "point"),
        layer("Conv", "gate", "mean"),
        node("Add", "gate_add", "gate", "three"),
        node("Clip", "gate_clip", "gate_add", "zero", "six"),
        node("Mul", "gate_mul", "gate_clip", "sixth"),
        node("Mul", "gated", "point", "gate_mul"),
        node("Sub", "less", "gated", "max"),
        node("Add", "sum", "less", "clip"),
        node("Relu", "relu", "sum"),
        node("Concat", "both", "relu", "gated", axis=1),
        node("Pad", "framed", "both", "frame", "outside"),
        node("AveragePool", "inside", "framed", kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        node("Sigmoid", "sigmoid", "inside"),
        node("AveragePool", "around", "sigmoid", kernel_shape=[2, 2], pads=[1, 1, 0, 0],
             count_include_pad=1),
        node("Slice", "crop", "around", "from", "to", "axes"),
        node("MaxPool", "halved", "crop", kernel_shape=[2, 2], strides=[2, 2]),
        node("Reshape", "flatten", "halved", "row"),
        node("MatMul", "dense", "flatten", "dense.weight"),
        node("Relu", "dense_relu", "dense"),
        layer("Gemm", "logits", "dense_relu", transB=1),
        node("Softmax", "probabilities", "logits"),
    ]  # fmt: skip
    return graphs.build(nodes, arrays, shape=(32, 32, 3))


@pytest.fixture(scope="module")
def fitted(fit_settings: Fit) -> Fitted:
    """A function that fits a small model on drawn pixels."""

    def run(model: onnx.ModelProto, **changes: Any) -> tuple[onnx.ModelProto, Quantization]:
        return model, graphs.fitted(model, fit_settings, graphs.drawn(model, 20), **changes)

    return run


@pytest.fixture(scope="module")
def small(fitted: Fitted) -> vectors.Vectors:
    """Vectors of four images."""
    model, quantization = fitted(everything())
    return vectors.compute(Network(model, quantization), graphs.drawn(model))


def write(folder: Path, computed: vectors.Vectors, dtype: str = "uint8") -> dict[str, Any]:
    """Returns the written network.json."""
    test_vectors.write(folder, *vectors.describe(computed, dtype=dtype, chosen="test:0"))
    return json.loads((folder / "network.json").read_text())


# An independent reader.


@pytest.mark.parametrize(
    "changes",
    [{}, {"activation_symmetric": True}, {"weight_symmetric": False, "per_channel": False}],
    ids=str,
)
def test_reader_recomputes(tmp_path: Path, fitted: Fitted, changes: dict[str, Any]) -> None:
    model, quantization = fitted(everything(), **changes)
    computed = vectors.compute(Network(model, quantization), graphs.drawn(model, 8))
    write(tmp_path, computed)
    assert find_faults(tmp_path) == []
    assert {x.kind for x in computed.operations} == {*KINDS}


def test_reader_recomputes_a_clip_inside_of_the_range(tmp_path: Path, fitted: Fitted) -> None:
    model, quantization = fitted(everything())
    wide = quantization.activations["clip"]._replace(scale=np.array(6 / 100, np.float32))
    changed = quantization._replace(activations={**quantization.activations, "clip": wide})
    network = write(tmp_path, vectors.compute(Network(model, changed), graphs.drawn(model)))
    (clip,) = [x for x in network["operations"] if x["output"] == "clip"]
    assert (clip["lowest"], clip["highest"]) == (0, 100)
    assert find_faults(tmp_path) == []


def plant(path: Path) -> bytes:
    """Changes all numbers of a file, and returns its content before."""
    content = path.read_bytes()
    dtype = "<i4" if path.parent.name in ("biases", "indices") else "u1"
    numbers = np.frombuffer(content, dtype)
    # Codes may be rounded to the same for a small change of a bias.
    changed = numbers + 10_000 if path.parent.name == "biases" else numbers ^ 1
    path.write_bytes(changed.astype(dtype).tobytes())
    return content


def test_reader_finds_a_planted_fault_in_each_file(tmp_path: Path, small: vectors.Vectors) -> None:
    network = write(tmp_path, small)
    outputs = {network["tensors"][x["output"]]["file"]: x for x in network["operations"]}
    for path in sorted(tmp_path.glob("*/*.bin")):
        name = path.relative_to(tmp_path).as_posix()
        content = plant(path)
        faults = find_faults(tmp_path)
        if name in outputs:
            assert [x.partition(":")[0] for x in faults] == [outputs[name]["output"]]
        assert faults, path
        path.write_bytes(content)
    assert find_faults(tmp_path) == []


def test_reader_finds_another_scale_and_another_class(
    tmp_path: Path, small: vectors.Vectors
) -> None:
    network = write(tmp_path, small)
    network["output"]["classes"][0] ^= 1
    scale = network["tensors"]["point"]["scale"]
    scale["decimal"] *= 1.01
    scale["hex"] = scale["decimal"].hex()
    (tmp_path / "network.json").write_text(json.dumps(network))
    first, *_, last = find_faults(tmp_path)
    assert first.startswith("point: ")
    assert last == "classes are others"


ABOVE, BELOW = Fraction(2**59 + 1, 2**60), Fraction(2**60 - 1, 2**61)  # 0.5 in float64


@pytest.mark.parametrize(
    ("values", "grid", "expected"),
    [
        ([0.5, 1.5, 2.5, -0.5, -1.5], Fraction(1, 2), [0, 2, 2, 0, -2]),  # half to even
        ([0.5], ABOVE, [1]),
        ([0.5], BELOW, [0]),
        ([1.5], 3 * BELOW, [1]),
    ],
)
def test_round_exactly(values: list[float], grid: Fraction, expected: list[float]) -> None:
    assert float(ABOVE) == float(BELOW) == 0.5
    rounded = vectors.round_exactly(np.array([values]), scale=1.0, grid=[grid])
    assert rounded.ravel().tolist() == expected


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
def test_main_refuses_a_network_and_writes_nothing(
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


@pytest.mark.parametrize(("dtype", "offset"), [("uint8", 0), ("int8", -128)])
def test_main_writes_images_and_parameters_as_the_reader_recomputes_them(
    project: Path, quantization: Quantization, test_set: Any, dtype: str, offset: int
) -> None:
    numbers = [3, 1, *range(10, 28)]
    chosen = f"test:{','.join(map(str, numbers))}"
    out = run(project, f"--input={chosen}", f"--type={dtype}")
    network = json.loads((out / "network.json").read_text())
    tensors = network["tensors"]
    assert find_faults(out) == []
    assert network["images"] == {"chosen": chosen, "count": 20, "tensor": "images"}
    pixels = np.fromfile(out / tensors["images"]["file"], np.uint8).reshape(20, 32, 32, 3)
    assert np.array_equal(pixels, test_set[0][numbers])
    for name, parameters in quantization.activations.items():
        scale, zero_point = tensors[name]["scale"]["hex"], tensors[name]["zero_point"]
        assert float.fromhex(scale) == float(parameters.scale), name
        assert (tensors[name]["type"], zero_point - offset) == (dtype, parameters.zero_point), name
    layers = {x["name"]: x["weight"] for x in network["operations"] if "weight" in x}
    assert layers.keys() == quantization.weights.keys()
    for name, weight in layers.items():
        codes = np.fromfile(out / weight["file"], np.int8).reshape(weight["shape"])
        assert np.array_equal(codes, quantization.codes[name]), name
        scales = [float.fromhex(x) for x in weight["scales"]["hex"]]
        assert scales == weight["scales"]["decimal"] == quantization.weights[name].scale.tolist()


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
    ("argument", "kind", "message"),
    [
        ("--input=test:500", ParamsError, "--input: test numbers must be from 0 to 499, got 500"),
        ("--data=nowhere", ArtifactError, "must be .* such as build/demo/data, or choose random:"),
    ],
)
def test_main_refuses_what_does_not_exist(
    project: Path, argument: str, kind: Any, message: str
) -> None:
    with pytest.raises(kind, match=message):
        run(project, argument)
    assert not (project / "out").exists()
